//! What the API says of its members, in the words of the command line: who typed
//! `--older-than` reads nothing of `older_than_s`.

/// Words of the API, and what a command calls the same.
const WORDS: [(&str, &str); 11] = [
    ("say `downgrade`", "say `--downgrade`"),
    ("say `last`", "say `--last`"),
    ("change it with PUT", "change it with `--replace`"),
    ("older_than_s: at least 60", "--older-than: at least `1m`"),
    ("keep_s: at most 604800, a week", "--keep: at most `7d`"),
    ("rate_per_min:", "--rate:"),
    ("`\"catch_up\": \"all\"`", "`--catch-up all`"),
    ("catch_up_max:", "--catch-up-max:"),
    ("signal: `run_at` is", "--signal-at is"),
    ("secret: ", "--secret-file: "),
    ("overlap: it is", "--overlap: it is"),
];

/// Codes of calls, whose words are a plugin's.
const OF_CALLS: [&str; 10] = [
    "invalid-input",
    "denied",
    "not-found",
    "transient",
    "permanent",
    "escalate",
    "limit",
    "cancelled",
    "unknown",
    "no-code",
];

/// The detail of a problem as whoever typed a command reads it.
pub fn in_flags(code: &str, detail: &str) -> String {
    let detail = detail.to_owned();
    if OF_CALLS.contains(&code) {
        return detail;
    }
    let detail = match detail.strip_prefix("the body: limits.") {
        Some(limit) => format!("--limit {limit}"),
        None => detail,
    };
    let words = WORDS.iter();
    words.fold(detail, |detail, (api, typed)| detail.replace(api, typed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_plugin_stay_as_they_are() {
        let told = "older_than_s: at least 60";
        assert_eq!(
            in_flags("invalid-request", told),
            "--older-than: at least `1m`"
        );
        assert_eq!(in_flags("permanent", told), told);
        let told = "the body: limits.cpu: `5` has no unit";
        assert_eq!(
            in_flags("invalid-request", told),
            "--limit cpu: `5` has no unit"
        );
        assert_eq!(in_flags("permanent", told), told);
    }
}
