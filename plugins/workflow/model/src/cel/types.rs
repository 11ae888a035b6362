//! What can be known of an expression's type before anything runs. What can't be
//! known is `Any`, and no problem.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Each, EachKind, Expr, ExprKind, Fault, Op};
use crate::problem::instead;

/// What kind of value something is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Type {
    Any,
    Null,
    Bool,
    Int,
    Number,
    Text,
    List(Box<Type>),
    /// Its members, and whether there may be others.
    Map(BTreeMap<String, Type>, bool),
}

impl Type {
    pub(crate) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(number) if number.is_f64() => Self::Number,
            Value::Number(_) => Self::Int,
            Value::String(_) => Self::Text,
            Value::Array(_) => Self::List(Box::new(Self::Any)),
            Value::Object(members) => {
                let members = members
                    .iter()
                    .map(|(name, value)| (name.clone(), Self::of(value)));
                Self::Map(members.collect(), false)
            }
        }
    }

    pub(crate) fn what(&self) -> &'static str {
        match self {
            Self::Any => "anything",
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Int => "a whole number",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::List(_) => "a list",
            Self::Map(..) => "a map",
        }
    }

    /// Whether a value of this type may be one of the other; in doubt it may.
    pub(crate) fn may_be(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            // A number may turn out to be whole.
            (Self::Int | Self::Number, Self::Int | Self::Number) => true,
            (Self::List(left), Self::List(right)) => left.may_be(right),
            (Self::Map(left, open), Self::Map(right, other_open)) => {
                let common = left.iter().all(|(name, one)| match right.get(name) {
                    Some(other) => one.may_be(other),
                    None => *other_open,
                });
                common && (*open || right.keys().all(|name| left.contains_key(name)))
            }
            (left, right) => left == right,
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Any | Self::Int | Self::Number)
    }
}

/// The types of names.
pub(crate) type Env = BTreeMap<String, Type>;

/// The type of an expression; what can't be is added to `faults`.
pub(crate) fn infer(expr: &Expr, env: &Env, faults: &mut Vec<Fault>) -> Type {
    let locals = Vec::new();
    Infer {
        env,
        locals,
        faults,
    }
    .of(expr)
}

struct Infer<'a> {
    env: &'a Env,
    locals: Vec<(String, Type)>,
    faults: &'a mut Vec<Fault>,
}

