//! Builds the tree with all mutants in it. Those that do not compile are taken out
//! until the rest does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::list::Mutant;
use crate::parts::Part;
use crate::rewrite::{LeftOut, MODULE, Rewritten, rewrite};
use crate::tree;

/// Builds after which something else must be wrong.
const BUILDS_MAX: usize = 40;

/// What a switch in an expression can't express: something borrowed from the
/// expression has to outlive it.
const BORROWED: &[&str] = &["E0505", "E0515", "E0597", "E0716"];

/// Mutants that do not compile, by [`crate::key`]; kept, so that the next build
/// begins without them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Known {
    pub unviable: BTreeSet<String>,
    pub not_tried: BTreeMap<String, String>,
}

/// Mutants by file, and where the tree is.
pub struct Workshop<'a> {
    pub tree: PathBuf,
    pub mutants: &'a [Mutant],
    pub keys: &'a BTreeMap<u32, String>,
    pub known: Known,
    /// Where that is kept.
    pub kept: PathBuf,
}

/// A program full of tests.
#[derive(Debug, Clone)]
pub struct Program {
    pub package: String,
    /// `lib`, or the test target's name.
    pub target: String,
    pub executable: PathBuf,
    /// Where its package is.
    pub directory: PathBuf,
}

impl Workshop<'_> {
    fn files(&self) -> BTreeMap<&str, Vec<&Mutant>> {
        let mut files: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
        for mutant in self.mutants {
            files.entry(&mutant.file).or_default().push(mutant);
        }
        files
    }

    fn is_known(&self, id: u32) -> bool {
        let key = &self.keys[&id];
        self.known.unviable.contains(key) || self.known.not_tried.contains_key(key)
    }

    fn leave_out(&mut self, id: u32, why: LeftOut) {
        let key = self.keys[&id].clone();
        match why {
            LeftOut::Unviable => drop(self.known.unviable.insert(key)),
            LeftOut::NotTried(why) => drop(self.known.not_tried.insert(key, why.to_owned())),
        }
    }

    /// Builds until everything that is left compiles; gives the tests.
    pub fn build(&mut self, parts: &[&Part]) -> Result<Vec<Program>> {
        for round in 1..=BUILDS_MAX {
            let written = self.write()?;
            eprintln!("mutants: build {round}");
            let (messages, built) = self.cargo(parts)?;
            if built {
                crate::write(&self.kept, &self.known)?;
                return self.programs(&messages);
            }
            let dropped = self.drop_broken(&written, &messages)?;
            crate::write(&self.kept, &self.known)?;
            eprintln!("mutants: {dropped} do not compile");
        }
        bail!("the tree still does not build after {BUILDS_MAX} times")
    }

    /// Writes the tree; gives what the mutated files are now.
    fn write(&mut self) -> Result<BTreeMap<String, Rewritten>> {
        let mut written = BTreeMap::new();
        for (file, mutants) in self.files() {
            let left: Vec<&Mutant> = mutants
                .into_iter()
                .filter(|mutant| !self.is_known(mutant.id))
                .collect();
            let source = std::fs::read_to_string(tree::root().join(file))?;
            let rewritten = rewrite(&source, &left).with_context(|| file.to_owned())?;
            written.insert(file.to_owned(), rewritten);
        }
        for rewritten in written.values() {
            for (id, why) in &rewritten.left_out {
                self.leave_out(*id, *why);
            }
        }
        let changed = self.changed();
        tree::copy(&self.tree, &changed)?;
        for (file, rewritten) in &written {
            tree::write(&self.tree.join(file), rewritten.text.as_bytes())?;
        }
        for crate_root in self.crate_roots() {
            let source = std::fs::read_to_string(tree::root().join(&crate_root))?;
            let text = with_switch(&source);
            tree::write(&self.tree.join(&crate_root), text.as_bytes())?;
        }
        Ok(written)
    }

    fn changed(&self) -> BTreeSet<PathBuf> {
        let files = self
            .mutants
            .iter()
            .map(|mutant| PathBuf::from(&mutant.file));
        files.chain(self.crate_roots()).collect()
    }

    /// `lib.rs` of each crate that is mutated.
    fn crate_roots(&self) -> BTreeSet<PathBuf> {
        let crates = self.mutants.iter().filter_map(|mutant| {
            let (directory, _) = mutant.file.split_once("/src/")?;
            Some(Path::new(directory).join("src/lib.rs"))
        });
        crates.collect()
    }

    fn cargo(&self, parts: &[&Part]) -> Result<(Vec<Value>, bool)> {
        let targets: BTreeSet<&str> = parts
            .iter()
            .flat_map(|part| part.tests.iter().map(|(_, target)| *target))
            .collect();
        let mut command = Command::new("cargo");
        command
            .current_dir(&self.tree)
            .args(["test", "--no-run", "--quiet"])
            .args(["--message-format=json", "--workspace"])
            .env("CARGO_TARGET_DIR", tree::target())
            .stderr(Stdio::inherit());
        for guest in guests(&self.tree)? {
            command.args(["--exclude", &guest]);
        }
        for target in targets {
            if target == "lib" {
                command.arg("--lib");
            } else {
                command.args(["--test", target]);
            }
        }
        let output = command.output().context("starting cargo")?;
        let text = String::from_utf8(output.stdout).context("what cargo says")?;
        let messages = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        Ok((messages.collect(), output.status.success()))
    }

    fn programs(&self, messages: &[Value]) -> Result<Vec<Program>> {
        let mut programs = Vec::new();
        for message in messages {
            let Some(executable) = message["executable"].as_str() else {
                continue;
            };
            let manifest = Path::new(message["manifest_path"].as_str().unwrap_or_default());
            let directory = manifest.parent().context("a manifest without a folder")?;
            let target = match message["target"]["kind"][0].as_str() {
                Some("test") => message["target"]["name"].as_str().unwrap_or_default(),
                _ => "lib",
            };
            programs.push(Program {
                package: package_name(manifest)?,
                target: target.to_owned(),
                executable: executable.into(),
                directory: directory.to_path_buf(),
            });
        }
        ensure!(!programs.is_empty(), "cargo built no tests");
        Ok(programs)
    }

    /// Leaves out each mutant that an error is about.
    fn drop_broken(
        &mut self,
        written: &BTreeMap<String, Rewritten>,
        messages: &[Value],
    ) -> Result<usize> {
        let mut dropped = BTreeSet::new();
        let mut unclear = String::new();
        for message in messages {
            let message = &message["message"];
            if message["level"] != "error" || spans(message).is_empty() {
                continue;
            }
            let blamed = blame(written, message);
            if blamed.is_empty() {
                unclear.push_str(message["rendered"].as_str().unwrap_or_default());
            }
            for (id, why) in blamed {
                if dropped.insert(id) {
                    self.leave_out(id, why);
                }
            }
        }
        ensure!(
            !dropped.is_empty(),
            "the tree does not build, and it is no mutant:\n{unclear}"
        );
        Ok(dropped.len())
    }
}

