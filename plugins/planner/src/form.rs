//! What the model answers with, and what is wrong with it.

use std::collections::BTreeSet;

use airlock_sdk::prelude::*;
use airlock_sdk::prompt::cut_end;
use airlock_sdk::schema;
use serde_json::{Value, json};

use crate::pointers::needs;
use crate::tasks::Tasks;

const ID_BYTES_MAX: usize = 40;
const GOAL_BYTES_MAX: usize = 4 << 10;

/// An answer: one of the three.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    /// A sentence on why, for the log.
    #[serde(default)]
    pub(crate) why: String,
    #[serde(default)]
    pub(crate) tasks: Vec<NewTask>,
    #[serde(default)]
    pub(crate) result: Option<Value>,
    #[serde(default)]
    pub(crate) give_up: Option<String>,
}

/// A task as the model writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTask {
    pub(crate) id: String,
    pub(crate) goal: String,
    #[serde(default)]
    pub(crate) after: Vec<String>,
    #[serde(default)]
    pub(crate) tool: Option<String>,
    #[serde(default)]
    pub(crate) input: Option<Value>,
}

/// The schema of an answer, with the result's inside.
pub(crate) fn schema_of(output: Option<Value>) -> Value {
    let result = match output {
        Some(output) => schema::moved(output, "/properties/result"),
        None => json!({ "description": "The result of the goal." }),
    };
    let text = |about: &str| json!({ "type": "string", "description": about });
    let task = json!({ "type": "object", "required": ["id", "goal"], "additionalProperties": false,
        "properties": {
            "id": text("Letters, digits, - and _; never used again."),
            "goal": text("What is to be reached, and what the result has to hold."),
            "after": { "type": "array", "items": { "type": "string" },
                "description": "The tasks whose results it needs." },
            "tool": text("One call of this tool instead of an agent."),
            "input": { "type": "object", "description": "The tool's input." } } });
    json!({ "type": "object", "additionalProperties": false, "properties": {
        "why": text("One sentence."),
        "tasks": { "type": "array", "items": task },
        "result": result,
        "give_up": text("Why the goal can't be reached.") } })
}

impl Step {
    /// What is wrong with it, for the model; nothing: it can be done.
    pub(crate) fn problems(&self, tasks: &Tasks, tools: &[String]) -> Vec<String> {
        let given = [
            !self.tasks.is_empty(),
            self.result.is_some(),
            self.give_up.is_some(),
        ];
        if given.iter().filter(|given| **given).count() != 1 {
            return vec!["- exactly one of `tasks`, `result` and `give_up`".to_owned()];
        }
        let mut problems = Vec::new();
        if self.tasks.len() > tasks.left() {
            problems.push(format!("- at most {} tasks are left", tasks.left()));
        }
        let ids: Vec<&str> = self.tasks.iter().map(|task| &*task.id).collect();
        for (at, task) in self.tasks.iter().enumerate() {
            let id = cut_end(&task.id, ID_BYTES_MAX);
            let twice = ids[..at].contains(&&*task.id);
            let of_task = task.problem(twice, &ids, tasks, tools);
            problems.extend(of_task.map(|problem| format!("- the task `{id}`: {problem}")));
        }
        if problems.is_empty() && has_circle(&self.tasks) {
            problems.push("- the tasks wait for one another in a circle".to_owned());
        }
        problems
    }
}

impl NewTask {
    fn problem(
        &self,
        twice: bool,
        new: &[&str],
        tasks: &Tasks,
        tools: &[String],
    ) -> Option<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if self.id.is_empty() || self.id.len() > ID_BYTES_MAX || !self.id.chars().all(plain) {
            return Some(format!(
                "an id is 1 to {ID_BYTES_MAX} letters, digits, `-` and `_`"
            ));
        }
        if twice || tasks.knows(&self.id) {
            return Some("there is one with this id already".to_owned());
        }
        if self.goal.trim().is_empty() || self.goal.len() > GOAL_BYTES_MAX {
            return Some(format!("a goal has 1 to {GOAL_BYTES_MAX} bytes"));
        }
        for id in &self.after {
            if !new.contains(&id.as_str()) && !tasks.is_done(id) {
                return Some(format!(
                    "it is after `{}`, which is no new task and none that is done",
                    cut_end(id, ID_BYTES_MAX)
                ));
            }
        }
        match (&self.tool, &self.input) {
            (Some(tool), _) if !tools.contains(tool) => {
                Some(format!("there is no tool `{}` for it", cut_end(tool, 100)))
            }
            (Some(_), Some(input)) if !input.is_object() => {
                Some("the input of a tool is an object".to_owned())
            }
            (Some(_), Some(input)) => {
                let missing = needs(input).into_iter().find(|id| !self.after.contains(id));
                missing
                    .map(|id| format!("its input needs `{}`: put it in `after`", cut_end(&id, 100)))
            }
            (None, Some(_)) => Some("it has an input and no tool".to_owned()),
            (_, None) => None,
        }
    }
}

/// Whether some tasks can never begin.
fn has_circle(tasks: &[NewTask]) -> bool {
    let mut waiting: BTreeSet<&str> = tasks.iter().map(|task| &*task.id).collect();
    loop {
        let free = tasks.iter().filter(|task| {
            let waits = task.after.iter().any(|id| waiting.contains(id.as_str()));
            waiting.contains(&*task.id) && !waits
        });
        let free: Vec<&str> = free.map(|task| &*task.id).collect();
        if free.is_empty() {
            return !waiting.is_empty();
        }
        waiting.retain(|id| !free.contains(id));
    }
}
