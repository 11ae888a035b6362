//! The registry and the linker say the same: what is listed links, and nothing
//! else does.

use wasmtime::component::Component;

use super::*;

/// Something that each interface has: a resource where it begins with a capital
/// letter, else a function.
const MEMBERS: &[(&str, &str)] = &[
    ("wasi:io/error", "Error"),
    ("wasi:io/poll", "poll"),
    ("wasi:io/streams", "Input-stream"),
    ("wasi:cli/exit", "exit"),
    ("wasi:cli/stdin", "get-stdin"),
    ("wasi:cli/stdout", "get-stdout"),
    ("wasi:cli/stderr", "get-stderr"),
    ("wasi:cli/environment", "get-arguments"),
    ("wasi:cli/terminal-input", "Terminal-input"),
    ("wasi:cli/terminal-output", "Terminal-output"),
    ("wasi:cli/terminal-stdin", "get-terminal-stdin"),
    ("wasi:cli/terminal-stdout", "get-terminal-stdout"),
    ("wasi:cli/terminal-stderr", "get-terminal-stderr"),
    ("wasi:sockets/network", "Network"),
    ("wasi:sockets/instance-network", "instance-network"),
    ("wasi:sockets/ip-name-lookup", "resolve-addresses"),
    ("wasi:sockets/tcp", "Tcp-socket"),
    ("wasi:sockets/tcp-create-socket", "create-tcp-socket"),
    ("wasi:sockets/udp", "Udp-socket"),
    ("wasi:sockets/udp-create-socket", "create-udp-socket"),
    ("wasi:filesystem/types", "Descriptor"),
    ("wasi:filesystem/preopens", "get-directories"),
    ("wasi:http/types", "Fields"),
    ("wasi:http/outgoing-handler", "handle"),
    ("wasi:keyvalue/store", "open"),
    ("wasi:keyvalue/atomics", "increment"),
    ("wasi:keyvalue/batch", "get-many"),
    ("wasi:config/store", "get"),
    ("wasi:config/runtime", "get-all"),
    ("wasi:clocks/wall-clock", "now"),
    ("wasi:clocks/monotonic-clock", "now"),
    ("wasi:random/random", "get-random-bytes"),
    ("wasi:random/insecure", "get-insecure-random-u64"),
    ("wasi:random/insecure-seed", "insecure-seed"),
    ("airlock:tool/host", "last-denial"),
    ("airlock:tool/secrets", "placeholder"),
    ("airlock:memory/memory", "ask"),
];

/// Whether the linker has `member` of `import`, found by importing it: a
/// resource links, and a function of a type that nothing has is of the wrong
/// type rather than missing.
fn links(linker: &Linker<CallState>, import: &str, member: &str) -> bool {
    let name = member.to_ascii_lowercase();
    let resource = name != member;
    let export = match resource {
        true => format!("(export \"{name}\" (type (sub resource)))"),
        false => format!("(export \"{name}\" (func (param \"wrong\" (list (list char)))))"),
    };
    let text = format!("(component (import \"{import}\" (instance {export})))");
    let bytes = wat::parse_str(&text).expect(&text);
    let component = Component::new(linker.engine(), bytes).expect(&text);
    match linker.instantiate_pre(&component) {
        Ok(_) => resource,
        Err(error) => !resource && format!("{error:?}").contains("type mismatch"),
    }
}

/// A version that `accepted` stands for.
fn versions(accepted: &str) -> Vec<String> {
    match accepted {
        "0.2" => ["0.2.0", "0.2.3", "0.2.12"].map(str::to_owned).to_vec(),
        "1" => ["1.0.0"].map(str::to_owned).to_vec(),
        exact => vec![exact.to_owned()],
    }
}

fn listed() -> Vec<(&'static str, &'static str)> {
    let rooms = LISTED.iter().flat_map(|room| room.interfaces);
    let all = rooms.chain(crate::inert::INTERFACES);
    all.flat_map(|(name, accepted)| accepted.iter().map(|version| (*name, *version)))
        .collect()
}

