//! How long functions and files are: what is short is read whole.
//!
//! Sources are formatted, so a function ends at the first brace that stands as far
//! from the margin as it began.

use std::path::{Path, PathBuf};

/// Lines of a file, of any function, and of nine functions in ten.
const FILE_MAX: usize = 600;
const FUNCTION_MAX: usize = 70;
const MOST_FUNCTIONS_MAX: usize = 30;

/// Tables of cases are as long as they are.
fn is_test(path: &Path) -> bool {
    let is_one = |part: &str| part == "tests" || part.ends_with("tests.rs");
    path.iter().any(|part| part.to_str().is_some_and(is_one))
}

/// The lines of each function in a source: its first line, and how many.
fn functions(source: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = source.lines().collect();
    let begins = lines.iter().enumerate().filter(|(_, line)| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let before = words.iter().position(|word| *word == "fn");
        let is_qualifier =
            |word: &&str| word.starts_with("pub") || ["const", "async", "unsafe"].contains(word);
        before.is_some_and(|at| words[..at].iter().all(is_qualifier)) && !line.ends_with(['}', ';'])
    });
    let of = begins.filter_map(|(at, line)| {
        let margin = line.len() - line.trim_start().len();
        let ends = |other: &&str| {
            let rest = other.trim_start();
            other.len() - rest.len() == margin && (rest == "}" || rest.ends_with(';'))
        };
        let length = lines[at + 1..].iter().position(ends)?;
        Some((*line, length + 2))
    });
    of.collect()
}

/// The sources below a directory.
fn sources(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        match name.to_string_lossy() {
            name if name == "target" || name.starts_with('.') => {}
            _ if path.is_dir() => found.extend(sources(&path)?),
            name if name.ends_with(".rs") => found.push(path),
            _ => {}
        }
    }
    Ok(found)
}

/// What is too long in the sources below `root`, each in a line.
fn too_long(root: &Path) -> std::io::Result<Vec<String>> {
    let (mut found, mut lengths) = (Vec::new(), Vec::new());
    for path in sources(root)? {
        let source = std::fs::read_to_string(&path)?;
        let path = path.strip_prefix(root).unwrap_or(&path);
        let name = path.display();
        let lines = source.lines().count();
        if lines > FILE_MAX {
            found.push(format!("{name}: {lines} lines, {FILE_MAX} at most"));
        }
        if is_test(path) {
            continue;
        }
        let code = source.split("#[cfg(test)]\nmod ").next().unwrap_or(&source);
        for (line, length) in functions(code) {
            lengths.push(length);
            if length > FUNCTION_MAX {
                let line = line.trim();
                found.push(format!(
                    "{name}: {length} lines, {FUNCTION_MAX} at most: {line}"
                ));
            }
        }
    }
    lengths.sort_unstable();
    let most = lengths.get(lengths.len() * 9 / 10).copied().unwrap_or(0);
    if most > MOST_FUNCTIONS_MAX {
        found.push(format!(
            "one function in ten is longer than {most} lines, {MOST_FUNCTIONS_MAX} at most"
        ));
    }
    Ok(found)
}

#[test]
fn a_function_is_as_long_as_it_is() {
    let source = "fn short() {}\n\n    pub(crate) async fn long(\n        one: u8,\n    ) -> u8 {\n        one\n    }\ntrait T {\n    fn none(\n        &self,\n    );\n}\n";
    let lengths: Vec<usize> = functions(source).into_iter().map(|(_, one)| one).collect();
    assert_eq!(lengths, [5, 3]);
}

#[test]
fn functions_and_files_are_short() {
    let root = crate::cargo::root();
    let found = too_long(&root).expect("the sources are read");
    assert!(found.is_empty(), "{}", found.join("\n"));
}
