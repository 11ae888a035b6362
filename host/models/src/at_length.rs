//! Work that takes long, off the threads that others need.
//!
//! What must stay true: how large a text may be is no reason for timers, the API or the
//! host's stop to wait for it.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Less is done where it stands, bytes.
const BYTES_MIN: usize = 64 << 10;

/// Does what takes time by so many bytes: where they are many, this thread's other
/// tasks go on at another one.
pub fn at_length<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
    match flavor {
        Ok(RuntimeFlavor::MultiThread) if bytes >= BYTES_MIN => tokio::task::block_in_place(work),
        _ => work(),
    }
}
