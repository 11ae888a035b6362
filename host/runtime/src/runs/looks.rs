//! Whoever looks at a run's journal has it read on threads of their own.
//!
//! What must stay true: however long a journal is, and however many look at it, the
//! async threads go on with what others ask; a few read at once, the rest wait, and
//! one that left while it waited reads nothing.

use std::sync::Arc;

use airlock_journal::StoreError;

use super::RunError;
use crate::runtime::Runtime;

/// Readers at once: each computes for as long as it reads.
pub(super) const AT_ONCE: usize = 4;

impl Runtime {
    /// What `read` gives, on a thread where it may take its time.
    ///
    /// # Errors
    /// `read` did not come to its end.
    pub async fn looking<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, RunError> {
        let place = Arc::clone(&self.runs.looks).acquire_owned().await;
        let runtime = Arc::clone(self);
        let work = move || {
            // Given back when the thread is done, whoever waits for it.
            let _place = place;
            read(&runtime)
        };
        let done = self.runs.io().spawn_blocking(work).await;
        done.map_err(|source| {
            RunError::Store(StoreError::Io {
                step: "looking at a run".to_owned(),
                source: Box::new(source),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RuntimeConfig;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    /// More than there are async threads, of which this test has one.
    #[tokio::test]
    async fn those_who_look_hold_up_nobody_and_wait_for_each_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = RuntimeConfig {
            compiler: PathBuf::new(),
            ..RuntimeConfig::new(dir.path().join("data"), dir.path().join("keys"))
        };
        let runtime = Runtime::open(config).await.expect("opens");
        let reading = Arc::new(AtomicUsize::new(0));
        let mut lookers = Vec::new();
        let mut ends = Vec::new();
        for _ in 0..=AT_ONCE {
            let (end, wait) = mpsc::channel::<()>();
            ends.push(end);
            let (runtime, reading) = (Arc::clone(&runtime), Arc::clone(&reading));
            lookers.push(tokio::spawn(async move {
                let look = runtime.looking(move |_| {
                    reading.fetch_add(1, Ordering::SeqCst);
                    let _ = wait.recv();
                });
                look.await.expect("it ends");
            }));
        }
        while reading.load(Ordering::SeqCst) < AT_ONCE {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert_eq!(reading.load(Ordering::SeqCst), AT_ONCE, "one waits");
        // Whoever leaves while it reads keeps its place until it has read.
        lookers.remove(0).abort();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert_eq!(reading.load(Ordering::SeqCst), AT_ONCE, "one still waits");
        ends.clear();
        for looker in lookers {
            looker.await.expect("no panic");
        }
        assert_eq!(reading.load(Ordering::SeqCst), AT_ONCE + 1);
    }
}
