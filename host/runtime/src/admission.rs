//! Whether a call may start now: rate, concurrency and queue of its plugin, and
//! the bound over all plugins. Those who wait take turns: the steps of each agent
//! and principal, and all other calls, each in the order they came.
//!
//! What must stay true: a permit is given back however its call ends; changed
//! limits hold for the calls that wait too; the steps of one run keep neither
//! another's nor a caller from their turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use airlock_sandbox::Limits;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::problem::Failure;
use crate::turns::Turns;

/// Why a call may not start now. Nothing of it happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// The plugin's `rate` is used up.
    #[error("the rate of `{plugin}` ({rate}) is used up")]
    Rate {
        /// The plugin.
        plugin: String,
        /// Its rate.
        rate: String,
        /// When the next call may start.
        retry_after: Duration,
    },
    /// The plugin's `queue` is full.
    #[error("`{plugin}` has {concurrency} calls running and {queue} waiting")]
    QueueFull {
        /// The plugin.
        plugin: String,
        /// Calls at once.
        concurrency: u32,
        /// Calls waiting.
        queue: u32,
    },
    /// The call waited as long as it may run.
    #[error("the call to `{plugin}` waited {waited_ms} ms and did not get its turn")]
    QueueTimeout {
        /// The plugin.
        plugin: String,
        /// How long it waited.
        waited_ms: u64,
    },
    /// All sandboxes are taken.
    #[error("the host runs as many calls as it may")]
    Overloaded,
    /// The host is stopping.
    #[error("the host is shutting down")]
    ShuttingDown,
    /// Somebody halted it.
    #[error(
        "the host is halted: `airlock halt --status` (`GET /v1/halt`) says since when, by whom and why"
    )]
    Halted,
    /// Somebody halted the plugin.
    #[error(
        "the plugin `{plugin}` is halted: `airlock halt --status` (`GET /v1/halt`) says since when, by whom and why"
    )]
    PluginHalted {
        /// The plugin.
        plugin: String,
    },
}

impl Failure for NotAdmitted {
    fn code(&self) -> &'static str {
        match self {
            Self::Rate { .. } => "rate-limited",
            Self::QueueFull { .. } => "plugin-busy",
            Self::QueueTimeout { .. } => "queue-timeout",
            Self::Overloaded => "overloaded",
            Self::ShuttingDown => "shutting-down",
            Self::Halted | Self::PluginHalted { .. } => "halted",
        }
    }
    fn status(&self) -> u16 {
        match self {
            Self::Rate { .. } | Self::QueueFull { .. } => 429,
            _ => 503,
        }
    }
    fn retry_after(&self) -> Option<Duration> {
        Some(match self {
            Self::Rate { retry_after, .. } => *retry_after,
            Self::ShuttingDown => Duration::from_secs(5),
            _ => Duration::from_secs(1),
        })
    }
}

/// How much earlier it must be that a look is worth another one.
const LOOK_STEP: Duration = Duration::from_millis(1);

/// The admission of one plugin.
#[derive(Debug)]
pub(crate) struct Admission {
    plugin: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    concurrency: u32,
    queue: u32,
    running: u32,
    waiting: Turns<Whose, oneshot::Sender<Permit>>,
    bucket: Bucket,
    /// When somebody looks again, since the rate gives more by then.
    looks: Option<Instant>,
    /// Where steps wait, and looks are planned.
    host: Option<Handle>,
}

/// Who waits. Calls have paid their part of the rate; steps pay it when it is
/// their turn.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    Calls,
    /// Of an agent, and a principal.
    Steps(String, String),
}

/// Lets one call run; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Option<Arc<Admission>>,
}

/// Holds up to one period's calls and refills evenly, so that a burst is at most
/// `count` and the long-run rate is `count` per period.
#[derive(Debug)]
struct Bucket {
    count: f64,
    per: Duration,
    text: String,
    tokens: f64,
    filled: Instant,
}

