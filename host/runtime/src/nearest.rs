//! "Did you mean": the nearest of the names that would have been right.

/// ` (did you mean …?)`, or nothing when no name is near.
pub(crate) fn hint(wrong: &str, right: &[&str]) -> String {
    let near = |name: &&&str| {
        let changed = strsim::damerau_levenshtein(wrong, name);
        // One with nothing in common is no misspelling, however short.
        changed <= 1 + name.len() / 3 && changed < name.len()
    };
    let nearest = right
        .iter()
        .filter(near)
        .min_by_key(|name| strsim::damerau_levenshtein(wrong, name));
    nearest.map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"))
}

/// Adds a hint to serde's message about an unknown field, which lists the
/// fields there are.
pub(crate) fn with_hint(message: &str) -> String {
    let mut names = message.split('`').skip(1).step_by(2);
    let Some(wrong) = message.contains("unknown").then(|| names.next()).flatten() else {
        return message.to_owned();
    };
    let right: Vec<&str> = names.collect();
    format!("{message}{}", hint(wrong, &right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_the_nearest_and_only_when_it_is_near() {
        let table = [
            (
                "unknown field `fils`, expected one of `files`, `http`",
                " (did you mean `files`?)",
            ),
            (
                "unknown field `zzzzzz`, expected one of `files`, `http`",
                "",
            ),
            (
                "unknown variant `read-onyl`, expected `plain` or `read-only`",
                " (did you mean `read-only`?)",
            ),
            ("unknown field `x`, expected one of `a`, `b`", ""),
            ("invalid type: map", ""),
        ];
        for (message, expect) in table {
            assert_eq!(with_hint(message), format!("{message}{expect}"));
        }
    }
}
