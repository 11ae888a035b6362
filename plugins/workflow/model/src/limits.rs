//! How large a workflow may be. What is over one of these is refused, with the
//! number, before anything runs; or, where only a run can know, ends the run.

/// Bytes of a file.
pub const FILE_BYTES_MAX: usize = 256 << 10;
/// Keys, values and list items of a file, those that aliases repeat counted.
pub const NODES_MAX: usize = 20_000;
/// Bytes of a text that count as one value more.
pub const TEXT_BYTES_A_NODE: usize = 64;
/// Lists and maps inside one another, those that aliases repeat counted.
pub const DEPTH_MAX: usize = 40;
/// Problems that are told at once.
pub const PROBLEMS_MAX: usize = 100;
/// Steps of one workflow: as many as a run's plan can show.
pub const STEPS_MAX: usize = 200;
/// Sub-workflows of a file.
pub const WORKFLOWS_MAX: usize = 50;
/// Sub-workflows inside one another.
pub const WORKFLOW_DEPTH_MAX: usize = 8;
/// Characters of a step's id and other names.
pub const NAME_CHARS_MAX: usize = 64;
/// Bytes of one expression.
pub const EXPRESSION_BYTES_MAX: usize = 8 << 10;
/// Expressions inside one another.
pub const EXPRESSION_DEPTH_MAX: usize = 48;
/// What evaluating all expressions of one value may cost: parts looked at, and
/// 16 bytes of text each.
pub const COST_MAX: u64 = 2_000_000;
/// Bytes of one value that expressions make.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Bytes of all outputs that a run keeps.
pub const OUTPUTS_BYTES_MAX: usize = 16 << 20;
/// Items of one loop.
pub const ITEMS_MAX: usize = 5_000;
/// Steps, or items of a loop, under way at once.
pub const PARALLEL_MAX: u64 = 64;
/// Steps under way at once unless the workflow says otherwise.
pub const PARALLEL_DEFAULT: u64 = 8;
/// Attempts at a step.
pub const ATTEMPTS_MAX: u64 = 100;
/// The longest duration, milliseconds: ten years.
pub const DURATION_MS_MAX: u64 = 10 * 365 * 24 * 3_600_000;
