//! Whether what a component asks for is granted, told by each room of its own rules.
//!
//! What must stay true: this is shown to administrators and decides nothing; what a
//! call may do is for the gate alone.

use super::Capability;

/// How near a granted rule comes to one that a component asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// It gives less, or something else.
    No,
    /// It gives as much at another place, where the author could not know the place
    /// and wrote one that stands for it: a directory of the host, `example.com`.
    Elsewhere,
    /// It gives all that was asked for.
    All,
}

impl Given {
    /// All, or nothing.
    pub(super) fn all_if(all: bool) -> Self {
        match all {
            true => Self::All,
            false => Self::No,
        }
    }
}

/// Which of several lists of `asked` rules `rules` give whole. A rule that is just what
/// one of them asks for stands for no other one's place.
pub(super) fn given<C: Capability>(rules: &[C::Rule], asked: &[&[C::Rule]]) -> Vec<bool> {
    let is_asked = |rule| {
        let mut all = asked.iter().flat_map(|wanted| wanted.iter());
        all.any(|wanted| C::gives(rule, wanted) == Given::All)
    };
    let taken: Vec<bool> = rules.iter().map(is_asked).collect();
    let is_given = |wanted: &C::Rule| {
        let mut rules = rules.iter().zip(&taken);
        rules.any(|(rule, taken)| match C::gives(rule, wanted) {
            Given::All => true,
            Given::Elsewhere => !taken,
            Given::No => false,
        })
    };
    let each = asked.iter();
    each.map(|wanted| wanted.iter().all(is_given)).collect()
}

#[cfg(test)]
mod tests {
    use crate::grants::Grants;
    use crate::testing::grants;

