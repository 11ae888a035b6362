//! Property tests of guest paths and rules, against a model that works on lists
//! of components; `cargo xtask fuzz` runs them for longer.

use proptest::prelude::*;

use crate::capability::files::grant::{Access, Op, Rule, Verb, join};
use crate::gate::Allowed;

/// Text near enough to paths to meet the rules.
fn near_paths() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("a"),
        Just("b"),
        Just("ab"),
        Just("."),
        Just(".."),
        Just("/"),
        Just("//"),
        Just("/a"),
        Just("/../"),
        Just("\0"),
        Just("é"),
        Just("..."),
        Just("/a/b"),
        Just("\\"),
    ];
    let near = prop::collection::vec(part, 0..10).prop_map(|parts| parts.concat());
    prop_oneof![4 => near, 1 => any::<String>()]
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let rule = (near_paths(), any::<bool>()).prop_map(|(guest, writable)| Rule {
        host: "/srv".to_owned(),
        guest: join("/", &guest),
        access: if writable {
            Access::ReadWrite
        } else {
            Access::Read
        },
        bytes: None,
        files: None,
    });
    prop::collection::vec(rule, 0..5)
}

/// What the components of a path lead to.
fn model(base: &str, path: &str) -> Vec<String> {
    let mut at = Vec::new();
    let start = if path.starts_with('/') { "" } else { base };
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(at.pop()),
            part => at.push(part.to_owned()),
        }
    }
    at
}

proptest! {
    #![proptest_config(airlock_fuzz::cases(1_000))]

    #[test]
    fn joining_ends_at_the_root_and_changes_nothing_twice(base in near_paths(), path in near_paths()) {
        let base = join("/", &base);
        let joined = join(&base, &path);
        prop_assert_eq!(model("/", &joined), model(&base, &path));
        prop_assert_eq!(join("/", &joined), joined.clone());
        prop_assert!(joined.starts_with('/') && !joined.split('/').any(|part| part == ".."));
    }

    #[test]
    fn the_longest_rule_by_components_decides(rules in rules(), path in near_paths(), verb in 0usize..8) {
        let verbs = [
            Verb::Read, Verb::List, Verb::Stat, Verb::Write, Verb::Create, Verb::Delete,
            Verb::Rename, Verb::Link,
        ];
        let op = Op::new(verbs[verb], "/", &path);
        let at = model("/", &path);
        let covering = rules.iter().filter(|rule| at.starts_with(&model("/", &rule.guest)));
        let longest = covering.map(|rule| model("/", &rule.guest).len()).max();
        let allowed = |rule: &Rule| match op.verb {
            Verb::Link => false,
            verb => !verb.writes() || rule.writable(),
        };
        match op.decide(&rules) {
            Ok(Allowed::Rule(index)) => {
                let rule = &rules[index];
                prop_assert!(at.starts_with(&model("/", &rule.guest)) && allowed(rule));
                prop_assert_eq!(Some(model("/", &rule.guest).len()), longest);
            }
            Ok(Allowed::Ambient) => prop_assert!(false, "a rule is always needed"),
            Err(_) => {
                let mut longest = rules.iter().filter(|rule| {
                    let guest = model("/", &rule.guest);
                    at.starts_with(&guest) && Some(guest.len()) == longest
                });
                // Of several rules on one guest path, which `prepare` refuses,
                // any may decide.
                prop_assert!(longest.clone().count() == 0 || longest.any(|rule| !allowed(rule)));
            }
        }
    }

    #[test]
    fn any_rule_is_taken_or_refused(host in near_paths(), guest in near_paths()) {
        let rule = Rule { host, guest, access: Access::Read, bytes: None, files: None };
        if rule.validate().is_ok() {
            prop_assert_eq!(join("/", &rule.guest), rule.guest.clone());
            let host = model("/", &rule.host);
            prop_assert!(!host.is_empty() && host[0] != "proc" && host[0] != "dev" && host[0] != "sys");
            prop_assert_eq!(rule.below(&rule.guest), Some("."));
        }
    }
}
