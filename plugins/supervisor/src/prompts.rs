//! The texts that a model gets, of one version.

airlock_patterns::prompts! {
    SYSTEM = "system",
    GOAL = "goal",
    INSTRUCTIONS = "instructions",
    CONTEXT = "context",
    SPECIALISTS = "specialists",
    DONE = "done",
    LEFT = "left",
    AGAIN = "again",
    LOOKED = "looked",
    LOOK_AGAIN = "look_again",
    DECIDED = "decided",
    QUESTION = "question",
}
