//! The texts that a model gets, of one version.

airlock_patterns::prompts! {
    SYSTEM = "system",
    GOAL = "goal",
    INSTRUCTIONS = "instructions",
    CRITERIA = "criteria",
    CONTEXT = "context",
    TOOLS = "tools",
    DONE = "done",
    JUDGED = "judged",
    LEFT = "left",
    AGAIN = "again",
}
