//! What the model answers with, and what is wrong with it.

use airlock_sdk::prelude::*;
use airlock_sdk::prompt::cut_end;
use airlock_sdk::schema;
use serde_json::{Value, json};

use crate::conflicts::Conflict;
use crate::parts::Parts;

const ID_BYTES_MAX: usize = 40;
const GOAL_BYTES_MAX: usize = 4 << 10;
const CONFLICTS_MAX: usize = 8;
const ABOUT_BYTES_MAX: usize = 1 << 10;

/// An answer: one of the four.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    /// A sentence on why, for the log.
    #[serde(default)]
    pub(crate) why: String,
    #[serde(default)]
    pub(crate) parts: Vec<NewPart>,
    #[serde(default)]
    pub(crate) conflicts: Vec<Conflict>,
    #[serde(default)]
    pub(crate) result: Option<Value>,
    #[serde(default)]
    pub(crate) give_up: Option<String>,
}

/// A part as the model writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPart {
    pub(crate) id: String,
    pub(crate) specialist: String,
    pub(crate) goal: String,
}

/// The schema of an answer, with the result's inside.
pub(crate) fn schema_of(output: Option<Value>, specialists: &[&str]) -> Value {
    let result = match output {
        Some(output) => schema::moved(output, "/properties/result"),
        None => json!({ "description": "The result of the goal." }),
    };
    let text = |about: &str| json!({ "type": "string", "description": about });
    let part = json!({ "type": "object", "required": ["id", "specialist", "goal"],
        "additionalProperties": false, "properties": {
            "id": text("Letters, digits, - and _; never used again."),
            "specialist": { "type": "string", "enum": specialists },
            "goal": text("What is to be found out or done, and what the result has to hold.") } });
    let conflict = json!({ "type": "object", "required": ["about", "between"],
        "additionalProperties": false, "properties": {
            "about": text("What they do not agree on."),
            "between": { "type": "array", "items": { "type": "string" },
                "description": "The ids of the parts that contradict one another." } } });
    json!({ "type": "object", "additionalProperties": false, "properties": {
        "why": text("One sentence."),
        "parts": { "type": "array", "items": part },
        "conflicts": { "type": "array", "items": conflict },
        "result": result,
        "give_up": text("Why the goal can't be reached.") } })
}

impl Step {
    /// What is wrong with it, for the model; nothing: it can be done.
    pub(crate) fn problems(&self, parts: &Parts, specialists: &[&str]) -> Vec<String> {
        let given = [
            !self.parts.is_empty(),
            !self.conflicts.is_empty(),
            self.result.is_some(),
            self.give_up.is_some(),
        ];
        if given.iter().filter(|given| **given).count() != 1 {
            return vec![
                "- exactly one of `parts`, `conflicts`, `result` and `give_up`".to_owned(),
            ];
        }
        let mut problems = Vec::new();
        if self.result.is_some() && !parts.any_done() {
            problems.push("- a result rests on parts, and none is done".to_owned());
        }
        if self.parts.len() > parts.left() {
            problems.push(format!("- at most {} parts are left", parts.left()));
        }
        for (at, part) in self.parts.iter().enumerate() {
            let twice = self.parts[..at].iter().any(|other| other.id == part.id);
            let id = cut_end(&part.id, ID_BYTES_MAX);
            let of_part = part.problem(twice || parts.knows(&part.id), specialists);
            problems.extend(of_part.map(|problem| format!("- the part `{id}`: {problem}")));
        }
        if self.conflicts.len() > CONFLICTS_MAX {
            problems.push(format!("- at most {CONFLICTS_MAX} conflicts at once"));
        }
        let of_conflicts = self.conflicts.iter().filter_map(|conflict| {
            let about = cut_end(&conflict.about, 100);
            let problem = problem_of(conflict, parts)?;
            Some(format!("- the conflict «{about}»: {problem}"))
        });
        problems.extend(of_conflicts);
        problems
    }
}

impl NewPart {
    fn problem(&self, known: bool, specialists: &[&str]) -> Option<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if self.id.is_empty() || self.id.len() > ID_BYTES_MAX || !self.id.chars().all(plain) {
            return Some(format!(
                "an id is 1 to {ID_BYTES_MAX} letters, digits, `-` and `_`"
            ));
        }
        if known {
            return Some("there is one with this id already".to_owned());
        }
        if !specialists.contains(&&*self.specialist) {
            let name = cut_end(&self.specialist, 100);
            return Some(format!("there is no specialist `{name}`"));
        }
        let fits = !self.goal.trim().is_empty() && self.goal.len() <= GOAL_BYTES_MAX;
        (!fits).then(|| format!("a goal has 1 to {GOAL_BYTES_MAX} bytes"))
    }
}

fn problem_of(conflict: &Conflict, parts: &Parts) -> Option<String> {
    let between = &conflict.between;
    if conflict.about.trim().is_empty() || conflict.about.len() > ABOUT_BYTES_MAX {
        return Some(format!("`about` has 1 to {ABOUT_BYTES_MAX} bytes"));
    }
    if let Some(id) = between.iter().find(|id| !parts.is_done(id)) {
        return Some(format!("`{}` is no part that is done", cut_end(id, 100)));
    }
    let twice = (0..between.len()).any(|at| between[..at].contains(&between[at]));
    (twice || between.len() < 2).then(|| "it is between two parts or more".to_owned())
}
