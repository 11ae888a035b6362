//! The texts that a model gets, of one version.

/// The folder they are from, for the log.
pub(crate) const VERSION: &str = "v1";

macro_rules! prompts {
    ($($name:ident = $file:literal),* $(,)?) => {
        $(pub(crate) const $name: &str = include_str!(concat!("../prompts/v1/", $file, ".md"));)*

        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str)] = &[$(($file, $name)),*];
    };
}

prompts! {
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
