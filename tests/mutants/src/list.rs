//! The mutants, as `cargo mutants` lists them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::parts::Part;

/// One change of one place.
#[derive(Debug, Clone, Deserialize)]
pub struct Mutant {
    /// Which one it is in this build, from 1.
    #[serde(skip)]
    pub id: u32,
    /// The part it belongs to.
    #[serde(skip)]
    pub part: &'static str,
    /// `FILE:LINE:COLUMN: WHAT`.
    pub name: String,
    pub file: String,
    pub genre: Genre,
    pub span: Place,
    pub replacement: String,
}

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

/// From where to where; lines and columns count from 1, the end is excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub struct Place {
    start: At,
    end: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
struct At {
    line: usize,
    column: usize,
}

impl Place {
    /// From what syn says, whose columns count from 0.
    pub fn between(start: proc_macro2::LineColumn, end: proc_macro2::LineColumn) -> Self {
        let at = |place: proc_macro2::LineColumn| At {
            line: place.line,
            column: place.column + 1,
        };
        Self {
            start: at(start),
            end: at(end),
        }
    }
}

impl Mutant {
    /// The name without line and column, which change with every line above.
    pub fn lasting_name(&self) -> String {
        let rest = self.name.strip_prefix(&self.file).unwrap_or(&self.name);
        let what = rest.split_once(": ").map_or(rest, |(_, what)| what);
        format!("{}: {what}", self.file)
    }
}

/// Modules that a macro declares, which `cargo mutants` does not find: it is told
/// of them in the copy that it reads.
const DECLARED_BY_MACRO: &str = "host/sandbox/src/capability";

/// Declares them, for nobody but who reads the file.
pub fn declare(tree: &Path) -> Result<()> {
    let folder = tree.join(DECLARED_BY_MACRO);
    let path = folder.join("mod.rs");
    let mut text = std::fs::read_to_string(&path).context("reading the registry")?;
    for entry in std::fs::read_dir(&folder)? {
        let entry = entry?;
        if entry.path().join("mod.rs").is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            text.push_str(&format!("#[cfg(any())]\nmod {name};\n"));
        }
    }
    std::fs::write(&path, text).context("writing the registry")
}

/// All mutants of the parts, out of a tree that nothing is mutated in.
pub fn list(tree: &Path, parts: &[&'static Part]) -> Result<Vec<Mutant>> {
    let mut all: BTreeMap<String, Mutant> = BTreeMap::new();
    for part in parts {
        for file in part.files {
            let found = list_of(tree, part, file)?;
            ensure!(!found.is_empty(), "{file} of {} has no mutants", part.name);
            for mut mutant in found {
                mutant.part = part.name;
                // Lines as numbers, or the tenth would come before the second.
                let at = mutant.span.start;
                let key = format!(
                    "{}:{:06}:{:04} {}",
                    mutant.file, at.line, at.column, mutant.name
                );
                all.entry(key).or_insert(mutant);
            }
        }
    }
    let mut mutants: Vec<Mutant> = all.into_values().collect();
    for (mutant, id) in mutants.iter_mut().zip(1..) {
        mutant.id = id;
    }
    Ok(mutants)
}

fn list_of(tree: &Path, part: &Part, file: &str) -> Result<Vec<Mutant>> {
    let output = Command::new("cargo")
        .current_dir(tree)
        .args(["mutants", "--list", "--json", "--colors=never"])
        .args(["--package", part.package, "--file", file])
        .args(
            part.without
                .iter()
                .flat_map(|names| ["--exclude-re", names]),
        )
        .output()
        .context("starting cargo mutants")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "cargo mutants could not list: {said}"
    );
    serde_json::from_slice(&output.stdout).context("reading the list of cargo mutants")
}
