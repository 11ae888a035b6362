//! Reading a policy, and why one is refused: with the line and, for a wrong key,
//! the nearest right one.

use serde_json::{Map, Value, json};

use crate::grants::GrantError;
use crate::names::{self, BadName};
use crate::nearest;
use crate::plugins::PluginError;
use crate::policy::Policy;
use crate::problem::Failure;

/// Largest policy text, bytes.
pub const POLICY_BYTES_MAX: usize = 4 << 20;

/// Why a policy could not be read, compared or applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The text is not a policy.
    #[error("line {line}, column {column}: {message}")]
    Parse {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// The text is too long.
    #[error("the policy has {0} bytes, at most {POLICY_BYTES_MAX} are taken")]
    TooLarge(usize),
    /// A name or a digest of the policy is not one.
    #[error("plugin `{plugin}`: {source}")]
    Name {
        /// The plugin's name as it stands there.
        plugin: String,
        /// What is wrong.
        source: BadName,
    },
    /// A plugin's component is not installed.
    #[error("`{plugin}`: the component {digest} is not installed; install it first")]
    NotInstalled {
        /// The plugin.
        plugin: String,
        /// The digest, or `any`.
        digest: String,
    },
    /// A plugin of the policy could not be read or changed. Plugins before it, in
    /// order of their names, were changed; it and those after it were not.
    #[error("`{plugin}`")]
    Plugin {
        /// The plugin.
        plugin: String,
        /// Why.
        #[source]
        source: GrantError,
        /// Plugins that were changed before it.
        applied: Vec<String>,
    },
}

impl Failure for PolicyError {
    fn code(&self) -> &'static str {
        match self {
            Self::Parse { .. } => "invalid-policy",
            Self::TooLarge(_) => "policy-too-large",
            Self::Name { .. } => "bad-name",
            Self::NotInstalled { .. } => "component-not-installed",
            Self::Plugin { source, .. } => source.code(),
        }
    }
    fn status(&self) -> u16 {
        match self {
            Self::Parse { .. } | Self::Name { .. } => 400,
            Self::TooLarge(_) => 413,
            Self::NotInstalled { .. } => 409,
            Self::Plugin { source, .. } => source.status(),
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Plugin { plugin, source, .. } => format!("`{plugin}`: {}", source.detail()),
            other => other.to_string(),
        }
    }
    fn members(&self) -> Map<String, Value> {
        match self {
            Self::Parse { line, column, .. } => Map::from_iter([
                ("line".to_owned(), json!(line)),
                ("column".to_owned(), json!(column)),
            ]),
            Self::Plugin {
                plugin, applied, ..
            } => Map::from_iter([
                ("plugin".to_owned(), json!(plugin)),
                ("applied".to_owned(), json!(applied)),
            ]),
            _ => Map::new(),
        }
    }
}

impl PolicyError {
    pub(crate) fn plugin(plugin: &str, source: impl Into<GrantError>) -> Self {
        Self::Plugin {
            plugin: plugin.to_owned(),
            source: source.into(),
            applied: Vec::new(),
        }
    }

    pub(crate) fn outside(plugin: &str) -> Self {
        Self::plugin(plugin, PluginError::OutsideScope(plugin.to_owned()))
    }
}

impl Policy {
    /// Reads a policy file's text.
    ///
    /// # Errors
    /// [`PolicyError::Parse`] with the line; a name or digest that is none.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.len() > POLICY_BYTES_MAX {
            return Err(PolicyError::TooLarge(text.len()));
        }
        let policy: Self = toml::from_str(text).map_err(|error| parse_error(text, &error))?;
        policy.check()?;
        Ok(policy)
    }

    /// Checks what the types cannot: names and digests.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn check(&self) -> Result<(), PolicyError> {
        for (plugin, entry) in &self.plugins {
            let named = |source| PolicyError::Name {
                plugin: plugin.clone(),
                source,
            };
            names::plugin_name(plugin).map_err(named)?;
            if let Some(digest) = &entry.digest {
                names::digest(digest).map_err(named)?;
            }
        }
        Ok(())
    }
}

