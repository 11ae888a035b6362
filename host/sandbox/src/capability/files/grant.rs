//! What an administrator may write about files, and which rule covers an
//! operation. Pure: nothing here touches a file system.
//!
//! What must stay true: guest paths are compared by whole components after `.`
//! and `..` are gone, and the longest rule that covers a path alone decides.

use std::fmt::{self, Write as _};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::capability::Given;
use crate::gate::{Allowed, Missing};
use crate::limits::ByteSize;

/// Quota of a read-write rule that states none, bytes.
pub const BYTES_DEFAULT: u64 = 1 << 30;

/// Quota of a read-write rule that states none, files and directories.
pub const FILES_DEFAULT: u64 = 10_000;

/// Longest guest path, bytes.
pub const PATH_BYTES_MAX: usize = 4096;

/// Most components of a guest path.
pub const PATH_DEPTH_MAX: usize = 128;

/// Host directories that are never granted, with all below them: they hold
/// devices and the kernel's own files.
const HOST_REFUSED: [&str; 3] = ["/proc", "/sys", "/dev"];

/// A directory of the host that a plugin sees under a path of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Absolute path of the directory on the host.
    pub host: String,
    /// Absolute path under which the plugin sees it; unique among the rules.
    pub guest: String,
    /// What may be done in it.
    pub access: Access,
    /// The most that the files in the directory may hold after a write through
    /// this rule, whoever put them there. Default 1GiB; with `read` nothing can
    /// grow, so it holds by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<ByteSize>,
    /// The most files and directories it may hold after one is made through
    /// this rule. Default 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
}

/// What a rule allows in its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read, list, stat.
    Read,
    /// These, and write, create, delete, rename.
    ReadWrite,
}

/// What is done to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Read a file.
    Read,
    /// List a directory.
    List,
    /// Read attributes.
    Stat,
    /// Change a file's content, size or times.
    Write,
    /// Make a file or directory.
    Create,
    /// Delete a file or directory.
    Delete,
    /// Move from or to a name.
    Rename,
    /// Make a hard or symbolic link; refused whatever is granted.
    Link,
}

const VERBS: [(&str, Verb); 8] = [
    ("read", Verb::Read),
    ("list", Verb::List),
    ("stat", Verb::Stat),
    ("write", Verb::Write),
    ("create", Verb::Create),
    ("delete", Verb::Delete),
    ("rename", Verb::Rename),
    ("link", Verb::Link),
];

/// An operation on a guest path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// What is done.
    pub verb: Verb,
    /// The absolute guest path, without `.` and `..`.
    pub path: String,
}

impl Rule {
    /// The byte quota in force.
    pub fn bytes_max(&self) -> u64 {
        self.bytes.map_or(BYTES_DEFAULT, |size| size.0)
    }

    /// The quota of files and directories in force.
    pub fn files_max(&self) -> u64 {
        self.files.unwrap_or(FILES_DEFAULT)
    }

    /// Whether the rule lets its directory be changed.
    pub fn writable(&self) -> bool {
        self.access == Access::ReadWrite
    }

    /// How near it comes to a rule that a component asks for. Which directory of the
    /// host that is, and often under which path, is for the administrator to say.
    pub(super) fn gives(&self, wanted: &Self) -> Given {
        let access = self.writable() || !wanted.writable();
        let room = self.bytes_max() >= wanted.bytes_max() && self.files_max() >= wanted.files_max();
        match (
            access && (room || !wanted.writable()),
            self.below(&wanted.guest),
        ) {
            (false, _) => Given::No,
            (true, None) => Given::Elsewhere,
            (true, Some(_)) => Given::All,
        }
    }

