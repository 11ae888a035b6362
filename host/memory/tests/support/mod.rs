//! What the tests share that start programs.

use std::path::PathBuf;
use std::process::Command;

/// An example of this crate: cargo builds them with the tests; a test that is run
/// alone builds it.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test's program");
    let target = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("the target folder");
    let program = target.join("examples").join(name);
    if !program.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--package", "airlock-memory", "--example", name]);
        assert!(cargo.status().expect("cargo").success());
    }
    assert!(program.exists(), "{} is built", program.display());
    program
}
