//! Components without an Airlock world: each exported function is a tool, its
//! schema comes from its WIT types, and JSON is converted to and from component
//! values. One JSON form for each type, stated in [`ty::Ty`].
//!
//! What must stay true: the JSON form of a type is unambiguous, what is built
//! from a guest's or a caller's data is counted before it is allocated, and a
//! type that has no JSON form is refused at install.

pub mod call;
pub mod json;
mod lift;
mod lower;
mod names;
mod scalar;
mod schema;
pub mod ty;

#[cfg(test)]
mod tests;

pub use self::call::{TypedTool, TypedTools};
pub use self::lift::{LiftError, Problem};
pub use self::lower::LowerError;
pub use self::ty::Ty;
