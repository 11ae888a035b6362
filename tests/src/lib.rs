//! What the end-to-end tests share: where the built things are.

pub mod runs;

pub use airlock_examples::ledger;

use std::path::{Path, PathBuf};

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// The folder that this test's own program was built into, e.g. `target/debug`.
fn profile_dir() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let dir = own.parent().unwrap_or(Path::new("."));
    if dir.ends_with("deps") {
        dir.parent().unwrap_or(dir).to_path_buf()
    } else {
        dir.to_path_buf()
    }
}

/// The `airlock` binary of the same build.
///
/// # Panics
/// When it has not been built.
pub fn airlock() -> PathBuf {
    let binary = profile_dir().join("airlock");
    assert!(
        binary.is_file(),
        "{} is missing: run `cargo xtask test`, or `cargo build -p airlock`",
        binary.display()
    );
    binary
}

/// The MCP servers of `tests/mcp-servers`, of the same build.
///
/// # Panics
/// When they have not been built.
pub fn mcp_servers() -> PathBuf {
    let binary = profile_dir().join("airlock-mcp-servers");
    assert!(
        binary.is_file(),
        "{} is missing: run `cargo xtask test`, or `cargo build -p airlock-mcp-servers`",
        binary.display()
    );
    binary
}

/// A component built from the workspace, by package name.
///
/// # Panics
/// When it has not been built.
pub fn component(package: &str) -> PathBuf {
    let name = format!("{}.wasm", package.replace('-', "_"));
    let target = profile_dir();
    let folder = target
        .parent()
        .unwrap_or(&target)
        .join("wasm32-wasip2/guest");
    let file = folder.join(name);
    assert!(
        file.is_file(),
        "{} is missing: run `cargo xtask plugins`",
        file.display()
    );
    file
}
