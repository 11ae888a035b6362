//! Tells whoever follows a run that its journal has grown, whether or not the
//! run is looked after in memory.
//!
//! What must stay true: it is told after a commit, so what is then read is
//! durable; a run that nobody follows costs nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::deltas::DeltaFollower;
use super::{RunError, RunEvents};
use crate::principal::Principal;
use crate::runtime::Runtime;

type Followed = HashMap<String, watch::Sender<()>>;

/// Who follows which run.
#[derive(Clone, Default)]
pub(crate) struct News(Arc<Mutex<Followed>>);

impl News {
    fn lock(&self) -> MutexGuard<'_, Followed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records of a run became durable.
    pub(crate) fn grew(&self, run: &str) {
        if let Some(sender) = self.lock().get(run) {
            sender.send_replace(());
        }
    }

    pub(super) fn follow(&self, run: &str) -> Ear {
        let mut followed = self.lock();
        let sender = followed.entry(run.to_owned()).or_default();
        Ear {
            grown: Some(sender.subscribe()),
            run: run.to_owned(),
            news: self.clone(),
        }
    }
}

/// Hears of one run.
pub(super) struct Ear {
    run: String,
    /// Always there until this is dropped.
    grown: Option<watch::Receiver<()>>,
    news: News,
}

impl Ear {
    pub(super) fn run(&self) -> &str {
        &self.run
    }

    /// What was told so far is known.
    pub(super) fn heard(&mut self) {
        if let Some(grown) = &mut self.grown {
            grown.mark_unchanged();
        }
    }

    /// Resolves when something was told since [`Ear::heard`].
    pub(super) async fn grown(&mut self) {
        let changed = match &mut self.grown {
            Some(grown) => grown.changed().await,
            None => return,
        };
        if changed.is_err() {
            // Its sender lives as long as it is followed.
            std::future::pending().await
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let mut followed = self.news.lock();
        self.grown = None;
        let last = followed
            .get(&self.run)
            .is_some_and(|sender| sender.receiver_count() == 0);
        if last {
            followed.remove(&self.run);
        }
    }
}

/// Somebody who follows a run.
pub struct Follower {
    ear: Ear,
}

impl Follower {
    /// Records from number `from` on, at most `limit`. What is appended after
    /// that resolves [`Follower::grown`].
    ///
    /// # Errors
    /// As [`Runtime::run_events`].
    pub fn read(
        &mut self,
        runtime: &Runtime,
        who: &Principal,
        from: u64,
        limit: usize,
    ) -> Result<RunEvents, RunError> {
        self.ear.heard();
        runtime.run_events(who, self.ear.run(), from, limit)
    }

    /// Resolves when records became durable since the last [`Follower::read`].
    pub async fn grown(&mut self) {
        self.ear.grown().await;
    }
}

impl Runtime {
    /// Follows a run's journal from record `from` on.
    ///
    /// # Errors
    /// There is no such run, its journal never had a record before `from`, or
    /// the store failed.
    pub fn follow_run(&self, who: &Principal, id: &str, from: u64) -> Result<Follower, RunError> {
        self.run_events(who, id, from, 1)?;
        let len = self.store().head(&super::rows::stream(id))?.len;
        if from > len {
            return Err(RunError::Invalid(format!(
                "the run has {len} records: there is no record before {from} to go on from"
            )));
        }
        let ear = self.runs.news.follow(id);
        Ok(Follower { ear })
    }

    /// Follows what language models answer to a run, as it comes. None of it is a
    /// record: the answer that counts is in the journal once it is whole.
    ///
    /// # Errors
    /// There is no such run, or the store failed.
    pub fn follow_run_deltas(&self, who: &Principal, id: &str) -> Result<DeltaFollower, RunError> {
        self.run_events(who, id, 0, 1)?;
        Ok(self.runs.deltas.follow(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_follower_is_told_and_the_last_one_leaves_nothing() {
        let news = News::default();
        news.grew("a");
        let (mut one, mut two) = (news.follow("a"), news.follow("a"));
        let mut other = news.follow("b");
        news.grew("a");
        one.grown().await;
        two.grown().await;
        let told = tokio::time::timeout(std::time::Duration::from_millis(20), other.grown());
        assert!(told.await.is_err(), "another run grew");
        drop((one, other));
        assert_eq!(news.lock().keys().collect::<Vec<_>>(), ["a"]);
        drop(two);
        assert!(news.lock().is_empty());
    }
}
