//! Declarative workflows: what a file says, and what is wrong with it.
//!
//! ```
//! let file = "\
//! inputs:
//!   month: { type: string }
//! steps:
//!   - id: list
//!     tool: files/list
//!     with: { path: '/invoices/${{ input.month }}' }
//!   - id: sum
//!     value: ${{ sum(steps.list.output.map(file, file.size)) }}
//! outputs:
//!   bytes: ${{ steps.sum.output }}
//! ";
//! let workflow = airlock_workflow::check(file).unwrap();
//! assert_eq!(workflow.main.steps[1].needs, [0]);
//!
//! let problems = airlock_workflow::check(&file.replace("steps.sum", "steps.som")).unwrap_err();
//! assert_eq!(problems[0].to_string(), "10:20: there is no `som`: did you mean `sum`?");
//! ```
//!
//! It has no effects: the agent `workflow` runs what was read, and the command line
//! says what is wrong. What must stay true: any text is read or refused, within the
//! [`limits`]; all that is wrong is told at once, each with its place.

pub mod backfill;
mod cel;
mod check;
mod keys;
pub mod limits;
mod model;
mod problem;
mod read;
mod schema;
mod template;
pub mod time;
mod yaml;

use serde_json::Value;

pub use cel::{Cost, Scope};
pub use keys::published;
pub use model::{
    Action, AgentAction, Approval, Block, Budget, Compensate, ModelAction, OnChoice, OnDue,
    OnError, Output, Retry, Step, Trigger, Wait, Workflow,
};
pub use problem::{Place, Problem};
pub use schema::Schema;
pub use template::{Expression, Part, Template};

/// Reads and checks a file, YAML or JSON.
///
/// # Errors
/// All that is wrong with it, in the order of the file.
pub fn check(text: &str) -> Result<Workflow, Vec<Problem>> {
    // What some editors put before a file.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = yaml::without_surrogates(text);
    let root = yaml::read(&text).map_err(|problem| vec![problem])?;
    checked(&text, &root)
}

fn checked(text: &str, root: &yaml::Node) -> Result<Workflow, Vec<Problem>> {
    let problems = problem::Problems::default();
    let mut reader = read::Reader {
        source: text,
        problems,
    };
    let draft = reader.file(root);
    let mut problems = reader.problems;
    let workflow = check::check(draft, &mut problems);
    match problems.is_empty() {
        true => Ok(workflow),
        false => Err(problems.into_sorted()),
    }
}

/// Reads and checks a workflow that is a JSON value.
///
/// # Errors
/// All that is wrong with it, as `path: message`.
pub fn check_value(value: &Value) -> Result<Workflow, Vec<String>> {
    let text = format!("{value:#}");
    let root = yaml::read(&text).map_err(|problem| vec![problem.message])?;
    checked(&text, &root).map_err(|problems| {
        let problems = problems.into_iter();
        problems
            .map(|problem| format!("{}: {}", yaml::path_at(&root, problem.at), problem.message))
            .collect()
    })
}

#[cfg(test)]
mod tests;
