//! Building plugins and test guests as components.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cargo::{GUEST_TARGET, ensure_guest_target, root, run, target_dir};

/// Where the components are after a build.
pub fn dir() -> PathBuf {
    target_dir().join(GUEST_TARGET).join("guest")
}

/// Builds every crate under `plugins/` and `tests/guests/` that makes a
/// component, and returns their package names.
pub fn build_all() -> Result<Vec<String>> {
    ensure_guest_target()?;
    let mut names = packages("plugins")?;
    names.extend(packages("tests/guests")?);
    let mut args = vec!["build", "--target", GUEST_TARGET, "--profile", "guest"];
    for name in &names {
        args.extend(["-p", name]);
    }
    run("cargo", &args)?;
    Ok(names)
}

/// Package names of the crates in a folder of the workspace.
pub fn packages(folder: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in
        std::fs::read_dir(root().join(folder)).with_context(|| format!("reading {folder}"))?
    {
        let manifest = entry?.path().join("Cargo.toml");
        if !manifest.is_file() {
            continue;
        }
        let text = std::fs::read_to_string(&manifest)
            .with_context(|| format!("reading {}", manifest.display()))?;
        let value: toml::Table = text
            .parse()
            .with_context(|| format!("parsing {}", manifest.display()))?;
        let name = value
            .get("package")
            .and_then(|p| p.get("name"))
            .and_then(|n| n.as_str());
        names.push(
            name.with_context(|| format!("{} has no package name", manifest.display()))?
                .to_owned(),
        );
    }
    names.sort();
    Ok(names)
}

/// Arguments that select every crate but the test guests. Whatever is built, it
/// is built with this selection, or cargo would choose other features of the
/// dependencies and compile the engine once more.
pub fn workspace() -> Result<Vec<String>> {
    let guests = packages("tests/guests")?;
    let excluded = guests
        .into_iter()
        .flat_map(|guest| ["--exclude".to_owned(), guest]);
    Ok(std::iter::once("--workspace".to_owned())
        .chain(excluded)
        .collect())
}
