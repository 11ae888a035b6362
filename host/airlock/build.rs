//! Packs into the binary what must travel with it: the sources of the SDK and
//! the contract for `airlock new`, and, where they have been built (`cargo xtask
//! plugins`), the hostile guests for `airlock selftest` and the component for
//! `airlock plugin add --openapi`.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

const TEXT: &[&str] = &["rs", "toml", "wit", "md", "lock", "gitignore", "txt"];
/// The component that serves OpenAPI documents.
const OPENAPI: &str = "airlock_plugin_openapi";
const SKIPPED: &[&str] = &["target", "tests", ".git"];

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().expect("the workspace exists");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut sources = Vec::new();
    collect(&root.join("sdk"), &mut sources);
    sources.sort();
    let mut code = String::from("pub(crate) const SOURCES: &[(&str, &str)] = &[\n");
    for path in &sources {
        let name = path
            .strip_prefix(&root)
            .expect("inside the workspace")
            .display()
            .to_string();
        writeln!(
            code,
            "    ({name:?}, include_str!({:?})),",
            path.display().to_string()
        )
        .expect("to a string");
    }
    code.push_str("];\n");
    guests(&out, &mut code);
    fs::write(out.join("packed.rs"), code).expect("OUT_DIR is writable");
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    println!("cargo:rerun-if-changed={}", dir.display());
    for entry in fs::read_dir(dir).expect("the SDK's folder").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            // The template's own tests travel; the SDK's own do not.
            let template = path.components().any(|part| part.as_os_str() == "template");
            if template || !SKIPPED.contains(&name.as_str()) {
                collect(&path, files);
            }
            continue;
        }
        let extension = name.rsplit('.').next().unwrap_or_default();
        if TEXT.contains(&extension) {
            println!("cargo:rerun-if-changed={}", path.display());
            files.push(path);
        }
    }
}

fn guests(out: &Path, code: &mut String) {
    let target = out
        .ancestors()
        .nth(4)
        .expect("OUT_DIR is inside the target directory");
    let folder = target.join("wasm32-wasip2/guest");
    println!("cargo:rerun-if-changed={}", folder.display());
    code.push_str("pub(crate) const GUESTS: &[(&str, &[u8])] = &[\n");
    let mut openapi = "None".to_owned();
    let mut found: Vec<PathBuf> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    found.sort();
    for path in found {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let wasm = path
            .extension()
            .is_some_and(|extension| extension == "wasm");
        if wasm && name == OPENAPI {
            println!("cargo:rerun-if-changed={}", path.display());
            openapi = format!("Some(include_bytes!({:?}))", path.display().to_string());
        }
        let wanted = name.starts_with("evil_") || name == "airlock_plugin_echo";
        if wasm && wanted {
            println!("cargo:rerun-if-changed={}", path.display());
            writeln!(
                code,
                "    ({name:?}, include_bytes!({:?})),",
                path.display().to_string()
            )
            .expect("to a string");
        }
    }
    code.push_str("];\n");
    writeln!(code, "pub(crate) const OPENAPI: Option<&[u8]> = {openapi};").expect("to a string");
}
