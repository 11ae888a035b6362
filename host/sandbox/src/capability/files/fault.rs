//! How an operation fails: with a code for the guest, a refusal that is also
//! recorded as a denial, or a limit that ends the call. None of them carries a
//! host path.

use std::io;

use rustix::io::Errno;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

use crate::gate::LimitReached;

/// Why an operation did not happen.
#[derive(Debug)]
pub(super) enum Fault {
    /// An ordinary failure, e.g. no such file.
    Code(ErrorCode),
    /// A permit was there, but the operation is against the room's own rules.
    Refused {
        /// What the guest sees.
        code: ErrorCode,
        /// What the denial says.
        rule: String,
    },
    /// The call holds more than it may.
    Limit(LimitReached),
}

impl Fault {
    pub(super) fn refused(code: ErrorCode, rule: impl Into<String>) -> Self {
        Self::Refused {
            code,
            rule: rule.into(),
        }
    }

    /// A path that leads out of its directory by a link or `..`.
    pub(super) fn escape() -> Self {
        Self::refused(
            ErrorCode::NotPermitted,
            "the path leads out of the granted directory",
        )
    }

    /// Neither a regular file nor a directory.
    pub(super) fn special() -> Self {
        Self::refused(
            ErrorCode::NotPermitted,
            "only regular files and directories are opened: no devices, pipes or sockets",
        )
    }
}

impl From<ErrorCode> for Fault {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}

impl From<LimitReached> for Fault {
    fn from(limit: LimitReached) -> Self {
        Self::Limit(limit)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        // cap-std reports a path that leaves its directory as a permission
        // error that no system call gave.
        if error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none() {
            return Self::escape();
        }
        match Errno::from_io_error(&error) {
            Some(Errno::XDEV) => Self::Code(ErrorCode::CrossDevice),
            Some(Errno::ROFS) => Self::Code(ErrorCode::ReadOnly),
            Some(Errno::DQUOT) => Self::Code(ErrorCode::Quota),
            Some(Errno::TXTBSY) => Self::Code(ErrorCode::TextFileBusy),
            Some(Errno::MFILE | Errno::NFILE) => Self::Code(ErrorCode::InsufficientMemory),
            _ => Self::Code(ErrorCode::from(error)),
        }
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}
