//! What `airlock new` makes builds and tests outside of this workspace, from the
//! SDK's own folder as it stands: no field inherited, the WIT inside.
//!
//! Its builds go to a folder of their own, `AIRLOCK_TEMPLATE_TARGET` or one in the
//! target folder, so that only the first run is slow.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use wit_component::DecodedWasm;

fn copy(from: &Path, to: &Path, name: &str) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("template/agent") {
            continue;
        }
        let target = to.join(path.file_name().unwrap());
        // `wit` is a link here and a folder there.
        if path.is_dir() {
            copy(&path, &target, name);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(target, text.replace("{{name}}", name)).unwrap();
        }
    }
}

fn cargo(folder: &Path, target: &Path, arguments: &[&str]) {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cargo {}:\n{text}",
        arguments.join(" ")
    );
}

fn exports(component: &[u8]) -> Vec<String> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component).unwrap() else {
        panic!("not a component");
    };
    resolve.worlds[world]
        .exports
        .keys()
        .map(|key| resolve.name_world_key(key))
        .collect()
}

/// Builds what `airlock new` makes, of the template with `over` it; gives the
/// component's exports.
fn built(name: &str, over: Option<&str>) -> Vec<String> {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    copy(&sdk.join("template"), folder.path(), name);
    if let Some(over) = over {
        copy(
            &sdk.join("template").join(over).join("src"),
            &folder.path().join("src"),
            name,
        );
    }
    for part in ["src", "macros", "wit", "Cargo.toml", "README.md"] {
        let (from, to) = (
            sdk.join(part),
            folder.path().join(".airlock/sdk").join(part),
        );
        if from.is_dir() {
            copy(&from, &to, name);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
    fs::copy(sdk.join("../Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    let target = std::env::var_os("AIRLOCK_TEMPLATE_TARGET").map_or_else(
        || PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("template"),
        PathBuf::from,
    );
    cargo(folder.path(), &target, &["test", "--lib"]);
    cargo(
        folder.path(),
        &target,
        &["build", "--release", "--target", "wasm32-wasip2"],
    );
    let file = format!("wasm32-wasip2/release/{}.wasm", name.replace('-', "_"));
    exports(&fs::read(target.join(file)).unwrap())
}

#[test]
fn a_new_plugin_builds_outside_of_the_workspace() {
    assert_eq!(
        built("my-plugin", None),
        ["airlock:tool/tools@1.0.0", "airlock:tool/manifest@1.0.0"]
    );
}

#[test]
fn a_new_agent_builds_outside_of_the_workspace() {
    assert_eq!(
        built("my-agent", Some("agent")),
        ["airlock:agent/agent@0.1.0"]
    );
}