#[test]
fn what_is_listed_links_in_every_accepted_version() {
    let engine = wasmtime::Engine::default();
    let linker = crate::link::linker(&engine).expect("a linker");
    let listed = listed();
    assert!(listed.len() >= 40, "{}", listed.len());
    for (name, accepted) in listed {
        for version in versions(accepted) {
            let import = format!("{name}@{version}");
            assert!(served(&import).is_some(), "{import}");
            let member = MEMBERS.iter().find(|(interface, _)| *interface == name);
            let (_, member) = member.expect(name);
            assert!(links(&linker, &import, member), "{import} {member}");
        }
    }
}

#[test]
fn what_is_not_listed_is_neither_served_nor_linked() {
    let engine = wasmtime::Engine::default();
    let linker = crate::link::linker(&engine).expect("a linker");
    for (import, member) in [
        ("wasi:cli/stdout@0.3.0", "get-stdout"),
        ("wasi:cli/stdout@0.1.0", "get-stdout"),
        ("wasi:cli/stdout@0.2.0-rc-2023-12-05", "get-stdout"),
        ("wasi:cli/run@0.2.0", "run"),
        ("wasi:io/streams@0.3.0", "Input-stream"),
        ("wasi:http/incoming-handler@0.2.0", "handle"),
        ("wasi:keyvalue/store@0.2.0", "open"),
        ("wasi:keyvalue/store@0.2.0-draft3", "open"),
        ("wasi:keyvalue/watcher@0.2.0-draft2", "on-set"),
        ("wasi:config/store@0.2.0", "get"),
        ("wasi:clocks/timezone@0.2.0", "display"),
        ("wasi:nn/graph@0.2.0-rc-2024-10-28", "load"),
        ("wasi:threads/spawn@0.2.0", "spawn"),
        ("airlock:tool/host@2.0.0", "log"),
        ("airlock:tool/admin@1.0.0", "grant"),
        ("evil:host/exec@0.2.0", "exec"),
        ("wasi:cli/environment@0.20.0", "get-arguments"),
    ] {
        assert_eq!(served(import), None, "{import}");
        assert!(!links(&linker, import, member), "{import} {member}");
    }
    assert_eq!(served("wasi:cli/environment@0.2.0x"), None);
    for import in ["wasi:cli/stdout", "stdout", "", "@", "wasi:cli/stdout@"] {
        assert_eq!(served(import), None, "{import}");
    }
}

#[test]
fn no_interface_is_served_twice() {
    let mut listed = listed();
    let count = listed.len();
    listed.sort_unstable();
    listed.dedup();
    assert_eq!(listed.len(), count);
}

#[test]
fn imports_are_served_by_the_room_that_says_so() {
    for (import, by) in [
        (
            "wasi:filesystem/types@0.2.9",
            Some(Served::Capability("files")),
        ),
        (
            "wasi:http/outgoing-handler@0.2.0",
            Some(Served::Capability("http")),
        ),
        (
            "wasi:keyvalue/store@0.2.0-draft2",
            Some(Served::Capability("kv")),
        ),
        (
            "wasi:config/runtime@0.2.0-draft",
            Some(Served::Capability("config")),
        ),
        (
            "wasi:cli/environment@0.2.12",
            Some(Served::Capability("env")),
        ),
        ("wasi:cli/stderr@0.2.12", Some(Served::Capability("log"))),
        ("airlock:tool/host@1.0.0", Some(Served::Capability("log"))),
        (
            "airlock:tool/secrets@1.0.0",
            Some(Served::Capability("secrets")),
        ),
        ("wasi:sockets/tcp@0.2.0", Some(Served::Inert)),
        ("wasi:io/poll@0.2.0", Some(Served::Inert)),
    ] {
        assert_eq!(served(import), by, "{import}");
    }
}
