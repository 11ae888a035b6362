//! Rules of the architecture that the compiler cannot check. Each asserts how
//! much it looked at, so that none can pass on nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use airlock_tests::root;
use serde_json::Value;
use syn::spanned::Spanned;
use syn::visit::Visit;

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const FUNCTION_LINES_P90_MAX: usize = 30;

fn walk(dir: &Path, keep: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir)
        .expect("a folder of the workspace")
        .flatten()
    {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            if !name.starts_with("target") && !name.starts_with('.') {
                walk(&path, keep, found);
            }
        } else if keep(&path) {
            found.push(path);
        }
    }
}

fn files(within: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let keep = |path: &Path| path.extension().is_some_and(|e| e == extension);
    walk(&root().join(within), &keep, &mut found);
    found.sort();
    found
}

fn is_test(path: &Path) -> bool {
    let parts = ["tests", "benches", "examples", "fuzz"];
    path.file_name().is_some_and(|name| name == "tests.rs")
        || path
            .strip_prefix(root())
            .unwrap_or(path)
            .components()
            .any(|part| parts.iter().any(|p| part.as_os_str() == *p))
}

#[derive(Default)]
struct Functions {
    lines: Vec<(usize, String)>,
}

impl Functions {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let span = signature.span().join(block.span());
        let span = span.unwrap_or_else(|| block.span());
        let lines = span.end().line + 1 - span.start().line;
        self.lines.push((lines, signature.ident.to_string()));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let test = module.attrs.iter().any(|attribute| {
            attribute.path().is_ident("cfg")
                && attribute
                    .meta
                    .require_list()
                    .is_ok_and(|list| list.tokens.to_string() == "test")
        });
        if !test {
            syn::visit::visit_item_mod(self, module);
        }
    }
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig, &function.block);
        syn::visit::visit_item_fn(self, function);
    }
    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }
}

#[test]
fn functions_and_files_are_short() {
    let mut lengths = Vec::new();
    let mut faults = Vec::new();
    for path in files(".", "rs") {
        let text = fs::read_to_string(&path).expect("UTF-8");
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(format!("{}: {lines} lines", path.display()));
        }
        if is_test(&path) {
            continue;
        }
        let mut functions = Functions::default();
        functions.visit_file(&syn::parse_file(&text).expect("valid Rust"));
        for (length, name) in functions.lines {
            if length > FUNCTION_LINES_MAX {
                faults.push(format!("{}: fn {name} has {length} lines", path.display()));
            }
            lengths.push(length);
        }
    }
    lengths.sort_unstable();
    assert!(
        lengths.len() > 500,
        "only {} functions were found",
        lengths.len()
    );
    assert!(faults.is_empty(), "too long:\n{}", faults.join("\n"));
    let p90 = lengths[lengths.len() * 9 / 10];
    assert!(
        p90 <= FUNCTION_LINES_P90_MAX,
        "the 90th percentile of function length is {p90}"
    );
}

fn manifest(path: &Path) -> toml::Table {
    fs::read_to_string(path)
        .expect("a manifest")
        .parse()
        .expect("TOML")
}

/// Crate borders are the layers: each may name only those below it.
#[test]
fn crates_depend_downwards_only() {
    let layers: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("text", &[][..]),
        ("tls", &[][..]),
        ("journal", &[][..]),
        ("models", &["airlock-text", "airlock-tls"][..]),
        (
            "mcp-client",
            &["airlock-models", "airlock-text", "airlock-tls"][..],
        ),
        ("memory", &["airlock-journal", "airlock-text"][..]),
        (
            "sandbox",
            &[
                "airlock-journal",
                "airlock-memory",
                "airlock-text",
                "airlock-tls",
            ][..],
        ),
        (
            "runtime",
            &[
                "airlock-journal",
                "airlock-memory",
                "airlock-mcp-client",
                "airlock-models",
                "airlock-sandbox",
                "airlock-text",
                "airlock-tls",
            ][..],
        ),
        ("mcp", &["airlock-runtime", "airlock-text"][..]),
        ("server", &["airlock-runtime", "airlock-mcp"][..]),
    ]);
    let mut seen = 0;
    for (layer, allowed) in layers {
        let table = manifest(&root().join("host").join(layer).join("Cargo.toml"));
        let dependencies = table.get("dependencies").and_then(toml::Value::as_table);
        for name in dependencies
            .into_iter()
            .flat_map(toml::Table::keys)
            .filter(|name| name.starts_with("airlock"))
        {
            assert!(
                allowed.contains(&name.as_str()),
                "host/{layer} must not depend on {name}"
            );
            seen += 1;
        }
    }
    assert!(seen >= 15, "only {seen} dependencies were seen");
}

