//! When a model is left alone: a state machine that is told the time.
//!
//! What must stay true: while it is open nothing is asked; then one request is let
//! through and decides; what an older request reports changes nothing.

use crate::config::BreakerConfig;

/// Closed, open, or half open.
#[derive(Debug)]
pub(crate) struct Breaker {
    config: BreakerConfig,
    state: State,
    /// Counts the changes of state.
    epoch: u64,
    /// The provider asked for peace until then.
    held_until_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until_ms: u64 },
    HalfOpen,
}

/// Leave to ask. It has to be given back by a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pass {
    epoch: u64,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    /// The provider works.
    Works,
    /// It failed.
    Failed,
    /// Nothing is known: the request was given up, or was not sent.
    Nothing,
}

impl Breaker {
    pub(crate) fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            state: State::Closed { failures: 0 },
            epoch: 0,
            held_until_ms: 0,
        }
    }

    /// Leave to ask now, or the milliseconds until it is worth to ask again.
    pub(crate) fn pass(&mut self, now_ms: u64) -> Result<Pass, u64> {
        self.wait_ms(now_ms).map_or(Ok(()), Err)?;
        if matches!(self.state, State::Open { .. }) {
            self.becomes(State::HalfOpen);
        }
        Ok(Pass { epoch: self.epoch })
    }

    /// The wait before there is leave, if any.
    pub(crate) fn wait_ms(&self, now_ms: u64) -> Option<u64> {
        let state_ms = match self.state {
            State::Closed { .. } => 0,
            State::Open { until_ms } => until_ms.saturating_sub(now_ms),
            // The one that was let through has not come back.
            State::HalfOpen => self.config.open_ms,
        };
        let wait_ms = state_ms.max(self.held_until_ms.saturating_sub(now_ms));
        (wait_ms > 0).then_some(wait_ms)
    }

    /// What came of the request that had this leave.
    pub(crate) fn report(&mut self, pass: Pass, report: Report, now_ms: u64) {
        if pass.epoch != self.epoch {
            return;
        }
        let until_ms = now_ms.saturating_add(self.config.open_ms);
        match (self.state, report) {
            (State::Closed { .. }, Report::Works) => self.state = State::Closed { failures: 0 },
            (State::Closed { failures }, Report::Failed) => {
                let failures = failures + 1;
                match failures >= self.config.failures {
                    true => self.becomes(State::Open { until_ms }),
                    false => self.state = State::Closed { failures },
                }
            }
            (State::HalfOpen, Report::Works) => self.becomes(State::Closed { failures: 0 }),
            (State::HalfOpen, Report::Failed) => self.becomes(State::Open { until_ms }),
            // The next one is let through at once.
            (State::HalfOpen, Report::Nothing) => self.becomes(State::Open { until_ms: now_ms }),
            (State::Closed { .. }, Report::Nothing) | (State::Open { .. }, _) => {}
        }
    }

    /// The provider asked for peace.
    pub(crate) fn hold(&mut self, until_ms: u64) {
        self.held_until_ms = self.held_until_ms.max(until_ms);
    }

    fn becomes(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}
