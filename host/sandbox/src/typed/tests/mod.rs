//! The JSON form of WIT types: tables of cases, random types and values, and
//! hostile input.

mod component;
mod fuzz;
mod guest;
mod names;
mod numbers;
mod schema_check;
mod table;
mod wit;

use wasmtime::component::Val;

use super::{LiftError, Ty, lift, lower};
use crate::limits::ByteSize;

const BUDGET: ByteSize = ByteSize(1 << 20);

fn lift(ty: &Ty, json: &str) -> Result<Val, LiftError> {
    lift::value(ty, json, BUDGET)
}

fn lower(ty: &Ty, val: &Val) -> String {
    lower::value(ty, val, 1 << 24).expect("the value is of its type")
}
