//! Whether grants and limits make sense for a component.

use airlock_sandbox::{Grants, Limits};

use crate::engine::Manifest;
use crate::grants::{Descriptions, GrantError};
use crate::nearest;
use crate::plugins::Active;
use crate::remote::is_server;

/// Most rules of one capability.
const RULES_MAX: usize = 1_000;
/// Size of a plugin's grants as JSON, bytes.
const GRANTS_BYTES_MAX: usize = 1 << 20;
/// Longest description of a tool, bytes.
const DESCRIPTION_BYTES_MAX: usize = 4 << 10;

/// Refuses rules that make no sense and classes of tools that don't exist.
pub(crate) fn check(grants: &Grants, manifest: &Manifest) -> Result<(), GrantError> {
    let invalid = |text: String| GrantError::Invalid(text);
    grants
        .validate()
        .map_err(|error| invalid(error.to_string()))?;
    let json = serde_json::to_value(grants).map_err(|error| invalid(error.to_string()))?;
    for (name, rules) in json.as_object().into_iter().flatten() {
        let count = rules.as_array().map_or(0, Vec::len);
        if count > RULES_MAX {
            return Err(invalid(format!(
                "`{name}` has {count} rules, at most {RULES_MAX} are taken"
            )));
        }
    }
    if json.to_string().len() > GRANTS_BYTES_MAX {
        return Err(invalid(format!(
            "the grants are over {GRANTS_BYTES_MAX} bytes"
        )));
    }
    let ruled = json.as_object().into_iter().flatten();
    let mut ruled =
        ruled.filter(|(_, rules)| rules.as_array().is_some_and(|rules| !rules.is_empty()));
    if let Some((name, _)) = ruled.next().filter(|_| is_server(manifest)) {
        return Err(invalid(format!(
            "`{name}`: an MCP server is not sandboxed, so that a rule would hold nothing back; `effects`, limits and descriptions can be set"
        )));
    }
    let tools: Vec<&str> = manifest
        .tools
        .iter()
        .map(|tool| tool.name.as_str())
        .collect();
    for tool in grants.effects.keys() {
        if !tools.contains(&tool.as_str()) {
            let hint = nearest::hint(tool, &tools);
            return Err(invalid(format!(
                "`effects` names `{tool}`, which is no tool of the plugin{hint}"
            )));
        }
    }
    Ok(())
}

/// Refuses descriptions of tools that don't exist, and those no caller should be
/// shown.
pub(crate) fn check_descriptions(
    descriptions: &Descriptions,
    manifest: &Manifest,
) -> Result<(), GrantError> {
    let tools: Vec<&str> = manifest
        .tools
        .iter()
        .map(|tool| tool.name.as_str())
        .collect();
    for (tool, text) in descriptions {
        let complaint = if !tools.contains(&tool.as_str()) {
            format!(
                "is for no tool of the plugin{}",
                nearest::hint(tool, &tools)
            )
        } else if !(1..=DESCRIPTION_BYTES_MAX).contains(&text.len()) {
            let bytes = text.len();
            format!("has {bytes} bytes, 1 to {DESCRIPTION_BYTES_MAX} are taken")
        } else if text
            .chars()
            .any(|c| airlock_text::is_hidden(c) && !matches!(c, '\n' | '\t'))
        {
            "holds characters that are not seen".to_owned()
        } else {
            continue;
        };
        return Err(GrantError::Invalid(format!(
            "the description of `{tool}` {complaint}"
        )));
    }
    Ok(())
}

/// Refuses limits out of range, and those that contradict each other.
pub(crate) fn check_limits(limits: &Limits) -> Result<(), GrantError> {
    limits.validate().map_err(GrantError::Invalid)?;
    if limits.host_memory < limits.input {
        let (host, input) = (limits.host_memory, limits.input);
        let text = format!("limit `host_memory` ({host}) is below `input` ({input})");
        return Err(GrantError::Invalid(text));
    }
    Ok(())
}

/// Refuses a change that was made from another state than the one in force.
pub(crate) fn expect(
    active: &Active,
    version: Option<u64>,
    digest: Option<&str>,
) -> Result<(), GrantError> {
    let found = active.grants.version;
    if let Some(expected) = version.filter(|expected| *expected != found) {
        return Err(GrantError::VersionChanged { expected, found });
    }
    let found = &active.manifest.digest;
    match digest.filter(|digest| digest != found) {
        Some(expected) => Err(GrantError::DigestChanged {
            expected: expected.to_owned(),
            found: found.clone(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use airlock_sandbox::limits::ByteSize;

    #[test]
    fn rules_are_bounded_in_number_and_bytes() {
        let manifest = serde_json::json!({
            "digest": "", "kind": "tool-world", "contract": null, "tools": [], "wants": [],
            "imports": [], "capabilities": [], "component_bytes": 0, "compiled_bytes": 0,
        });
        let manifest: Manifest = serde_json::from_value(manifest).expect("a manifest");
        let grants = |count: usize, value: usize, last: usize| -> Grants {
            let bytes = |n: usize| if n + 1 == count { last } else { value };
            let rule =
                |n| serde_json::json!({ "key": format!("{n}"), "value": "x".repeat(bytes(n)) });
            let rules: Vec<_> = (0..count).map(rule).collect();
            serde_json::from_value(serde_json::json!({ "config": rules })).expect("grants")
        };
        let bytes = |grants: &Grants| serde_json::to_string(grants).expect("JSON").len();
        let rest = GRANTS_BYTES_MAX - bytes(&grants(17, 65_000, 0));
        let table = [
            (grants(1, 1, 1), None),
            (grants(RULES_MAX, 1, 1), None),
            (grants(RULES_MAX + 1, 1, 1), Some("`config` has 1001 rules")),
            (grants(RULES_MAX + 2, 1, 1), Some("`config` has 1002 rules")),
            (grants(17, 65_000, rest), None),
            (grants(17, 65_000, rest + 1), Some("over 1048576 bytes")),
            (grants(17, 65_000, rest + 2), Some("over 1048576 bytes")),
        ];
        for (grants, complaint) in table {
            let found = check(&grants, &manifest).err();
            let found = found.map(|error| error.to_string());
            let bytes = bytes(&grants);
            assert_eq!(found.is_some(), complaint.is_some(), "{bytes}: {found:?}");
            let told = found.unwrap_or_default();
            assert!(told.contains(complaint.unwrap_or_default()), "{told}");
        }
    }

    #[test]
    fn limits_are_taken_or_refused() {
        let small = ByteSize(1 << 20);
        let table = [
            (Limits::default(), None),
            (
                Limits {
                    queue: 0,
                    ..Limits::default()
                },
                None,
            ),
            (
                Limits {
                    host_memory: small,
                    input: small,
                    ..Limits::default()
                },
                None,
            ),
            (
                Limits {
                    concurrency: 0,
                    ..Limits::default()
                },
                Some("concurrency"),
            ),
            (
                Limits {
                    memory: ByteSize(0),
                    ..Limits::default()
                },
                Some("memory"),
            ),
            (
                Limits {
                    host_memory: small,
                    input: ByteSize(2 << 20),
                    ..Limits::default()
                },
                Some("`host_memory` (1MiB) is below `input` (2MiB)"),
            ),
        ];
        for (limits, complaint) in table {
            let found = check_limits(&limits).err().map(|error| error.to_string());
            assert_eq!(found.is_some(), complaint.is_some(), "{found:?}");
            assert!(
                found
                    .unwrap_or_default()
                    .contains(complaint.unwrap_or_default())
            );
        }
    }
}