impl Infer<'_> {
    fn fault(&mut self, offset: usize, message: impl Into<String>) -> Type {
        let message = message.into();
        self.faults.push(Fault { offset, message });
        Type::Any
    }

    fn of(&mut self, expr: &Expr) -> Type {
        match &expr.kind {
            ExprKind::Literal(value) => Type::of(value),
            ExprKind::Ident(name) => self.name(expr.at, name),
            ExprKind::Field(of, name) => {
                let of = self.of(of);
                self.member(expr.at, &of, name)
            }
            ExprKind::Has(of, _) => {
                let of = self.of(of);
                if !matches!(of, Type::Any | Type::Map(..)) {
                    self.fault(expr.at, format!("{} has no members", of.what()));
                }
                Type::Bool
            }
            ExprKind::Index(of, index) => self.index(of, index),
            ExprKind::List(items) => {
                let types: Vec<Type> = items.iter().map(|item| self.of(item)).collect();
                Type::List(Box::new(common(types)))
            }
            ExprKind::Map(members) => self.map(members),
            ExprKind::Not(inner) => {
                self.needs(inner, &Type::Bool);
                Type::Bool
            }
            ExprKind::Negative(inner) => self.number(inner),
            ExprKind::Binary(op, left, right) => self.binary(expr.at, *op, left, right),
            ExprKind::Choice(condition, yes, no) => {
                self.needs(condition, &Type::Bool);
                let (yes, no) = (self.of(yes), self.of(no));
                common(vec![yes, no])
            }
            ExprKind::Call(function, arguments) => {
                for (index, argument) in arguments.iter().enumerate() {
                    let found = self.of(argument);
                    let takes = function.takes();
                    if index == 0 && !found.may_be(&takes) {
                        let message = format!(
                            "`{}` takes {}, and this is {}",
                            function.name(),
                            takes.what(),
                            found.what()
                        );
                        self.fault(argument.at, message);
                    }
                }
                function.gives()
            }
            ExprKind::Each(each) => self.each(each),
        }
    }

    fn name(&mut self, at: usize, name: &str) -> Type {
        let local = self.locals.iter().rev().find(|(known, _)| known == name);
        if let Some((_, found)) = local {
            return found.clone();
        }
        match self.env.get(name) {
            Some(found) => found.clone(),
            None => {
                let known = instead(name, self.env.keys().map(String::as_str));
                self.fault(at, format!("there is no `{name}` here: {known}"))
            }
        }
    }

    fn member(&mut self, at: usize, of: &Type, name: &str) -> Type {
        match of {
            Type::Any => Type::Any,
            Type::Map(members, open) => match members.get(name) {
                Some(found) => found.clone(),
                None if *open => Type::Any,
                None => {
                    let known = instead(name, members.keys().map(String::as_str));
                    self.fault(at, format!("there is no `{name}`: {known}"))
                }
            },
            other => self.fault(at, format!("{} has no `{name}`", other.what())),
        }
    }

    fn index(&mut self, of: &Expr, index: &Expr) -> Type {
        let of = self.of(of);
        let by = self.of(index);
        match (&of, &by, &index.kind) {
            (Type::Map(..), _, ExprKind::Literal(Value::String(name))) => {
                self.member(index.at, &of, name)
            }
            (Type::List(item), Type::Int | Type::Number | Type::Any, _) => (**item).clone(),
            (Type::Any, _, _) | (Type::Map(..), Type::Text | Type::Any, _) => Type::Any,
            _ => self.fault(
                index.at,
                format!("{} can't be indexed by {}", of.what(), by.what()),
            ),
        }
    }

    fn map(&mut self, members: &[(Expr, Expr)]) -> Type {
        let mut types = BTreeMap::new();
        let mut open = false;
        for (key, value) in members {
            self.needs(key, &Type::Text);
            let value = self.of(value);
            match &key.kind {
                ExprKind::Literal(Value::String(name)) => {
                    types.insert(name.clone(), value);
                }
                _ => open = true,
            }
        }
        Type::Map(types, open)
    }

    fn needs(&mut self, expr: &Expr, needed: &Type) {
        let found = self.of(expr);
        if !found.may_be(needed) {
            let message = format!(
                "{} is needed here, and this is {}",
                needed.what(),
                found.what()
            );
            self.fault(expr.at, message);
        }
    }

    fn number(&mut self, expr: &Expr) -> Type {
        let found = self.of(expr);
        match found.is_number() {
            true => found,
            false => self.fault(
                expr.at,
                format!("a number is needed here, and this is {}", found.what()),
            ),
        }
    }

    fn binary(&mut self, at: usize, op: Op, left: &Expr, right: &Expr) -> Type {
        if matches!(op, Op::And | Op::Or) {
            self.needs(left, &Type::Bool);
            self.needs(right, &Type::Bool);
            return Type::Bool;
        }
        let (left, right) = (self.of(left), self.of(right));
        let (fits, gives) = match op {
            // What is of two kinds is never equal: that is a mistake, but for null.
            Op::Equal | Op::NotEqual => {
                let null = left == Type::Null || right == Type::Null;
                (
                    null || left.may_be(&right) || right.may_be(&left),
                    Type::Bool,
                )
            }
            Op::In => {
                let fits = match &right {
                    Type::List(item) => left.may_be(item),
                    Type::Map(..) => left.may_be(&Type::Text),
                    other => *other == Type::Any,
                };
                (fits, Type::Bool)
            }
            Op::Less | Op::LessOrEqual | Op::More | Op::MoreOrEqual => {
                (ordered(&left, &right), Type::Bool)
            }
            Op::Add => added(&left, &right),
            _ => (
                left.is_number() && right.is_number(),
                numbers(&left, &right),
            ),
        };
        if !fits {
            let message = format!(
                "`{}` doesn't take {} and {}",
                op.sign(),
                left.what(),
                right.what()
            );
            self.fault(at, message);
        }
        gives
    }

    fn each(&mut self, each: &Each) -> Type {
        let over = self.of(&each.over);
        let item = match over {
            Type::Any => Type::Any,
            Type::List(item) => *item,
            Type::Map(..) => Type::Text,
            other => {
                let message = format!(
                    "a list or a map is needed here, and this is {}",
                    other.what()
                );
                self.fault(each.over.at, message)
            }
        };
        self.locals.push((each.name.clone(), item.clone()));
        if let Some(only) = &each.only {
            self.needs(only, &Type::Bool);
        }
        let body = match each.what {
            EachKind::Map => self.of(&each.body),
            _ => {
                self.needs(&each.body, &Type::Bool);
                Type::Bool
            }
        };
        self.locals.pop();
        match each.what {
            EachKind::Map => Type::List(Box::new(body)),
            EachKind::Filter => Type::List(Box::new(item)),
            _ => Type::Bool,
        }
    }
}

fn ordered(left: &Type, right: &Type) -> bool {
    let kind = |one: &Type| {
        matches!(
            one,
            Type::Any | Type::Int | Type::Number | Type::Text | Type::Bool
        )
    };
    kind(left) && kind(right) && left.may_be(right)
}

fn numbers(left: &Type, right: &Type) -> Type {
    match (left, right) {
        (Type::Int, Type::Int) => Type::Int,
        (Type::Number, Type::Int | Type::Number) | (Type::Int, Type::Number) => Type::Number,
        _ => Type::Any,
    }
}

fn added(left: &Type, right: &Type) -> (bool, Type) {
    match (left, right) {
        (Type::Text, Type::Text | Type::Any) | (Type::Any, Type::Text) => (true, Type::Text),
        (Type::List(left), Type::List(right)) => (
            true,
            Type::List(Box::new(common(vec![(**left).clone(), (**right).clone()]))),
        ),
        (Type::List(_), Type::Any) | (Type::Any, Type::List(_)) => {
            (true, Type::List(Box::new(Type::Any)))
        }
        (left, right) => (left.is_number() && right.is_number(), numbers(left, right)),
    }
}

/// The type of what may be of any of these.
fn common(types: Vec<Type>) -> Type {
    let mut types = types.into_iter();
    let Some(first) = types.next() else {
        return Type::Any;
    };
    types
        .try_fold(first, |all, one| (all == one).then_some(one))
        .unwrap_or(Type::Any)
}