    /// The rest of `path` below the rule's guest directory, `.` for itself.
    pub fn below<'p>(&self, path: &'p str) -> Option<&'p str> {
        let rest = match self.guest.as_str() {
            "/" => path.strip_prefix('/')?,
            guest => match path.strip_prefix(guest)? {
                "" => "",
                rest => rest.strip_prefix('/')?,
            },
        };
        Some(if rest.is_empty() { "." } else { rest })
    }

    /// Refuses a rule that parses and makes no sense.
    ///
    /// # Errors
    /// The complaint, for the administrator.
    pub fn validate(&self) -> Result<(), String> {
        let Self { host, guest, .. } = self;
        if host.contains('\0') || !host.starts_with('/') {
            return Err(format!("`host` must be an absolute path, not `{host}`"));
        }
        if host.split('/').any(|part| part == "..") {
            return Err(format!("`host` must not contain `..`: `{host}`"));
        }
        let plain = join("/", host);
        let refused = |dir: &&str| plain == **dir || plain.starts_with(&format!("{dir}/"));
        if plain == "/" || HOST_REFUSED.iter().any(refused) {
            return Err(format!(
                "`{host}` can't be granted: name one directory of data"
            ));
        }
        if guest.contains('\0') || !guest.starts_with('/') || join("/", guest) != *guest {
            return Err(format!(
                "`guest` must be an absolute path without `.`, `..`, `//` or a final `/`, not `{guest}`"
            ));
        }
        Ok(())
    }
}

impl Verb {
    /// Whether it changes something.
    pub fn writes(self) -> bool {
        !matches!(self, Self::Read | Self::List | Self::Stat)
    }

    fn name(self) -> &'static str {
        let named = VERBS.iter().find(|(_, verb)| *verb == self);
        named.map_or("use", |(name, _)| name)
    }
}

impl Op {
    /// `verb` on the absolute guest path that `path` leads to from `base`.
    pub fn new(verb: Verb, base: &str, path: &str) -> Self {
        Self {
            verb,
            path: join(base, path),
        }
    }

    /// Reads e.g. `read /invoices/a.csv`.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let expected = || {
            let verbs = VERBS.map(|(name, _)| name).join(", ");
            format!("expected `<verb> <absolute path>`, the verb one of {verbs}")
        };
        let (verb, path) = words.split_first().ok_or_else(expected)?;
        let (_, verb) = VERBS
            .iter()
            .find(|(name, _)| name == verb)
            .ok_or_else(expected)?;
        if *verb == Verb::Rename && path.iter().skip(1).any(|word| word.starts_with('/')) {
            return Err("a rename asks for each of its two names: explain \
                        `rename <old path>` and `rename <new path>`"
                .to_owned());
        }
        let path = path.join(" ");
        if !path.starts_with('/') {
            return Err(expected());
        }
        Ok(Self::new(*verb, "/", &path))
    }

    /// Which of `rules` allows it.
    ///
    /// # Errors
    /// The rule that is missing.
    pub fn decide(&self, rules: &[Rule]) -> Result<Allowed, Missing> {
        let covering = rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| rule.below(&self.path).is_some())
            .max_by_key(|(_, rule)| rule.guest.len());
        let Some((index, rule)) = covering else {
            return Err(Missing::new(format!(
                "no rule covers this path; needed: a rule with `guest` at or above it and access = \"{}\"",
                if self.verb.writes() {
                    "read-write"
                } else {
                    "read"
                }
            )));
        };
        if self.verb == Verb::Link {
            return Err(Missing::new(LINKS_REFUSED));
        }
        if self.verb.writes() && !rule.writable() {
            return Err(Missing::new(format!(
                "rule {index} grants `{}` with access = \"read\"; needed: access = \"read-write\"",
                rule.guest
            )));
        }
        Ok(Allowed::Rule(index))
    }
}

/// Why no link is ever made.
pub const LINKS_REFUSED: &str = "links can't be made: they could lead other programs astray";

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.verb.name())?;
        for c in self.path.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// The absolute guest path that `path` leads to from the directory `base`,
/// without `.`, `..` and empty components; `..` stops at the root.
pub fn join(base: &str, path: &str) -> String {
    let base = if path.starts_with('/') { "" } else { base };
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// How many components an absolute guest path has.
pub fn depth(path: &str) -> usize {
    path.split('/').filter(|part| !part.is_empty()).count()
}
