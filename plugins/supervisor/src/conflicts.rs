//! Contradictions: those a rule finds, and which were looked at already.

use std::collections::BTreeSet;

use airlock_sdk::prelude::*;
use serde_json::Value;

/// Results that contradict one another.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Conflict {
    /// What they do not agree on.
    pub(crate) about: String,
    /// The parts that gave them.
    pub(crate) between: Vec<String>,
}

/// What was done about contradictions so far. One is known by those it is between: who
/// contradict one another once more are not asked a third time.
#[derive(Default)]
pub(crate) struct Settled {
    looked: BTreeSet<BTreeSet<String>>,
    decided: BTreeSet<BTreeSet<String>>,
}

/// What is to be done about some.
pub(crate) struct Todo {
    /// Those between whom it is look again.
    pub(crate) look: Vec<Conflict>,
    /// A person decides.
    pub(crate) ask: Vec<Conflict>,
}

impl Settled {
    /// Divides them, and notes that it was done.
    pub(crate) fn divide(&mut self, conflicts: Vec<Conflict>) -> Todo {
        let (look, ask) = conflicts
            .into_iter()
            .partition(|conflict| !self.looked.contains(&key(conflict)));
        let todo = Todo { look, ask };
        self.looked.extend(todo.look.iter().map(key));
        todo
    }

    /// A person decided about one.
    pub(crate) fn decided(&mut self, conflict: &Conflict) {
        self.decided.insert(key(conflict));
    }

    fn is_decided(&self, conflict: &Conflict) -> bool {
        self.decided.contains(&key(conflict))
    }
}

fn key(conflict: &Conflict) -> BTreeSet<String> {
    conflict.between.iter().cloned().collect()
}

/// The places at which results differ that have to be the same, without those that a
/// person decided about.
pub(crate) fn found(
    places: &[String],
    results: &[(&str, &Value)],
    settled: &Settled,
) -> Vec<Conflict> {
    let of_place = |place: &String| {
        let has = |(id, result): &(&str, &Value)| {
            Some(((*id).to_owned(), result.pointer(place)?.clone()))
        };
        let said: Vec<(String, Value)> = results.iter().filter_map(has).collect();
        let (_, first) = said.first()?;
        let differs = said.iter().any(|(_, value)| value != first);
        let about = said.iter().map(|(id, value)| {
            let value = airlock_sdk::prompt::cut_end(&value.to_string(), 100);
            format!("`{id}` says {value}")
        });
        let about: Vec<String> = about.collect();
        differs.then(|| Conflict {
            about: format!("`{place}` has to be the same: {}", about.join(", ")),
            between: said.iter().map(|(id, _)| id.clone()).collect(),
        })
    };
    let all = places.iter().filter_map(of_place);
    all.filter(|conflict| !settled.is_decided(conflict))
        .collect()
}