    /// What is asked for, what is granted, and whether each of the first is given.
    const TABLE: &[(&[&str], &str, &[bool])] = &[
        // The folder and the path are the administrator's to choose; the access is not.
        (
            &[
                "files = [{ host = '/path/to/folder', guest = '/data', access = 'read' }]",
                "files = [{ host = '/path/to/other', guest = '/out', access = 'read-write' }]",
            ],
            "files = [{ host = '/srv/in', guest = '/invoices', access = 'read' }]",
            &[true, false],
        ),
        (
            &["files = [{ host = '/a', guest = '/data', access = 'read' }]"],
            "files = [{ host = '/srv', guest = '/', access = 'read-write' }]",
            &[true],
        ),
        // A rule for the one path is none for the other.
        (
            &[
                "files = [{ host = '/a', guest = '/data', access = 'read' }]",
                "files = [{ host = '/b', guest = '/out', access = 'read-write' }]",
            ],
            "files = [{ host = '/srv/out', guest = '/out', access = 'read-write' }]",
            &[false, true],
        ),
        (
            &["files = [{ host = '/a', guest = '/d', access = 'read-write', bytes = '2GiB' }]"],
            "files = [{ host = '/srv', guest = '/d', access = 'read-write' }]",
            &[false],
        ),
        (
            &["files = [{ host = '/a', guest = '/d', access = 'read' }]"],
            "kv = [{ bucket = 'd' }]",
            &[false],
        ),
        // A host of examples stands for one that is not known; others are meant.
        (
            &["http = [{ url = 'https://example.com/*', methods = ['GET'] }]"],
            "http = [{ url = 'https://a.test/v1/**' }]",
            &[true],
        ),
        (
            &[
                "http = [{ url = 'https://example.com/*' }]",
                "http = [{ url = 'https://example.com/*', secret = 'name-of-a-secret' }]",
            ],
            "http = [{ url = 'https://a.test/**' }]",
            &[true, false],
        ),
        (
            &["http = [{ url = 'https://api.example.org/v1', secret = 'name' }]"],
            "http = [{ url = 'https://a.test/v1', secret = 'other' }]",
            &[true],
        ),
        (
            &["http = [{ url = 'https://example.com/v1', methods = ['POST'] }]"],
            "http = [{ url = 'https://a.test/v1' }]",
            &[false],
        ),
        (
            &["http = [{ url = 'https://notexample.com/v1' }]"],
            "http = [{ url = 'https://a.test/v1' }]",
            &[false],
        ),
        (
            &[
                "http = [{ url = 'https://a.test/v1' }]",
                "http = [{ url = 'https://b.test/v1' }]",
            ],
            "http = [{ url = 'https://a.test/**' }]",
            &[true, false],
        ),
        // An example's own rule is that one, and stands for no other.
        (
            &[
                "http = [{ url = 'https://example.com/a' }]",
                "http = [{ url = 'https://example.com/b' }]",
            ],
            "http = [{ url = 'https://example.com/a' }]",
            &[true, false],
        ),
        // Values are the administrator's, names are not.
        (
            &["config = [{ key = 'api', value = 'x' }]"],
            "config = [{ key = 'api', value = 'y' }]",
            &[true],
        ),
        (
            &["config = [{ key = 'api', value = 'x' }]"],
            "config = [{ key = 'url', value = 'x' }]",
            &[false],
        ),
        (
            &["env = [{ name = 'TZ', value = 'UTC' }]"],
            "env = [{ name = 'TZ', value = 'CET' }]",
            &[true],
        ),
        (
            &["env = [{ name = 'TZ', value = 'UTC' }]"],
            "env = [{ name = 'LANG', value = 'UTC' }]",
            &[false],
        ),
        (
            &["kv = [{ bucket = 'a' }]"],
            "kv = [{ bucket = 'a', bytes = '2MiB' }]",
            &[true],
        ),
        (
            &["kv = [{ bucket = 'a', access = 'read' }]"],
            "kv = [{ bucket = 'a' }]",
            &[true],
        ),
        (
            &["kv = [{ bucket = 'a' }]"],
            "kv = [{ bucket = 'a', access = 'read' }]",
            &[false],
        ),
        (
            &["kv = [{ bucket = 'a' }]"],
            "kv = [{ bucket = 'a', keys = 5 }]",
            &[false],
        ),
        (
            &["kv = [{ bucket = 'a' }]"],
            "kv = [{ bucket = 'a', scope = 'plugin' }]",
            &[false],
        ),
        (
            &["kv = [{ bucket = 'a' }]"],
            "kv = [{ bucket = 'b' }]",
            &[false],
        ),
        (
            &["tools = [{ tool = 'files/read' }]"],
            "tools = [{ tool = 'files/*' }]",
            &[true],
        ),
        (
            &["tools = [{ tool = 'files/*' }]"],
            "tools = [{ tool = 'files/*' }]",
            &[true],
        ),
        (
            &["tools = [{ tool = 'files/*' }]"],
            "tools = [{ tool = 'files/read' }]",
            &[false],
        ),
        // How people are asked is the administrator's; that nobody is, is asked for.
        (
            &["tools = [{ tool = 'files/write', approval = 'always' }]"],
            "tools = [{ tool = 'files/write', due = '1h' }]",
            &[true],
        ),
        (
            &["tools = [{ tool = 'files/write', approval = 'never' }]"],
            "tools = [{ tool = 'files/write' }]",
            &[false],
        ),
        (
            &["agents = [{ agent = 'react' }]"],
            "agents = [{ agent = 'react' }]",
            &[true],
        ),
        (
            &["agents = [{ agent = 'react' }]"],
            "agents = [{ agent = 'other' }]",
            &[false],
        ),
        (
            &["models = [{ role = 'fast' }]"],
            "models = [{ role = 'fast', day_cost = '20' }]",
            &[true],
        ),
        (
            &["models = [{ role = 'fast' }]"],
            "models = [{ role = 'slow' }]",
            &[false],
        ),
        (
            &["models = [{ role = 'fast', images = true }]"],
            "models = [{ role = 'fast' }]",
            &[false],
        ),
        (
            &["models = [{ role = 'fast', run_tokens = 100 }]"],
            "models = [{ role = 'fast', run_tokens = 99 }]",
            &[false],
        ),
        (
            &["memory = [{ namespace = 'shared/team-a' }]"],
            "memory = [{ namespace = 'shared/team-*', access = 'write' }]",
            &[true],
        ),
        (
            &["memory = [{ namespace = 'shared/*', access = 'write' }]"],
            "memory = [{ namespace = 'shared/team-*', access = 'write' }]",
            &[false],
        ),
        (
            &["memory = [{ namespace = 'run', access = 'write' }]"],
            "memory = [{ namespace = 'run' }]",
            &[false],
        ),
        (
            &["memory = [{ namespace = 'agent', access = 'write' }]"],
            "memory = [{ namespace = 'agent', access = 'write', ttl = '1day' }]",
            &[false],
        ),
        // Less than what is asked for, in one thing alone.
        (
            &["http = [{ url = 'https://a.test/v1', allow_private = true }]"],
            "http = [{ url = 'https://a.test/**' }]",
            &[false],
        ),
        (
            &["http = [{ url = 'https://a.test/v1', allow_private = true }]"],
            "http = [{ url = 'https://a.test/**', allow_private = true }]",
            &[true],
        ),
        (
            &["http = [{ url = 'https://a.test/v1', allow_own = true }]"],
            "http = [{ url = 'https://a.test/**' }]",
            &[false],
        ),
        (
            &["http = [{ url = 'https://a.test/v1', request_bytes = '2KiB' }]"],
            "http = [{ url = 'https://a.test/**', request_bytes = '1KiB' }]",
            &[false],
        ),
        (
            &["http = [{ url = 'https://a.test/v1', response_bytes = '2KiB' }]"],
            "http = [{ url = 'https://a.test/**', response_bytes = '1KiB' }]",
            &[false],
        ),
        (
            &["http = [{ url = 'https://a.test/v1' }]"],
            "http = [{ url = 'https://a.test/**', rate = '5/min' }]",
            &[false],
        ),
        (
            &["http = [{ url = 'https://a.test/v1', rate = '5/min' }]"],
            "http = [{ url = 'https://a.test/**', rate = '5/min' }]",
            &[true],
        ),
        (
            &["memory = [{ namespace = 'agent', documents = 10 }]"],
            "memory = [{ namespace = 'agent', documents = 9 }]",
            &[false],
        ),
        (
            &["memory = [{ namespace = 'agent', bytes = '2KiB' }]"],
            "memory = [{ namespace = 'agent', bytes = '1KiB' }]",
            &[false],
        ),
        (
            &["memory = [{ namespace = 'agent', ttl = '1h' }]"],
            "memory = [{ namespace = 'agent', ttl = '2h' }]",
            &[true],
        ),
        (
            &["memory = [{ namespace = 'agent', ttl = '2h' }]"],
            "memory = [{ namespace = 'agent', ttl = '1h' }]",
            &[false],
        ),
        // Nothing is asked for, and of two rooms both.
        (&[""], "kv = [{ bucket = 'a' }]", &[false]),
        (
            &["kv = [{ bucket = 'a' }]\nagents = [{ agent = 'x' }]"],
            "kv = [{ bucket = 'a' }]",
            &[false],
        ),
    ];

    #[test]
    fn what_a_rule_gives_is_told_by_its_room() {
        for (asked, granted, expect) in TABLE {
            let wanted: Vec<Grants> = asked.iter().map(|asked| grants(asked)).collect();
            assert_eq!(
                grants(granted).give_each(&wanted),
                *expect,
                "{asked:?} of {granted}"
            );
        }
    }

    #[test]
    fn what_is_granted_as_it_was_asked_for_is_given() {
        let mut rooms = 0;
        for (asked, _, _) in TABLE {
            for asked in asked.iter().filter(|asked| !asked.is_empty()) {
                let wanted = grants(asked);
                assert_eq!(
                    wanted.give_each(std::slice::from_ref(&wanted)),
                    [true],
                    "{asked}"
                );
                let none = Grants::default().give_each(std::slice::from_ref(&wanted));
                assert_eq!(none, [false], "{asked}");
                rooms += 1;
            }
        }
        assert!(rooms > 30, "{rooms}");
    }
}