#[test]
fn the_server_never_names_wasmtime() {
    let mut sources = files("host/server/src", "rs");
    sources.extend(files("host/mcp/src", "rs"));
    assert!(sources.len() >= 15, "only {} files", sources.len());
    for path in sources {
        let text = fs::read_to_string(&path).expect("UTF-8");
        assert!(
            !text.contains("wasmtime"),
            "{} names wasmtime",
            path.display()
        );
    }
}

/// Blanket linking and reopening by path are banned by lint; this finds an
/// `expect` or `allow` that would lift the ban anywhere in the sandbox.
#[test]
fn nothing_lifts_the_ban_on_blanket_linking() {
    let banned = [
        "define_unknown_imports_as_traps",
        "allow_shadowing",
        "add_to_linker_async",
        "add_to_linker_sync",
        "deserialize_file",
        ".inherit_",
    ];
    let sources = files("host", "rs");
    assert!(sources.len() > 60, "only {} files", sources.len());
    for path in sources.into_iter().filter(|path| !is_test(path)) {
        let text = fs::read_to_string(&path).expect("UTF-8");
        let code: String = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        for name in banned {
            assert!(!code.contains(name), "{} uses {name}", path.display());
        }
    }
}

#[test]
fn each_room_has_its_files() {
    let rooms = root().join("host/sandbox/src/capability");
    let mut count = 0;
    for entry in fs::read_dir(rooms)
        .expect("rooms")
        .flatten()
        .filter(|entry| entry.path().is_dir())
    {
        let text = fs::read_to_string(entry.path().join("mod.rs")).expect("each room has a mod.rs");
        // Rooms without rules are bounded by limits, or by another room's rules.
        let ruleless = text.contains("type Rule = NoRule");
        assert!(
            ruleless || entry.path().join("grant.rs").is_file(),
            "{} has no grant.rs",
            entry.path().display()
        );
        let tests =
            entry.path().join("tests.rs").is_file() || entry.path().join("tests/mod.rs").is_file();
        assert!(tests, "{} has no tests", entry.path().display());
        count += 1;
    }
    assert!(count >= 9, "only {count} rooms");
}

/// A new capability is a room, its name in the registry and its WIT: of the host's
/// other sources these many name one, each because that is its subject.
const NAMED_ELSEWHERE: &[(&str, usize, &str)] = &[
    ("agents", 1, "runs start children"),
    (
        "files",
        3,
        "the host's own directories are reserved, and a limited token grants none",
    ),
    (
        "http",
        5,
        "the network is the host's: one pool, one list of addresses",
    ),
    (
        "kv",
        2,
        "what a plugin kept is erased with it; documents have the same scopes",
    ),
    (
        "memory",
        6,
        "runs ask the memory, administrators look into it, what goes with a plugin or a run",
    ),
    ("models", 4, "runs ask models, within a rule's bounds"),
    (
        "log",
        7,
        "the runtime gives back what a call wrote; so do agents",
    ),
    (
        "secrets",
        11,
        "the vault is the host's, and requests carry its values",
    ),
    ("tools", 8, "runs call tools"),
];

/// What the grants allow is asked of the gate, which gives a permit for it, and by what
/// explains them, which does nothing. A room's own `decide` is its own.
#[test]
fn the_gate_alone_decides() {
    let rooms = root().join("host/sandbox/src/capability");
    let is_room = |path: &Path| path.starts_with(&rooms) && path.parent() != Some(&*rooms);
    let sources = ["sandbox", "runtime", "airlock"].map(|name| format!("host/{name}/src"));
    let sources = sources.iter().flat_map(|within| files(within, "rs"));
    let sources: Vec<PathBuf> = sources.filter(|path| !is_test(path)).collect();
    assert!(sources.len() > 300, "only {} files", sources.len());
    let decides = |path: &Path| {
        let text = fs::read_to_string(path).expect("UTF-8");
        let rest = text.split("::decide").skip(1);
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        rest.filter(|rest| !rest.starts_with(is_name)).count() > 0
    };
    let deciding: BTreeSet<PathBuf> = sources
        .into_iter()
        .filter(|path| !is_room(path) && decides(path))
        .collect();
    let may = ["gate.rs", "gate/run.rs", "capability/mod.rs"];
    let may = may.map(|name| root().join("host/sandbox/src").join(name));
    assert_eq!(deciding, BTreeSet::from(may));
}