impl Admission {
    pub(crate) fn new(plugin: &str, limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            plugin: plugin.to_owned(),
            state: Mutex::new(State {
                concurrency: limits.concurrency,
                queue: limits.queue,
                running: 0,
                waiting: Turns::default(),
                bucket: Bucket::new(limits),
                looks: None,
                host: None,
            }),
        })
    }

    /// Puts other limits in force, for waiting calls too.
    pub(crate) fn set(self: &Arc<Self>, limits: &Limits) {
        let mut state = self.state();
        state.concurrency = limits.concurrency;
        state.queue = limits.queue;
        state.bucket.change(limits);
        let ready = self.next(&mut state);
        drop(state);
        hand_over(ready);
    }

    /// Waits, at most `patience`, until the call may start.
    pub(crate) async fn enter(self: &Arc<Self>, patience: Duration) -> Result<Permit, NotAdmitted> {
        let turn = match self.ask()? {
            Asked::Now(permit) => return Ok(permit),
            Asked::Wait(turn) => turn,
        };
        match tokio::time::timeout(patience, turn).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(NotAdmitted::QueueTimeout {
                plugin: self.plugin.clone(),
                waited_ms: patience.as_millis() as u64,
            }),
        }
    }

    /// Lets a step start, if nobody waits and there is room at once.
    pub(crate) fn step_now(self: &Arc<Self>) -> Option<Permit> {
        let mut state = self.state();
        let waits = state.waiting.iter().any(|turn| !turn.is_closed());
        let free = state.running < state.concurrency && !waits;
        let taken = free && state.bucket.take(Instant::now()).is_ok();
        taken.then(|| self.permit(&mut state))
    }

    /// Waits for the turn of a step of `agent` for `by`, however long that takes.
    pub(crate) async fn step(self: &Arc<Self>, agent: &str, by: &str) -> Permit {
        let (sender, turn) = oneshot::channel();
        let whose = Whose::Steps(agent.to_owned(), by.to_owned());
        let ready = {
            let mut state = self.state();
            state.host = Handle::try_current().ok().or(state.host.take());
            state.waiting.push(whose, sender);
            self.next(&mut state)
        };
        hand_over(ready);
        match turn.await {
            Ok(permit) => permit,
            // Whoever waits is forgotten with this alone.
            Err(_) => std::future::pending().await,
        }
    }

    /// Takes one of the plugin's `rate`, for what is not a call.
    pub(crate) fn take_rate(&self) -> Result<(), NotAdmitted> {
        let mut state = self.state();
        let taken = state.bucket.take(Instant::now());
        taken.map_err(|retry_after| NotAdmitted::Rate {
            plugin: self.plugin.clone(),
            rate: state.bucket.text.clone(),
            retry_after,
        })
    }

    /// Whether a call that asked now would start at once, after `before` others.
    pub(crate) fn is_free(&self, before: usize) -> bool {
        let state = self.state();
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        state.running.saturating_add(before) < state.concurrency
            && state.bucket.tokens >= f64::from(before) + 1.0
    }

    /// Calls running and waiting.
    pub(crate) fn load(&self) -> (u32, usize) {
        let state = self.state();
        (state.running, state.waiting.iter().count())
    }

    fn ask(self: &Arc<Self>) -> Result<Asked, NotAdmitted> {
        let mut state = self.state();
        let now = state.running < state.concurrency;
        if !now {
            let waiting = state.waiting.left(&Whose::Calls, |turn| !turn.is_closed());
            if waiting >= state.queue as usize {
                return Err(NotAdmitted::QueueFull {
                    plugin: self.plugin.clone(),
                    concurrency: state.concurrency,
                    queue: state.queue,
                });
            }
        }
        state
            .bucket
            .take(Instant::now())
            .map_err(|retry_after| NotAdmitted::Rate {
                plugin: self.plugin.clone(),
                rate: state.bucket.text.clone(),
                retry_after,
            })?;
        if now {
            return Ok(Asked::Now(self.permit(&mut state)));
        }
        let (sender, turn) = oneshot::channel();
        state.waiting.push(Whose::Calls, sender);
        Ok(Asked::Wait(turn))
    }

    fn permit(self: &Arc<Self>, state: &mut State) -> Permit {
        state.running += 1;
        Permit {
            admission: Some(Arc::clone(self)),
        }
    }

    /// The waiting calls whose turn it is, with their permits.
    fn next(self: &Arc<Self>, state: &mut State) -> Vec<(oneshot::Sender<Permit>, Permit)> {
        let mut ready = Vec::new();
        let now = Instant::now();
        while state.running < state.concurrency {
            let Some(turn) = state.turn(now) else { break };
            ready.push((turn, self.permit(state)));
        }
        let waits = state.waiting.iter().next().is_some();
        if let (true, Some(wait)) = (waits, state.bucket.wait(now)) {
            self.look_at(state, now + wait);
        }
        ready
    }

    /// Looks again when the rate gives more: nobody's end may come before. A look
    /// that was planned for later stays, and finds nothing to do.
    fn look_at(self: &Arc<Self>, state: &mut State, due: Instant) {
        let planned = state.looks.is_some_and(|looks| looks <= due + LOOK_STEP);
        let Some(host) = state.host.clone().filter(|_| !planned) else {
            return;
        };
        state.looks = Some(due);
        let admission = Arc::downgrade(self);
        host.spawn(async move {
            tokio::time::sleep_until(due.into()).await;
            let Some(admission) = admission.upgrade() else {
                return;
            };
            let ready = {
                let mut state = admission.state();
                state.looks.take_if(|looks| *looks <= due);
                admission.next(&mut state)
            };
            hand_over(ready);
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next one whose turn it is.
    fn turn(&mut self, now: Instant) -> Option<oneshot::Sender<Permit>> {
        let paid = self.bucket.wait(now).is_none();
        let may = |whose: &Whose| paid || *whose == Whose::Calls;
        let (whose, turn) = self.waiting.next(may, |turn| !turn.is_closed())?;
        if whose != Whose::Calls {
            // There is one, as was just looked.
            let _ = self.bucket.take(now);
        }
        Some(turn)
    }
}

enum Asked {
    Now(Permit),
    Wait(oneshot::Receiver<Permit>),
}

/// Outside the lock: a permit that nobody takes any more is dropped here, which
/// takes the lock again.
fn hand_over(ready: Vec<(oneshot::Sender<Permit>, Permit)>) {
    for (turn, permit) in ready {
        drop(turn.send(permit));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(admission) = self.admission.take() else {
            return;
        };
        let mut state = admission.state();
        state.running -= 1;
        let ready = admission.next(&mut state);
        drop(state);
        hand_over(ready);
    }
}

impl Bucket {
    fn new(limits: &Limits) -> Self {
        let count = f64::from(limits.rate.count);
        Self {
            count,
            per: limits.rate.per,
            text: limits.rate.to_string(),
            tokens: count,
            filled: Instant::now(),
        }
    }

    fn change(&mut self, limits: &Limits) {
        let tokens = self.tokens;
        *self = Self::new(limits);
        self.tokens = self.tokens.min(tokens.max(0.0));
    }

    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        match self.wait(now) {
            None => {
                self.tokens -= 1.0;
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }

    /// How long until there is one to take; `None`: there is.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        let per_second = self.count / self.per.as_secs_f64().max(0.001);
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + elapsed * per_second).min(self.count);
        self.filled = now;
        if self.tokens >= 1.0 {
            return None;
        }
        let wait = (1.0 - self.tokens) / per_second.max(f64::MIN_POSITIVE);
        Some(Duration::try_from_secs_f64(wait).unwrap_or(self.per))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use airlock_sandbox::limits::Rate;

    const LONG: Duration = Duration::from_secs(60);

    fn limits(concurrency: u32, queue: u32, rate: &str) -> Limits {
        Limits {
            concurrency,
            queue,
            rate: rate.parse::<Rate>().expect("a rate"),
            ..Limits::default()
        }
    }

    #[tokio::test]
    async fn calls_run_wait_in_order_and_are_refused_beyond_the_queue() {
        let admission = Admission::new("p", &limits(1, 2, "1000/s"));
        let first = admission.enter(LONG).await.expect("runs");
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for name in ["second", "third"] {
            let (admission, order) = (Arc::clone(&admission), Arc::clone(&order));
            let before = waiting.len();
            let task = Arc::clone(&admission);
            waiting.push(tokio::spawn(async move {
                let permit = task.enter(LONG).await.expect("gets its turn");
                order.lock().expect("lock").push(name);
                drop(permit);
            }));
            while admission.load().1 == before {
                tokio::task::yield_now().await;
            }
        }
        let refused = admission.enter(LONG).await.expect_err("is refused");
        assert_eq!((refused.code(), refused.status()), ("plugin-busy", 429));
        drop(first);
        for task in waiting {
            task.await.expect("ends");
        }
        assert_eq!(*order.lock().expect("lock"), ["second", "third"]);
        assert_eq!(admission.load(), (0, 0));
    }

    #[tokio::test]
    async fn a_waiter_that_leaves_does_not_keep_its_turn() {
        let admission = Admission::new("p", &limits(1, 1, "1000/s"));
        let first = admission.enter(LONG).await.expect("runs");
        let left = admission.enter(Duration::from_millis(1)).await;
        assert_eq!(left.expect_err("waits in vain").code(), "queue-timeout");
        let second = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.enter(LONG).await }
        });
        while admission.load().1 == 0 {
            tokio::task::yield_now().await;
        }
        drop(first);
        drop(second.await.expect("ends").expect("gets its turn"));
        assert_eq!(admission.load(), (0, 0));
    }

    /// Steps of each agent and principal, and calls, take turns; one who has a
    /// long queue keeps nobody waiting.
    #[tokio::test]
    async fn steps_and_calls_take_turns() {
        let admission = Admission::new("p", &limits(1, 1, "1000/s"));
        let first = admission.enter(LONG).await.expect("runs");
        let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
        let whose = [("a", "me"); 5].into_iter().chain([("a", "you"), ("", "")]);
        for (agent, by) in whose {
            let (waits, told) = (Arc::clone(&admission), told.clone());
            let before = admission.load().1;
            tokio::spawn(async move {
                let permit = match agent {
                    "" => waits.enter(LONG).await.expect("its turn"),
                    agent => waits.step(agent, by).await,
                };
                told.send(format!("{agent} {by}")).expect("heard");
                drop(permit);
            });
            while admission.load().1 == before {
                tokio::task::yield_now().await;
            }
        }
        assert!(admission.step_now().is_none(), "others wait");
        drop(first);
        let mut got = Vec::new();
        for _ in 0..7 {
            got.push(order.recv().await.expect("a turn"));
        }
        let me = "a me";
        assert_eq!(got, [me, "a you", " ", me, me, me, me]);
        assert!(admission.step_now().is_some(), "nobody waits");
    }

    /// A step is never refused for want of rate: it waits.
    #[tokio::test]
    async fn a_step_waits_for_the_rate() {
        let admission = Admission::new("p", &limits(4, 4, "2/s"));
        while admission.step_now().is_some() {}
        for _ in 0..2 {
            drop(admission.step("a", "me").await);
        }
        assert_eq!(admission.load(), (0, 0));
    }

    /// Whoever waits for the old rate learns of the new one.
    #[tokio::test]
    async fn a_raised_rate_reaches_steps_that_wait() {
        let admission = Admission::new("p", &limits(4, 4, "1/h"));
        drop(admission.step_now().expect("the hour's only one"));
        let step = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { drop(admission.step("a", "me").await) }
        });
        while admission.load().1 == 0 {
            tokio::task::yield_now().await;
        }
        // Where there is no runtime: what is planned does not depend on that.
        let raised = Arc::clone(&admission);
        let raise = move || raised.set(&limits(4, 4, "1000/s"));
        std::thread::spawn(raise).join().expect("set");
        let ended = tokio::time::timeout(LONG, step).await;
        ended.expect("within a minute").expect("ends");
        assert_eq!(admission.load(), (0, 0));
    }

    #[tokio::test]
    async fn raised_limits_let_waiting_calls_in() {
        let admission = Admission::new("p", &limits(1, 4, "1000/s"));
        let _first = admission.enter(LONG).await.expect("runs");
        let second = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.enter(LONG).await }
        });
        while admission.load().1 == 0 {
            tokio::task::yield_now().await;
        }
        admission.set(&limits(2, 4, "1000/s"));
        assert!(second.await.expect("ends").is_ok());
    }

    #[tokio::test]
    async fn the_rate_is_a_bucket_of_one_period() {
        let admission = Admission::new("p", &limits(9, 9, "3/h"));
        for _ in 0..3 {
            admission.enter(LONG).await.expect("runs");
        }
        let refused = admission.enter(LONG).await.expect_err("is refused");
        assert_eq!((refused.code(), refused.status()), ("rate-limited", 429));
        let wait = refused.retry_after().expect("a time");
        assert!(
            (Duration::from_secs(600)..=Duration::from_secs(1200)).contains(&wait),
            "{wait:?}"
        );
        admission.set(&limits(9, 9, "1000/s"));
        assert_eq!(
            admission
                .enter(LONG)
                .await
                .expect_err("no new burst")
                .code(),
            "rate-limited"
        );
    }

    #[test]
    fn a_bucket_refills_evenly() {
        let mut bucket = Bucket::new(&limits(1, 1, "10/s"));
        let start = bucket.filled;
        for _ in 0..10 {
            bucket.take(start).expect("holds a burst");
        }
        assert_eq!(bucket.take(start).expect_err("empty").as_millis(), 100);
        bucket
            .take(start + Duration::from_millis(110))
            .expect("refilled one");
        bucket
            .take(start + Duration::from_millis(110))
            .expect_err("and only one");
    }
}
