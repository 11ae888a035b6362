//! Identifiers, random bytes, digests and the wall clock.

use std::cell::RefCell;
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

/// Random numbers for identifiers, some at a time: each request of the operating
/// system's is a system call.
#[derive(Default)]
struct Drawn {
    numbers: [[u8; 8]; 32],
    left: usize,
}

thread_local! {
    static DRAWN: RefCell<Drawn> = RefCell::default();
}

impl Drawn {
    fn next(&mut self) -> [u8; 8] {
        if self.left == 0 {
            let fresh = random::<256>();
            for (number, fresh) in self.numbers.iter_mut().zip(fresh.chunks_exact(8)) {
                number.copy_from_slice(fresh);
            }
            self.left = self.numbers.len();
        }
        self.left -= 1;
        std::mem::take(&mut self.numbers[self.left])
    }
}

/// A new identifier that sorts by time: prefix, 12 digits of milliseconds, 16
/// random digits, hexadecimal. It names something and is no secret.
#[must_use]
pub fn new_id(prefix: &str) -> String {
    let mut id = String::with_capacity(prefix.len() + 28);
    id.push_str(prefix);
    push_hex(&mut id, &now_ms().to_be_bytes()[2..]);
    push_hex(&mut id, &DRAWN.with_borrow_mut(Drawn::next));
    id
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push_hex(&mut text, bytes);
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
}

/// `sha256:` and the digest of `bytes` in hexadecimal.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn identifiers_differ_and_say_when_they_were_made() {
        let before = now_ms();
        let make = || (0..10_000).map(|_| new_id("x_")).collect::<Vec<_>>();
        let threads = [(); 4].map(|()| std::thread::spawn(make));
        let all = threads.map(|thread| thread.join().expect("no panic"));
        let after = now_ms();
        let distinct: HashSet<&str> = all.iter().flatten().map(|id| &id[14..]).collect();
        assert_eq!(distinct.len(), 40_000);
        for id in all.iter().flatten() {
            assert_eq!((id.len(), &id[..2]), (30, "x_"));
            let ms = u64::from_str_radix(&id[2..14], 16).expect("milliseconds");
            assert!((before..=after).contains(&ms), "{id}");
            assert!(u64::from_str_radix(&id[14..], 16).is_ok(), "{id}");
        }
    }
}
