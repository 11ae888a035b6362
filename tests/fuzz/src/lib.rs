//! What the properties over hostile input share: how many cases they run, and how
//! valid input is damaged, so that it gets further than noise.
//!
//! A property of this kind has `fuzz` in its name or its module's; `cargo xtask
//! fuzz` runs those again and again, with [`SCALE`] times the cases of a test run.

mod damage;

use proptest::test_runner::Config;

pub use damage::{ByteDamage, JsonDamage, TextDamage, byte_damage, json_damage, text_damage};

/// The variable that says how many times the usual cases are run.
pub const SCALE: &str = "AIRLOCK_FUZZ_SCALE";

/// What a line on standard output begins with that tells a property and its
/// number of cases: `fuzz: PROGRAM PROPERTY CASES`.
pub const TOLD: &str = "fuzz:";

/// `usual` cases in a test run, more where [`SCALE`] asks for it; then a line tells
/// `cargo xtask fuzz` how many.
#[must_use]
pub fn cases(usual: u32) -> Config {
    let scale = std::env::var(SCALE)
        .ok()
        .and_then(|text| text.parse::<u32>().ok());
    let cases = usual.saturating_mul(scale.unwrap_or(1)).max(1);
    if scale.is_some() {
        // The test runner names a thread by the test that it runs.
        let thread = std::thread::current();
        println!(
            "{TOLD} {} {} {cases}",
            program(),
            thread.name().unwrap_or("unnamed")
        );
    }
    let usual = Config::with_cases(cases);
    Config {
        // What is found is in the output; a long run leaves no files behind.
        failure_persistence: usual.failure_persistence.filter(|_| scale.is_none()),
        ..Config::with_cases(cases)
    }
}

/// This test's program, without the hash that cargo puts behind its name.
fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let name = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    name.rsplit_once('-')
        .map_or(name.clone(), |(name, _)| name.to_owned())
}