#[test]
fn a_capability_is_one_room() {
    let rooms = root().join("host/sandbox/src/capability");
    let sources: Vec<(PathBuf, String)> = files("host", "rs")
        .into_iter()
        .filter(|path| !is_test(path))
        .map(|path| (path.clone(), fs::read_to_string(path).expect("a source")))
        .collect();
    for entry in fs::read_dir(&rooms).expect("rooms").flatten() {
        let (room, name) = (entry.path(), entry.file_name());
        if !room.is_dir() {
            continue;
        }
        let name = name.to_str().expect("a name");
        let named: Vec<&Path> = sources
            .iter()
            .filter(|(path, text)| !path.starts_with(&room) && names_room(text, name))
            .map(|(path, _)| path.as_path())
            .collect();
        let known = NAMED_ELSEWHERE.iter().find(|(known, _, _)| *known == name);
        let most = known.map_or(0, |(_, most, _)| *most);
        assert!(
            named.len() <= most,
            "`{name}` is named in {} places outside its room, {most} at most: {named:?}",
            named.len()
        );
    }
}

/// Whether a source imports a room, alone or in a list.
fn names_room(text: &str, room: &str) -> bool {
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    let code: String = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or(line))
        .collect();
    let is_room = |rest: &str| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        &rest[..end.unwrap_or(rest.len())] == room
    };
    code.split("capability::")
        .skip(1)
        .any(|rest| match rest.strip_prefix('{') {
            None => is_room(rest),
            Some(list) => {
                let list = list.split(';').next().unwrap_or(list);
                list.split(['{', ',', '}'])
                    .any(|part| is_room(part.trim_start()))
            }
        })
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    let mut manifests = Vec::new();
    walk(
        &root(),
        &|path| path.ends_with("Cargo.toml"),
        &mut manifests,
    );
    let mut count = 0;
    for path in manifests {
        let table = manifest(&path);
        // The SDK and its template are copied out of the workspace, so they
        // carry lints of their own.
        let outside = path.components().any(|part| part.as_os_str() == "sdk");
        if !table.contains_key("package") || outside {
            continue;
        }
        let inherits = table
            .get("lints")
            .and_then(|lints| lints.get("workspace"))
            .and_then(|value| value.as_bool());
        assert_eq!(inherits, Some(true), "{}", path.display());
        count += 1;
    }
    assert!(count > 12, "only {count} manifests");
}

#[test]
fn the_readme_starts_with_the_two_commands() {
    let text = fs::read_to_string(root().join("README.md")).expect("README.md");
    let demo = text.find("cargo xtask demo").expect("the demo command");
    let test = text.find("cargo xtask test").expect("the test command");
    let lines = text[..demo.max(test)].lines().count();
    assert!(
        lines <= 20,
        "the two commands come only after {lines} lines"
    );
}

/// The repository speaks of the project alone: no path of somebody's machine.
#[test]
fn no_file_names_a_machine() {
    let mut found = Vec::new();
    let kinds = ["rs", "toml", "md", "wit", "sh", "py", "json"];
    let keep = |path: &Path| {
        path.extension()
            .is_some_and(|e| kinds.iter().any(|kind| e == *kind))
    };
    walk(&root(), &keep, &mut found);
    assert!(found.len() > 100, "only {} files", found.len());
    // Split, so that this file does not name them itself.
    let names = [
        ["/wo", "rk/main"].concat(),
        ["/wo", "rk/wt"].concat(),
        ["/ho", "me/"].concat(),
    ];
    for path in found {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for name in &names {
            let hit = text
                .lines()
                .find(|line| line.contains(name.as_str()) && !line.contains("/../"));
            assert!(
                hit.is_none(),
                "{} names {name}: {}",
                path.display(),
                hit.unwrap_or_default().trim()
            );
        }
    }
}

