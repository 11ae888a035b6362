//! What the self-test says at the end.

use std::fmt;

use serde::Serialize;

use super::neighbour::Calls;

/// The result of one attack.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outcome {
    /// The class, as in the table of attacks.
    pub class: String,
    /// What was tried.
    pub attack: String,
    /// What must come of it.
    pub expected: String,
    /// What came of it.
    pub seen: String,
    /// Whether the sandbox held and the neighbour kept working.
    pub held: bool,
    /// Calls of the well-behaved neighbour that succeeded meanwhile.
    pub neighbour_calls: u64,
    /// How long it took, milliseconds.
    pub ms: u64,
}

impl Outcome {
    /// With what was seen of the attack, right or wrong, and of the neighbour.
    pub(super) fn judged(mut self, attack: Result<String, String>, neighbour: Calls) -> Self {
        self.held = attack.is_ok() && neighbour.failed == 0 && neighbour.succeeded > 0;
        let (Ok(seen) | Err(seen)) = attack;
        self.seen = match neighbour.failed {
            0 => seen,
            _ => format!("{seen}; the neighbour failed: {}", neighbour.last_failure),
        };
        self.neighbour_calls = neighbour.succeeded;
        self
    }
}

/// All results.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// One per attack.
    pub outcomes: Vec<Outcome>,
    /// Classes whose parts do not exist yet, and with what they come.
    pub later: Vec<(String, String)>,
}

impl Report {
    /// Whether every attack was stopped.
    pub fn held(&self) -> bool {
        !self.outcomes.is_empty() && self.outcomes.iter().all(|outcome| outcome.held)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut class = "";
        for outcome in &self.outcomes {
            if outcome.class != class {
                class = &outcome.class;
                writeln!(f, "\n{class}")?;
            }
            let mark = if outcome.held { "held  " } else { "FAILED" };
            writeln!(f, "  {mark} {} -> {}", outcome.attack, outcome.seen)?;
            if !outcome.held {
                writeln!(f, "         expected: {}", outcome.expected)?;
            }
        }
        writeln!(f, "\nnot tried here, and what tries it")?;
        for (what, with) in &self.later {
            writeln!(f, "  {what} ({with})")?;
        }
        let held = self.outcomes.iter().filter(|outcome| outcome.held).count();
        let calls: u64 = self
            .outcomes
            .iter()
            .map(|outcome| outcome.neighbour_calls)
            .sum();
        write!(
            f,
            "\n{held} of {} attacks held; {calls} calls of a well-behaved plugin beside them",
            self.outcomes.len()
        )
    }
}
