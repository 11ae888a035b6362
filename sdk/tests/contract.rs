//! Released interfaces do not change. Each released version of `airlock:tool` is
//! kept in `wit/released/`; the current text must mean the same as the one of its
//! version. Comments and layout may differ.

use std::path::{Path, PathBuf};

use wit_component::WitPrinter;
use wit_parser::{Docs, Resolve, TypeDefKind};

fn wit(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("wit").join(path)
}

/// The package without comments, one declaration a line.
fn meaning(text: &str) -> Vec<String> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("tool.wit", text).expect("it parses");
    let mut printer = WitPrinter::default();
    printer.emit_docs(false);
    printer.print(&resolve, package, &[]).expect("it prints");
    let text = String::from(printer.output);
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The lines of one that the other lacks, with those around that stay.
fn changes(released: &[String], current: &[String]) -> Vec<String> {
    let removed = released
        .iter()
        .filter(|line| count(line, released) > count(line, current));
    let added = current
        .iter()
        .filter(|line| count(line, current) > count(line, released));
    let mut all: Vec<String> = removed.map(|line| format!("- {line}")).collect();
    all.extend(added.map(|line| format!("+ {line}")));
    if all.is_empty() && released != current {
        all.push("the order changed".to_owned());
    }
    all
}

fn count(line: &String, lines: &[String]) -> usize {
    lines.iter().filter(|other| *other == line).count()
}

#[test]
fn released_interfaces_do_not_change() {
    let current_text = std::fs::read_to_string(wit("airlock-tool/types.wit")).unwrap();
    let current = meaning(&current_text);
    let version = current[0]
        .trim_start_matches("package airlock:tool@")
        .trim_end_matches(';')
        .to_owned();
    let released_path = wit(&format!("released/airlock-tool-{version}.wit"));
    let released = std::fs::read_to_string(&released_path).unwrap_or_else(|_| {
        panic!(
            "{version} is new: copy wit/airlock-tool/types.wit to {}",
            released_path.display()
        )
    });
    let changes = changes(&meaning(&released), &current);
    assert!(
        changes.is_empty(),
        "airlock:tool@{version} is released and must not change; give the change a new version.\n{}",
        changes.join("\n")
    );
}

#[test]
fn changes_are_found_and_comments_are_not_changes() {
    let released = std::fs::read_to_string(wit("released/airlock-tool-1.0.0.wit")).unwrap();
    let cases = [
        ("attempt: u32,", "attempt: u64,", "- attempt: u32,"),
        ("attempt: u32,", "", "- attempt: u32,"),
        (
            "        cancelled,\n",
            "        cancelled,\n        paused,\n",
            "+ paused,",
        ),
        (
            "call: func(name: string, input: string,",
            "call: func(name: string, input: list<u8>,",
            "+ call: func",
        ),
        ("    import secrets;\n", "", "- import secrets;"),
        (
            "enum level { trace, debug,",
            "enum level { debug, trace,",
            "the order changed",
        ),
    ];
    for (from, to, expected) in cases {
        let changed = released.replacen(from, to, 1);
        assert_ne!(changed, released, "`{from}` is not in the contract");
        let found = changes(&meaning(&released), &meaning(&changed));
        assert!(
            found.iter().any(|line| line.starts_with(expected)),
            "{from}: {found:?}"
        );
    }
    let comment = released.replacen(
        "/// Unique within the plugin",
        "/// Never twice in a plugin",
        1,
    );
    assert_ne!(comment, released);
    assert_eq!(
        changes(&meaning(&released), &meaning(&comment)),
        Vec::<String>::new()
    );
}

/// What has no documentation, and how much has.
fn undocumented(resolve: &Resolve) -> (Vec<String>, usize) {
    let (mut without, mut with) = (Vec::new(), 0);
    let mut check = |name: String, docs: &Docs| match docs.contents.as_deref().map(str::trim) {
        None | Some("") => without.push(name),
        Some(_) => with += 1,
    };
    for (_, interface) in &resolve.interfaces {
        let name = interface.name.as_deref().unwrap_or_default();
        check(name.to_owned(), &interface.docs);
        for (function, about) in &interface.functions {
            check(format!("{name}.{function}"), &about.docs);
        }
    }
    for (_, world) in &resolve.worlds {
        check(world.name.clone(), &world.docs);
    }
    for (_, ty) in &resolve.types {
        let Some(name) = &ty.name else { continue };
        match &ty.kind {
            TypeDefKind::Record(record) => {
                let fields = record.fields.iter();
                fields.for_each(|field| check(format!("{name}.{}", field.name), &field.docs));
            }
            TypeDefKind::Variant(variant) => {
                let cases = variant.cases.iter();
                cases.for_each(|case| check(format!("{name}.{}", case.name), &case.docs));
            }
            // Another interface's, by `use`.
            TypeDefKind::Type(_) => continue,
            _ => {}
        }
        check(name.clone(), &ty.docs);
    }
    (without, with)
}

#[test]
fn the_contract_documents_all_that_it_names() {
    let text = std::fs::read_to_string(wit("airlock-tool/types.wit")).unwrap();
    let parsed = |text: &str| {
        let mut resolve = Resolve::default();
        resolve.push_str("tool.wit", text).expect("it parses");
        undocumented(&resolve)
    };
    let (without, with) = parsed(&text);
    assert_eq!(without, Vec::<String>::new());
    assert!(with > 50, "only {with} things are documented");
    let (without, _) = parsed(&text.replacen("/// A grant is missing.", "", 1));
    assert_eq!(without, ["error.denied"]);
}

#[test]
fn the_standards_interfaces_parse_together() {
    let mut resolve = Resolve::default();
    for name in [
        "io",
        "clocks",
        "random",
        "filesystem",
        "sockets",
        "cli",
        "http",
    ] {
        resolve
            .push_path(wit(&format!("deps/{name}.wit")))
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
    for name in [
        "keyvalue-0.2.0-draft",
        "keyvalue-0.2.0-draft2",
        "config-0.2.0-draft",
        "config-0.2.0-rc.1",
    ] {
        resolve
            .push_path(wit(&format!("deps/{name}")))
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
    assert_eq!(resolve.packages.len(), 11);
}
