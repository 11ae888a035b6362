//! Names of tools that are exported functions: `function`, or
//! `interface_function` for one in an interface (WIT names have no underscore,
//! so the two never meet), qualified further only where two would be the same.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::inspect::docs::short_name;
use crate::inspect::metadata::NAME_BYTES_MAX;

/// How far a name can be qualified: interface, package, namespace, version.
const LEVELS: usize = 4;

/// The tools' names, in the order of the functions, each once. They depend on
/// the exports' names alone, not on their order, except where two exports can't
/// be told apart otherwise.
pub fn of(functions: &[(Option<&str>, &str)]) -> Vec<String> {
    let mut levels = vec![0; functions.len()];
    let mut names = all(functions, &levels);
    for _ in 1..LEVELS {
        let counts = counts(&names);
        for (index, name) in names.iter().enumerate() {
            levels[index] += usize::from(counts[name] > 1);
        }
        names = all(functions, &levels);
    }
    number(names)
}

fn all(functions: &[(Option<&str>, &str)], levels: &[usize]) -> Vec<String> {
    let functions = functions.iter().zip(levels);
    functions
        .map(|((interface, function), level)| fit(&qualified(*interface, function, *level)))
        .collect()
}

fn qualified(interface: Option<&str>, function: &str, level: usize) -> String {
    let function = clean(function);
    let Some(interface) = interface else {
        return function;
    };
    let (path, version) = interface.split_once('@').unwrap_or((interface, ""));
    let (package, _) = path.rsplit_once('/').unwrap_or(("", path));
    let (namespace, package) = package.split_once(':').unwrap_or(("", package));
    let short = clean(short_name(interface));
    let parts: &[&str] = match level {
        0 if short == function => return function,
        0 => &[&short, &function],
        1 => &[package, &short, &function],
        2 => &[namespace, package, &short, &function],
        _ => &[namespace, package, &short, version, &function],
    };
    let parts = parts.iter().filter(|part| !part.is_empty());
    parts.map(|part| clean(part)).collect::<Vec<_>>().join("_")
}

/// Only what a tool's name may have; `[method]file.read` becomes `file-read`.
fn clean(name: &str) -> String {
    let name = name.rsplit(']').next().unwrap_or(name);
    let lower = name.chars().map(|c| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '-' | '_') => c,
        _ => '-',
    });
    lower.collect()
}

/// Begins with a letter, and is not too long: the end of a long name gives way
/// to a hash of all of it.
fn fit(name: &str) -> String {
    let name = match name.bytes().next() {
        Some(b'a'..=b'z') => name.to_owned(),
        _ => format!("f{name}"),
    };
    if name.len() <= NAME_BYTES_MAX {
        return name;
    }
    let digest = Sha256::digest(name.as_bytes());
    let hash: String = digest[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{}-{hash}", &name[..NAME_BYTES_MAX - 1 - hash.len()])
}

fn counts(names: &[String]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for name in names {
        *counts.entry(name.clone()).or_insert(0) += 1;
    }
    counts
}

/// What is still the same gets a number.
fn number(names: Vec<String>) -> Vec<String> {
    let counts = counts(&names);
    let mut used: HashMap<String, usize> = HashMap::new();
    let numbered = names.into_iter().map(|name| {
        if counts[&name] == 1 {
            return name;
        }
        loop {
            let number = used.entry(name.clone()).or_insert(0);
            *number += 1;
            let room = NAME_BYTES_MAX - 5;
            let candidate = format!("{}_{number}", &name[..name.len().min(room)]);
            if !counts.contains_key(&candidate) {
                return candidate;
            }
        }
    });
    numbered.collect()
}
