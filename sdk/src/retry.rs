//! Trying again, by the kind of error.
//!
//! ```
//! use airlock_sdk::prelude::*;
//! use airlock_sdk::retry::Retry;
//! use airlock_sdk::task::block_on;
//! use std::time::Duration;
//!
//! let mut asked = 0;
//! let policy = Retry::new()
//!     .attempts(5)
//!     .backoff(Duration::from_millis(1), Duration::from_secs(60))
//!     .also(|error| matches!(error, Error::Limit { .. }));
//! let answer = block_on(policy.run(|| {
//!     asked += 1;
//!     let busy = asked < 3;
//!     async move {
//!         match busy {
//!             true => Err(Error::limit("rate", "1/s")),
//!             false => Ok("done"),
//!         }
//!     }
//! }));
//! assert_eq!((answer, asked), (Ok("done"), 3));
//! ```

use std::future::IntoFuture;
use std::time::Duration;

use crate::{Error, backend, task};

/// How often, after which waits and after which errors something is tried again.
///
/// Unless it says otherwise: 3 attempts, after [`Error::Transient`] alone, with a
/// wait of 0.2 s that doubles up to 30 s, or what the error says, up to that. The
/// host itself tries read-only and idempotent tools again before an agent sees
/// the error.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    attempts: u32,
    first: Duration,
    longest: Duration,
    also: fn(&Error) -> bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            first: Duration::from_millis(200),
            longest: Duration::from_secs(30),
            also: |_| false,
        }
    }
}

impl Retry {
    /// The policy that is described above.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// At most so many attempts, the first one counted; 0 is taken as 1.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// The wait before the second attempt, which doubles with each further one up
    /// to `longest`, as is what an error asks for. A random part of up to a half more is added, but in a test of an
    /// agent, whose waits are always the same.
    #[must_use]
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        (self.first, self.longest) = (first, longest);
        self
    }

    /// Other errors after which it is tried again.
    #[must_use]
    pub fn also(mut self, also: fn(&Error) -> bool) -> Self {
        self.also = also;
        self
    }

    /// Tries until it is done, or the error is none to try again after, or there
    /// are no attempts left.
    ///
    /// # Errors
    /// That of the last attempt.
    pub async fn run<T, F>(self, mut attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: IntoFuture<Output = Result<T, Error>>,
    {
        for made in 1.. {
            let error = match attempt().await {
                Err(error) if made < self.attempts && self.is_for(&error) => error,
                ended => return ended,
            };
            task::sleep(self.wait(made, &error)).await;
        }
        unreachable!("the attempts are counted")
    }

    fn is_for(&self, error: &Error) -> bool {
        matches!(error, Error::Transient { .. }) || (self.also)(error)
    }

    /// The wait after the attempt of this number.
    fn wait(&self, made: u32, error: &Error) -> Duration {
        let doubled = self
            .first
            .saturating_mul(1_u32.checked_shl(made - 1).unwrap_or(u32::MAX));
        let wait = doubled.min(self.longest);
        let jittered = wait + wait.mul_f64(backend::jitter() as f64 / 1024.0);
        match error {
            Error::Transient {
                retry_after: Some(after),
                ..
            } => jittered.max((*after).min(self.longest)),
            _ => jittered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Retry {
        let ms = Duration::from_millis;
        Retry::new().backoff(ms(1), ms(2))
    }

    fn transient() -> Error {
        Error::transient("busy", None)
    }

    #[test]
    fn attempts_end_by_number_and_by_the_kind_of_error() {
        let other = Error::not_found("x");
        let invalid = Error::invalid_input("x");
        // What each attempt gives; the attempts made; what comes of it.
        for (policy, gives, made, expect) in [
            (policy(), vec![Ok(1)], 1, Ok(1)),
            (policy(), vec![Err(transient()), Ok(2)], 2, Ok(2)),
            (policy(), vec![Err(transient()); 9], 3, Err(transient())),
            (
                policy().attempts(0),
                vec![Err(transient()); 9],
                1,
                Err(transient()),
            ),
            (
                policy(),
                vec![Err(other.clone()), Ok(1)],
                1,
                Err(other.clone()),
            ),
            (
                policy().also(|error| matches!(error, Error::NotFound(_))),
                vec![Err(other), Err(invalid.clone()), Ok(1)],
                2,
                Err(invalid),
            ),
        ] {
            let mut attempts = 0;
            let ran = task::block_on(policy.run(|| {
                attempts += 1;
                std::future::ready(gives[attempts - 1].clone())
            }));
            assert_eq!((ran, attempts), (expect, made), "{gives:?}");
        }
    }

    #[test]
    fn waits_double_up_to_the_longest_and_heed_the_error() {
        let ms = Duration::from_millis;
        let policy = Retry::new().backoff(ms(100), ms(500));
        for (made, least) in [(1, 100), (2, 200), (3, 400), (4, 500), (40, 500)] {
            let wait = policy.wait(made, &transient());
            assert!(
                wait >= ms(least) && wait <= ms(least * 3 / 2),
                "{made}: {wait:?}"
            );
        }
        for (said, least, most) in [
            (ms(0), 100, 150),
            (ms(400), 400, 400),
            (ms(9_000), 500, 500),
            (Duration::MAX, 500, 500),
        ] {
            let wait = policy.wait(1, &Error::transient("busy", Some(said)));
            assert!(wait >= ms(least) && wait <= ms(most), "{said:?}: {wait:?}");
        }
    }
}
