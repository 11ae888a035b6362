//! What the agents of patterns (`react`, `planner`, `supervisor`, `verifier`) share:
//! how they check what they are given, have a model answer with a step that can be
//! done, have work done side by side, and keep what was reached.
//!
//! What must stay true: what a model answers is done only when nothing is wrong with
//! it, it is asked again a bounded number of times, and no more is under way at once
//! than was allowed.

mod input;
mod prompts;
mod step;
mod value;
mod work;

pub use input::{answer_tokens, at_most, goal, schema, within, wrong};
pub use step::{Asked, REPAIRS, next_step};
pub use value::{size, sized, text};
pub use work::{ERROR_BYTES_MAX, Queue, Started, gave_up, keep, side_by_side};
