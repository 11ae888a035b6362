//! How a call fails. Each kind tells the caller what to do next, so that nobody
//! has to read the text to decide; the kinds are those of `airlock:tool/types`.

use std::time::Duration;
use std::{fmt, io};

use crate::backend;

/// A use of a capability that no grant allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The capability, e.g. `files`.
    pub capability: String,
    /// The operation that was tried, e.g. `read /etc/passwd`.
    pub operation: String,
    /// The rule that was missing, in words an administrator can act on.
    pub rule: String,
}

/// How a call fails.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The input is wrong: the caller's fault. Not retried.
    InvalidInput(String),
    /// A grant is missing.
    Denied(Denial),
    /// What the input names does not exist.
    NotFound(String),
    /// It may pass: retried where the effect class allows it.
    Transient {
        /// What failed.
        message: String,
        /// How long to wait before the next attempt, where known.
        retry_after: Option<Duration>,
    },
    /// It will not work, however often it is tried.
    Permanent(String),
    /// A person must look at this.
    Escalate(String),
    /// A limit was reached.
    Limit {
        /// The limit's name, e.g. `memory`.
        limit: String,
        /// Its value with its unit, e.g. `64MiB`.
        value: String,
    },
    /// The call was cancelled.
    Cancelled,
    /// It may or may not have happened.
    Unknown(String),
}

impl Error {
    /// The input is wrong. Name the field: `"limit: must be at least 1"`.
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self::InvalidInput(message.into())
    }

    /// A grant is missing: the `capability`, the `operation` that was tried, and
    /// the `rule` that would allow it.
    pub fn denied(
        capability: impl Into<String>,
        operation: impl Into<String>,
        rule: impl Into<String>,
    ) -> Self {
        Self::Denied(Denial {
            capability: capability.into(),
            operation: operation.into(),
            rule: rule.into(),
        })
    }

    /// What the input names does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::NotFound(message.into())
    }

    /// It may pass, after `retry_after` where that is known.
    pub fn transient(message: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self::Transient {
            message: message.into(),
            retry_after,
        }
    }

    /// It will not work, however often it is tried.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::Permanent(message.into())
    }

    /// A person must look at this.
    pub fn escalate(message: impl Into<String>) -> Self {
        Self::Escalate(message.into())
    }

    /// A limit was reached: its name and its value with the unit.
    pub fn limit(limit: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Limit {
            limit: limit.into(),
            value: value.into(),
        }
    }

    /// It may or may not have happened.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::Unknown(message.into())
    }

    /// The kind's stable code, as in the HTTP API.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidInput(_) => "invalid-input",
            Self::Denied(_) => "denied",
            Self::NotFound(_) => "not-found",
            Self::Transient { .. } => "transient",
            Self::Permanent(_) => "permanent",
            Self::Escalate(_) => "escalate",
            Self::Limit { .. } => "limit",
            Self::Cancelled => "cancelled",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Puts the step that failed in front of the message.
    #[must_use]
    pub fn context(mut self, step: impl fmt::Display) -> Self {
        match &mut self {
            Self::InvalidInput(message)
            | Self::NotFound(message)
            | Self::Transient { message, .. }
            | Self::Permanent(message)
            | Self::Escalate(message)
            | Self::Unknown(message) => *message = format!("{step}: {message}"),
            Self::Denied(_) | Self::Limit { .. } | Self::Cancelled => {}
        }
        self
    }

    /// The limit of a granted folder, in the host's words where it recorded them.
    fn quota(message: String) -> Self {
        Self::limit("files", refused_by_quota().unwrap_or(message))
    }

    /// The denial the host recorded last, or one with what is known here.
    pub(crate) fn last_denial_or(capability: &str, operation: &str, rule: &str) -> Self {
        match backend::last_denial() {
            Some(denial) => Self::Denied(denial),
            None => Self::denied(capability, operation, rule),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidInput(message)
            | Self::NotFound(message)
            | Self::Transient { message, .. }
            | Self::Permanent(message)
            | Self::Escalate(message)
            | Self::Unknown(message) => write!(f, "{}: {message}", self.code()),
            Self::Denied(denial) => {
                write!(
                    f,
                    "denied: {} ({}): {}",
                    denial.capability, denial.operation, denial.rule
                )
            }
            Self::Limit { limit, value } => write!(f, "limit: {limit} ({value})"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl std::error::Error for Error {}

/// WASI's number for "capabilities insufficient", which has no `ErrorKind`.
const ERRNO_NOT_CAPABLE: i32 = 76;

/// WASI's number for an I/O error. A standard library gives it for every write
/// that failed in a stream, whatever the host's reason was.
const ERRNO_IO: i32 = 29;

/// How the host begins the rule of a denial by a quota.
const QUOTA_RULE: &str = "the quota of ";

/// What the host said when its last refusal was by the quota of a folder.
fn refused_by_quota() -> Option<String> {
    let denial = backend::last_denial()?;
    let by_quota = denial.capability == "files" && denial.rule.starts_with(QUOTA_RULE);
    by_quota.then_some(denial.rule)
}

/// An I/O error becomes the kind it stands for; a refused one becomes the denial
/// that the host recorded, with the rule that was missing, or the limit when it
/// was refused by a quota.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        let message = error.to_string();
        let errno = |number| cfg!(target_family = "wasm") && error.raw_os_error() == Some(number);
        match error.kind() {
            _ if errno(ERRNO_NOT_CAPABLE) => {
                Self::last_denial_or("files", &message, "no grant covers this path")
            }
            _ if errno(ERRNO_IO) && refused_by_quota().is_some() => Self::quota(message),
            Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
                Self::last_denial_or("files", &message, "no grant allows this access")
            }
            Kind::NotFound => Self::NotFound(message),
            Kind::QuotaExceeded => Self::quota(message),
            Kind::StorageFull => Self::limit("files", message),
            Kind::FileTooLarge => Self::limit("file size", message),
            Kind::TimedOut
            | Kind::WouldBlock
            | Kind::Interrupted
            | Kind::ResourceBusy
            | Kind::ConnectionRefused
            | Kind::ConnectionReset => Self::transient(message, None),
            Kind::InvalidInput
            | Kind::InvalidData
            | Kind::InvalidFilename
            | Kind::IsADirectory
            | Kind::NotADirectory
            | Kind::AlreadyExists
            | Kind::DirectoryNotEmpty
            | Kind::UnexpectedEof => Self::InvalidInput(message),
            _ => Self::Permanent(message),
        }
    }
}

/// JSON that cannot be read is the caller's; JSON that cannot be written is not.
impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        match error.classify() {
            serde_json::error::Category::Io => Self::Permanent(error.to_string()),
            _ => Self::InvalidInput(error.to_string()),
        }
    }
}

impl From<std::string::FromUtf8Error> for Error {
    fn from(error: std::string::FromUtf8Error) -> Self {
        Self::InvalidInput(error.to_string())
    }
}

impl From<std::str::Utf8Error> for Error {
    fn from(error: std::str::Utf8Error) -> Self {
        Self::InvalidInput(error.to_string())
    }
}
