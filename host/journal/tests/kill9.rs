//! A writer killed at random moments, again and again in the same directory:
//! every acknowledged step is there, whole, and the audit verifies.
//! `AIRLOCK_KILL_ROUNDS` says how often, 10 times unless set.

mod support;

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn a_killed_writer_loses_nothing_it_acknowledged() {
    let rounds =
        std::env::var("AIRLOCK_KILL_ROUNDS").map_or(10, |text| text.parse().expect("a number"));
    let examples = support::examples();
    let dir = tempfile::tempdir().expect("a directory");
    let (data, out) = (dir.path().join("data"), dir.path().join("out"));
    let (mut from, mut acknowledged) = (0, 0);
    for round in 0..rounds {
        let group = [1, 1, 8, 32][round as usize % 4];
        let mut writer = Command::new(examples.join("crash_writer"))
            .arg(&data)
            .args([
                u64::MAX.to_string(),
                from.to_string(),
                "exit".to_owned(),
                group.to_string(),
            ])
            .stdout(File::create(&out).expect("the output"))
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the writer");
        std::thread::sleep(Duration::from_millis(moment_ms(round)));
        writer.kill().expect("the kill");
        let status = writer.wait().expect("the writer");
        assert!(
            status.code().is_none(),
            "round {round}: it ended by itself, {status}"
        );
        let acked = support::last_ack(&std::fs::read(&out).expect("the output")).unwrap_or(from);
        acknowledged += acked - from;
        from = support::check(&examples, &data, acked, group)
            .unwrap_or_else(|what| panic!("round {round}, {acked} acknowledged: {what}"));
    }
    assert!(
        acknowledged > rounds,
        "the writer was killed before it did anything"
    );
    println!("{rounds} kills, {acknowledged} acknowledged steps, 0 lost");
}

/// From right at the start to well into the work.
fn moment_ms(round: u64) -> u64 {
    let mut random = round.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(std::process::id());
    random ^= random >> 29;
    random = random.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    2 + (random >> 40) % 700
}