/// Names of all tests, by the attribute above them; `proptest!` has it too.
fn test_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in files(".", "rs") {
        let text = fs::read_to_string(&path).expect("UTF-8");
        let mut due = false;
        for line in text.lines().map(str::trim_start) {
            due |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            let name = line.split_once("fn ").filter(|_| due);
            if let Some((_, rest)) = name {
                let end = rest.find(['(', '<']).unwrap_or(rest.len());
                names.insert(rest[..end].to_owned());
                due = false;
            }
        }
    }
    names
}

/// The packages that building `name` needs, by id.
fn needed<'m>(metadata: &'m Value, name: &str) -> BTreeSet<&'m str> {
    let list = |value: &'m Value| value.as_array().into_iter().flatten();
    let id = |value: &'m Value| value.as_str().expect("an id");
    let nodes: BTreeMap<&str, &Value> = list(&metadata["resolve"]["nodes"])
        .map(|node| (id(&node["id"]), node))
        .collect();
    let named = list(&metadata["packages"]).filter(|package| package["name"] == name);
    let mut waiting: Vec<&str> = named.map(|package| id(&package["id"])).collect();
    let mut found = BTreeSet::new();
    while let Some(next) = waiting.pop() {
        if !found.insert(next) {
            continue;
        }
        let for_building = |dependency: &&'m Value| {
            list(&dependency["dep_kinds"]).any(|kind| kind["kind"] != "dev")
        };
        let dependencies = list(&nodes[next]["deps"]).filter(for_building);
        waiting.extend(dependencies.map(|dependency| id(&dependency["pkg"])));
    }
    found
}

/// No plugin needs a C compiler: no package that it is built from brings C along.
#[test]
fn plugins_are_rust_all_the_way_down() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1"])
        .args(["--filter-platform", "wasm32-wasip2"])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let compilers = |name: &str| -> Vec<&str> {
        let needed = needed(&metadata, name).into_iter();
        let is_compiler = |id: &&str| ["#cc@", "#cmake@"].iter().any(|part| id.contains(part));
        needed.filter(is_compiler).collect()
    };
    assert!(
        !compilers("airlock-journal").is_empty(),
        "SQLite is C: nothing would be found"
    );
    let mut packages = 0;
    for manifest in files("plugins", "toml") {
        let text = fs::read_to_string(&manifest).expect("UTF-8");
        let manifest: toml::Value = toml::from_str(&text).expect("TOML");
        let name = manifest["package"]["name"].as_str().expect("a name");
        assert_eq!(compilers(name), Vec::<&str>::new(), "{name}");
        packages += needed(&metadata, name).len();
    }
    assert!(packages > 100, "only {packages} packages were looked at");
}

/// Each proof that the pages on security and on faults name is a test, or an
/// attack of the self-test.
// Pages with tables of proofs, and where these begin.
const PROOFS: [(&str, &str); 4] = [
    ("ARCHITECTURE.md", "\n## Invariants"),
    ("docs/security.md", ""),
    ("docs/faults.md", ""),
    ("docs/models.md", "\n## Proof\n"),
];

#[test]
fn every_named_proof_exists() {
    let tests = test_names();
    assert!(tests.len() > 300, "only {} tests were found", tests.len());
    let attacks: String = files("host/airlock/src/selftest", "rs")
        .iter()
        .map(|path| fs::read_to_string(path).expect("UTF-8"))
        .collect();
    let pages = PROOFS.map(|(page, from)| {
        let text = fs::read_to_string(root().join(page));
        let text = text.unwrap_or_else(|error| panic!("{page}: {error}"));
        let (_, proofs) = text
            .split_once(from)
            .unwrap_or_else(|| panic!("{page}: no {from}"));
        proofs.to_owned()
    });
    let rows = pages
        .iter()
        .flat_map(|page| page.lines())
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .filter_map(|row| row.rsplit_once(" | "))
        .filter(|(_, proof)| *proof != "proof");
    let mut named = 0;
    for (case, proofs) in rows {
        let names: Vec<&str> = proofs.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "`{case}` names no proof");
        for name in names {
            let attack = attacks.contains(&format!("\"{name}\""));
            assert!(
                attack || tests.contains(name),
                "`{case}`: no test or attack is named `{name}`"
            );
            named += 1;
        }
    }
    assert!(named > 250, "only {named} proofs are named");
}
