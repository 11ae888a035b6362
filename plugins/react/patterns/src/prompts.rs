//! The texts that a model gets.

/// Texts in the folder `prompts/v1` beside the caller's `src`: a constant for each,
/// the version for the log, and for tests all of them by name.
#[macro_export]
macro_rules! prompts {
    ($($name:ident = $file:literal),* $(,)?) => {
        /// The folder they are from, for the log.
        pub(crate) const VERSION: &str = "v1";

        $(pub(crate) const $name: &str = include_str!(concat!("../prompts/v1/", $file, ".md"));)*

        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str)] = &[$(($file, $name)),*];
    };
}
