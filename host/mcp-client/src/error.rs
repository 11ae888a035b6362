//! Why a server gave no result.

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It was not written, or was turned away before it was worked on: nothing of it
    /// happened.
    #[error("{0}")]
    NotSent(String),
    /// It was written, or a part of it, and no answer came: it may have happened.
    #[error("{0}")]
    Lost(String),
    /// It was answered, against the protocol or beyond a bound.
    #[error("{0}")]
    Broken(String),
    /// The server says no to it: by JSON-RPC, or by a status of HTTP that tells that
    /// it was not worked on and would not be another time.
    #[error("the server refused it ({code}): {message}")]
    Refused {
        /// JSON-RPC's, or HTTP's.
        code: i64,
        /// The server's words, one line, escaped and bounded.
        message: String,
    },
}

impl Fault {
    /// The same, for a request that came before: it is what kept the one that is
    /// asked for from being written.
    #[must_use]
    pub fn before(self) -> Self {
        Self::NotSent(self.to_string())
    }

    /// The same with other words.
    pub(crate) fn told(self, words: impl Fn(String) -> String) -> Self {
        match self {
            Self::NotSent(why) => Self::NotSent(words(why)),
            Self::Lost(why) => Self::Lost(words(why)),
            Self::Broken(why) => Self::Broken(words(why)),
            Self::Refused { code, message } => Self::Refused {
                code,
                message: words(message),
            },
        }
    }
}
