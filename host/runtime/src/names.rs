//! Names that come from outside, checked once where they enter.

use thiserror::Error;

/// Longest plugin, tool, principal and secret name, bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest idempotency key, bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Longest reason given for an administrative act, bytes.
pub const WHY_BYTES_MAX: usize = 1_024;

/// A name that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} {problem}")]
pub struct BadName {
    /// What it should name.
    pub what: &'static str,
    /// What is wrong with it, and what is right.
    pub problem: String,
}

/// A plugin's name: 1 to 64 of `a-z`, `0-9`, `-`, `_`, beginning with a letter.
/// It is part of paths, keys and URLs, so nothing else is taken.
///
/// # Errors
/// What is wrong with it.
pub fn plugin_name(name: &str) -> Result<(), BadName> {
    lower_name("a plugin's name", name)
}

/// A secret's name, by the rule of [`plugin_name`].
///
/// # Errors
/// What is wrong with it.
pub fn secret_name(name: &str) -> Result<(), BadName> {
    lower_name("a secret's name", name)
}

/// A schedule's name, by the rule of [`plugin_name`].
///
/// # Errors
/// What is wrong with it.
pub fn schedule_name(name: &str) -> Result<(), BadName> {
    lower_name("a schedule's name", name)
}

/// A webhook's name, by the rule of [`plugin_name`].
///
/// # Errors
/// What is wrong with it.
pub fn hook_name(name: &str) -> Result<(), BadName> {
    lower_name("a webhook's name", name)
}

fn lower_name(what: &'static str, name: &str) -> Result<(), BadName> {
    let starts = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    let fits = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if starts && fits && name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(BadName {
        what,
        problem: format!(
            "has 1 to {NAME_BYTES_MAX} characters of a-z, 0-9, `-` and `_`, and begins with a letter"
        ),
    })
}

/// A principal's name: 1 to 64 of letters, digits and `-_.@`.
///
/// # Errors
/// What is wrong with it.
pub fn principal_name(name: &str) -> Result<(), BadName> {
    let fits = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b));
    if fits && (1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(());
    }
    Err(BadName {
        what: "a principal's name",
        problem: format!(
            "has 1 to {NAME_BYTES_MAX} characters of a-z, A-Z, 0-9, `-`, `_`, `.` and `@`"
        ),
    })
}

/// An idempotency key: 1 to 255 printable ASCII characters without spaces.
///
/// # Errors
/// What is wrong with it.
pub fn idempotency_key(key: &str) -> Result<(), BadName> {
    let fits = key.bytes().all(|b| b.is_ascii_graphic());
    if fits && (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) {
        return Ok(());
    }
    Err(BadName {
        what: "an idempotency key",
        problem: format!(
            "has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters without spaces"
        ),
    })
}

/// A reason for the audit: at most 1,024 bytes, no control characters.
///
/// # Errors
/// What is wrong with it.
pub fn why(text: &str) -> Result<(), BadName> {
    if text.len() <= WHY_BYTES_MAX && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(BadName {
        what: "a reason (`why`)",
        problem: format!("has at most {WHY_BYTES_MAX} bytes and no control characters"),
    })
}

/// `sha256:` and 64 lower-case hexadecimal digits.
///
/// # Errors
/// What is wrong with it.
pub fn digest(text: &str) -> Result<(), BadName> {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    if hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(());
    }
    Err(BadName {
        what: "a digest",
        problem: "is `sha256:` and 64 hexadecimal digits, lower case".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_or_refused() {
        let long = "a".repeat(65);
        let table: [(&str, &str, bool); 18] = [
            ("plugin", "invoices", true),
            ("plugin", "a-1_b", true),
            ("plugin", "", false),
            ("plugin", "1a", false),
            ("plugin", "A", false),
            ("plugin", "a/b", false),
            ("plugin", "..", false),
            ("plugin", "a\0", false),
            ("plugin", "ä", false),
            ("plugin", &long, false),
            ("principal", "billing@example.com", true),
            ("principal", "local:root", false),
            ("key", "9f-Z!~", true),
            ("key", "a b", false),
            ("key", "", false),
            ("why", "line\nbreak", false),
            ("why", "because of #12", true),
            ("digest", "sha256:00", false),
        ];
        for (kind, name, fits) in table {
            let result = match kind {
                "plugin" => plugin_name(name).and_then(|()| secret_name(name)),
                "principal" => principal_name(name),
                "key" => idempotency_key(name),
                "why" => why(name),
                _ => digest(name),
            };
            assert_eq!(result.is_ok(), fits, "{kind} {name:?}: {result:?}");
        }
        assert!(digest(&format!("sha256:{}", "0f".repeat(32))).is_ok());
    }
}