fn parse_error(text: &str, error: &toml::de::Error) -> PolicyError {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let before = &text.as_bytes()[..at];
    let line_start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |n| n + 1);
    PolicyError::Parse {
        line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
        column: String::from_utf8_lossy(&before[line_start..])
            .chars()
            .count()
            + 1,
        message: nearest::with_hint(error.message()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(text: &str, expect: Expect) {
        let found = match Policy::parse(text) {
            Ok(policy) => format!("{} plugins", policy.plugins.len()),
            Err(error) => error.detail(),
        };
        expect.assert_eq(&found);
    }

    #[test]
    fn a_policy_is_read_strictly() {
        check("", expect!["0 plugins"]);
        check(
            "[plugins.invoices]\nsource = \"x.wasm\"\n[plugins.invoices.limits]\nrate = \"100/min\"\n",
            expect!["1 plugins"],
        );
        check(
            "[plugins.invoices]\nsorce = \"x.wasm\"\n",
            expect![
                "line 2, column 1: unknown field `sorce`, expected one of `source`, `digest`, `grants`, `limits`, `descriptions` (did you mean `source`?)"
            ],
        );
        check(
            "[plugins.invoices.grants]\n\nfils = []\n",
            expect![
                "line 3, column 1: unknown field `fils`, expected one of `files`, `http`, `secrets`, `kv`, `env`, `config`, `clocks`, `random`, `log`, `tools`, `agents`, `models`, `memory`, `effects` (did you mean `files`?)"
            ],
        );
        check(
            "[plugins.invoices.limits]\ncpus = \"1s\"\n",
            expect![
                "line 2, column 1: unknown field `cpus`, expected one of `memory`, `cpu`, `wall`, `input`, `output`, `log`, `random`, `host_memory`, `handles`, `table_elements`, `instances`, `concurrency`, `queue`, `rate` (did you mean `cpu`?)"
            ],
        );
        check(
            "[plugins.invoices.limits]\ncpu = \"fast\"\n",
            expect![
                "line 2, column 7: `fast` is not a duration (expected number at 0); write e.g. `500ms`, `10s`, `2m`"
            ],
        );
        check(
            "[plugins.invoices.grants]\neffects = { a = \"read-onyl\" }\n",
            expect![
                "line 2, column 17: unknown variant `read-onyl`, expected one of `read-only`, `idempotent`, `destructive`, `plain` (did you mean `read-only`?)"
            ],
        );
        check(
            "[plugins.invoices.limits]\ninstances = 201\n",
            expect!["line 2, column 13: limit `instances` is 201; it must be 1 to 200"],
        );
        check(
            "[plugins.invoices.descriptions]\nread = 1\n",
            expect!["line 2, column 8: invalid type: integer `1`, expected a string"],
        );
        check(
            "[plugins.Invoices]\n",
            expect![
                "plugin `Invoices`: a plugin's name has 1 to 64 characters of a-z, 0-9, `-` and `_`, and begins with a letter"
            ],
        );
        check(
            "[plugins.invoices]\ndigest = \"sha256:0\"\n",
            expect![
                "plugin `invoices`: a digest is `sha256:` and 64 hexadecimal digits, lower case"
            ],
        );
        check(
            "[plugin.invoices]\n",
            expect![
                "line 1, column 2: unknown field `plugin`, expected `plugins` (did you mean `plugins`?)"
            ],
        );
        check(
            "[plugins.invoices\n",
            expect!["line 1, column 18: unclosed table, expected `]`"],
        );
    }

    /// serde takes an array for a struct, by position; a policy and a body of the
    /// API don't.
    #[test]
    fn arrays_are_no_objects() {
        use crate::grants::GrantsUpdate;
        use crate::problem::from_json;
        for text in [
            "[]",
            "[{}]",
            r#"{"grants":[]}"#,
            r#"{"limits":[]}"#,
            r#"{"grants":{"kv":[["seen"]]}}"#,
            r#"{"grants":{"env":[["TZ","UTC"]]}}"#,
        ] {
            let bad = from_json::<GrantsUpdate>(text.as_bytes()).expect_err(text);
            assert!(
                bad.message.contains("expected an object"),
                "{text}: {}",
                bad.message
            );
        }
        assert!(from_json::<GrantsUpdate>(b"{}").is_ok());
        for text in [
            "[plugins.a]\ngrants = []",
            "[plugins.a]\nlimits = []",
            "[plugins]\na = []",
            "[plugins.a.grants]\nenv = [[\"TZ\", \"UTC\"]]",
        ] {
            assert!(Policy::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_policy_has_a_largest_size() {
        for (bytes, taken) in [
            (POLICY_BYTES_MAX, true),
            (POLICY_BYTES_MAX + 1, false),
            (POLICY_BYTES_MAX + 2, false),
        ] {
            let parsed = Policy::parse(&format!("#{}", "x".repeat(bytes - 1)));
            assert_eq!(parsed.is_ok(), taken, "{bytes}: {parsed:?}");
        }
    }

    const WHOLE: &str = r#"
[plugins.invoices]
source = "plugins/invoices.wasm"
digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

[plugins.invoices.grants]
files = [{ host = "/srv/invoices", guest = "/invoices", access = "read", bytes = "1GiB" }]
http = [{ url = "https://api.example.com/v1/*", methods = ["GET"], secret = "key" }]
effects = { submit = "plain" }

[plugins.invoices.limits]
memory = "64MiB"
wall = "10s"
rate = "100/min"
"#;

    #[test]
    fn the_whole_is_a_policy() {
        check(WHOLE, expect!["1 plugins"]);
    }

    proptest::proptest! {
        #![proptest_config(airlock_fuzz::cases(500))]

        /// What was a policy but for some characters, or some of its values: it is
        /// read, and then the same after it was written, or it is refused with a
        /// place inside the text.
        #[test]
        fn fuzz_damaged_policies(text in airlock_fuzz::text_damage(), tree in airlock_fuzz::json_damage()) {
            let damaged = text.to(WHOLE);
            match Policy::parse(&damaged) {
                Ok(policy) => {
                    let written = toml::to_string(&policy).expect("TOML");
                    proptest::prop_assert_eq!(Policy::parse(&written).expect("as written"), policy);
                }
                Err(PolicyError::Parse { line, message, .. }) => {
                    proptest::prop_assert!(line <= damaged.lines().count() + 1);
                    proptest::prop_assert!(!message.is_empty());
                }
                Err(error) => proptest::prop_assert!(!error.detail().is_empty()),
            }
            let whole: toml::Value = toml::from_str(WHOLE).expect("TOML");
            let value = serde_json::to_value(&whole).expect("JSON");
            if let Ok(policy) = serde_json::from_value::<Policy>(tree.to(&value)) {
                let _ = policy.check();
            }
        }
    }
}
