//! Identifiers, random bytes, digests and the wall clock.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_millis() as u64)
}

/// Random bytes from the operating system.
///
/// # Panics
/// When the operating system has none, which leaves nothing safe to do.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A new identifier that sorts by time: prefix, 12 digits of milliseconds, 16
/// random digits, hexadecimal.
#[must_use]
pub fn new_id(prefix: &str) -> String {
    let mut id = String::with_capacity(prefix.len() + 28);
    id.push_str(prefix);
    let random = u64::from_le_bytes(random());
    let _ = write!(id, "{:012x}{random:016x}", now_ms());
    id
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

/// `sha256:` and the digest of `bytes` in hexadecimal.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}
