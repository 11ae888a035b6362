//! The texts that a model gets, of one version.

airlock_patterns::prompts! {
    SYSTEM = "system",
    GOAL = "goal",
    INSTRUCTIONS = "instructions",
    CONTEXT = "context",
    FINISH = "finish",
    ASK_PERSON = "ask_person",
    GIVE_UP = "give_up",
    RESULT = "result",
    FAILED = "failed",
    ERRORS = "errors",
    FAULT = "fault",
    UNKNOWN_TOOL = "unknown_tool",
    ALONE = "alone",
    TOO_MANY = "too_many",
    CUT = "cut",
    NO_CALL = "no_call",
    NO_PROGRESS = "no_progress",
    ANSWERED = "answered",
    NOTE = "note",
    NOBODY = "nobody",
    SUMMARISE = "summarise",
    RESUMED = "resumed",
}

/// What to do about an error, by its code.
pub(crate) fn advice(code: &str) -> &'static str {
    let lines = ERRORS.lines().filter_map(|line| line.split_once(": "));
    let mut found = lines.filter(|(name, _)| *name == code);
    found.next().map_or("Go another way.", |(_, advice)| advice)
}