/// Where an error is, the likeliest first: as primary spans, then the others, each
/// also where a macro was called.
fn spans(message: &Value) -> Vec<&Value> {
    let all: Vec<&Value> = message["spans"].as_array().into_iter().flatten().collect();
    let (mut first, others): (Vec<&Value>, Vec<&Value>) =
        all.into_iter().partition(|span| span["is_primary"] == true);
    first.extend(others);
    let mut outer = Vec::new();
    for span in &first {
        let mut span = &span["expansion"]["span"];
        while !span.is_null() {
            outer.push(span);
            span = &span["expansion"]["span"];
        }
    }
    first.extend(outer);
    first
}

/// The mutants that an error is about: whose own text it is in, or else whose
/// switches are around it.
fn blame(written: &BTreeMap<String, Rewritten>, message: &Value) -> Vec<(u32, LeftOut)> {
    let borrowed = message["code"]["code"]
        .as_str()
        .is_some_and(|code| BORROWED.contains(&code));
    let why = if borrowed {
        LeftOut::NotTried("a switch would end a borrow too early")
    } else {
        LeftOut::Unviable
    };
    let places: Vec<(&Rewritten, usize)> = spans(message)
        .into_iter()
        .filter_map(|span| {
            let rewritten = written.get(span["file_name"].as_str()?)?;
            let start = usize::try_from(span["byte_start"].as_u64()?).ok()?;
            Some((rewritten, start))
        })
        .collect();
    for (rewritten, start) in &places {
        if let Some(id) = rewritten.owner(*start) {
            return vec![(id, why)];
        }
    }
    let why = LeftOut::NotTried("what is around it does not compile with a switch in it");
    let closest = places
        .iter()
        .map(|(rewritten, start)| rewritten.closest(*start));
    let ids = closest.into_iter().find(|ids| !ids.is_empty());
    ids.unwrap_or_default()
        .iter()
        .map(|id| (*id, why))
        .collect()
}

/// The crate's root with the module that holds the switch. What mutants provoke is
/// no more than a warning, as a changed operand may be a constant.
fn with_switch(source: &str) -> String {
    let switch = include_str!("switch.rs");
    let code: Vec<&str> = switch
        .lines()
        .filter(|line| !line.starts_with("//!"))
        .collect();
    format!(
        "#![allow(warnings, arithmetic_overflow, unconditional_panic, unused_must_use)] \
         {source}\npub(crate) mod {MODULE} {{\n{}\n}}\n",
        code.join("\n")
    )
}

fn package_name(manifest: &Path) -> Result<String> {
    let table: toml::Table = std::fs::read_to_string(manifest)?.parse()?;
    let name = table["package"]["name"].as_str();
    Ok(name.context("a package without a name")?.to_owned())
}

/// Packages that only build as components.
fn guests(tree: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(tree.join("tests/guests"))? {
        let manifest = entry?.path().join("Cargo.toml");
        if manifest.is_file() {
            names.push(package_name(&manifest)?);
        }
    }
    ensure!(!names.is_empty(), "there are no guests");
    Ok(names)
}
