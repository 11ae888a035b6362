//! Expressions: the part of CEL (the Common Expression Language) that works on
//! JSON, with a count of what evaluating costs.
//!
//! What must stay true: an expression sees what it is given and nothing else; it
//! ends, since there are no loops but over lists, and each part of a value that is
//! looked at or made is paid for; the same scope gives the same value.

mod eval;
mod functions;
mod lex;
mod parse;
mod refs;
mod types;

use std::borrow::Cow;

use serde_json::Value;

pub(crate) use eval::text_of;
pub use eval::{Cost, Scope};
pub(crate) use functions::Function;
pub(crate) use parse::{end_of, parse};
pub(crate) use refs::{Ref, refs};
pub(crate) use types::{Env, Type, infer};

/// Something wrong in an expression: how many bytes from its beginning, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Bytes from the beginning of the expression.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
}

pub(crate) fn fault<T>(offset: usize, message: impl Into<String>) -> Result<T, Fault> {
    let message = message.into();
    Err(Fault { offset, message })
}

/// A part of an expression.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    /// Bytes from the beginning.
    pub(crate) at: usize,
    /// Of the tree below it.
    depth: usize,
    pub(crate) kind: ExprKind,
}

#[derive(Clone, Debug)]
pub(crate) enum ExprKind {
    Literal(Value),
    Ident(String),
    Field(Box<Expr>, String),
    Index(Box<Expr>, Box<Expr>),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Binary(Op, Box<Expr>, Box<Expr>),
    Choice(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `has(x.name)`.
    Has(Box<Expr>, String),
    Call(Function, Vec<Expr>),
    Each(Box<Each>),
}

/// A macro that goes over a list, or over the keys of a map.
#[derive(Clone, Debug)]
pub(crate) struct Each {
    pub(crate) what: EachKind,
    pub(crate) over: Expr,
    pub(crate) name: String,
    /// Only of `map` with three arguments.
    pub(crate) only: Option<Expr>,
    pub(crate) body: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EachKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Op {
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Or => "||",
            Self::And => "&&",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::More => ">",
            Self::MoreOrEqual => ">=",
            Self::In => "in",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }

    /// How tightly it binds.
    fn power(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::LessOrEqual
            | Self::More
            | Self::MoreOrEqual
            | Self::In => 3,
            Self::Add | Self::Subtract => 4,
            Self::Multiply | Self::Divide | Self::Remainder => 5,
        }
    }
}

/// What an expression gives.
pub(crate) fn evaluate<'a>(
    expr: &'a Expr,
    scope: &'a Scope<'a>,
    cost: &mut Cost,
) -> Result<Cow<'a, Value>, Fault> {
    eval::evaluate(expr, scope, cost)
}

/// What a value is called in messages.
pub(crate) fn what(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

#[cfg(test)]
mod tests;
