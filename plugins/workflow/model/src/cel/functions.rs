//! Functions of expressions: CEL's own, those of its extensions for text and
//! lists, and three for JSON.

use std::borrow::Cow;

use serde_json::{Number, Value};

use super::eval::{Cost, equal, order, text_of};
use super::{Type, what};
use crate::problem::instead;

/// A function that an expression calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Size,
    String,
    Int,
    Double,
    Contains,
    StartsWith,
    EndsWith,
    LowerAscii,
    UpperAscii,
    Trim,
    Replace,
    Split,
    Join,
    Substring,
    IndexOf,
    Flatten,
    Distinct,
    Sort,
    Reverse,
    Sum,
    Min,
    Max,
    Keys,
    FromJson,
    ToJson,
}

/// Name, arguments (what a method is called on counted), and what it gives.
pub(crate) struct Signature {
    pub(crate) name: &'static str,
    function: Function,
    least: usize,
    most: usize,
    /// Whether it is written `f(x)`; else `x.f()` alone.
    free: bool,
}

const fn method(name: &'static str, function: Function, least: usize, most: usize) -> Signature {
    Signature {
        name,
        function,
        least,
        most,
        free: false,
    }
}

const fn free(name: &'static str, function: Function) -> Signature {
    Signature {
        name,
        function,
        least: 1,
        most: 1,
        free: true,
    }
}

pub(crate) const FUNCTIONS: [Signature; 25] = [
    free("size", Function::Size),
    free("string", Function::String),
    free("int", Function::Int),
    free("double", Function::Double),
    method("contains", Function::Contains, 2, 2),
    method("startsWith", Function::StartsWith, 2, 2),
    method("endsWith", Function::EndsWith, 2, 2),
    method("lowerAscii", Function::LowerAscii, 1, 1),
    method("upperAscii", Function::UpperAscii, 1, 1),
    method("trim", Function::Trim, 1, 1),
    method("replace", Function::Replace, 3, 3),
    method("split", Function::Split, 2, 2),
    method("join", Function::Join, 1, 2),
    method("substring", Function::Substring, 2, 3),
    method("indexOf", Function::IndexOf, 2, 2),
    method("flatten", Function::Flatten, 1, 1),
    method("distinct", Function::Distinct, 1, 1),
    method("sort", Function::Sort, 1, 1),
    method("reverse", Function::Reverse, 1, 1),
    free("sum", Function::Sum),
    free("min", Function::Min),
    free("max", Function::Max),
    free("keys", Function::Keys),
    free("fromJson", Function::FromJson),
    free("toJson", Function::ToJson),
];

/// The function of a name, for so many arguments.
pub(super) fn function(name: &str, arguments: usize, method: bool) -> Result<Function, String> {
    let Some(found) = FUNCTIONS.iter().find(|known| known.name == name) else {
        let known = FUNCTIONS.iter().map(|known| known.name);
        let macros = ["has", "all", "exists", "exists_one", "filter", "map"];
        return Err(format!(
            "there is no function `{name}`: {}",
            instead(name, known.chain(macros))
        ));
    };
    if !method && !found.free {
        return Err(format!(
            "`{name}` is called on a value: write `x.{name}(…)`"
        ));
    }
    if arguments < found.least || arguments > found.most {
        let (least, most) = (
            found.least - usize::from(method),
            found.most - usize::from(method),
        );
        let count = if least == most {
            least.to_string()
        } else {
            format!("{least} or {most}")
        };
        return Err(format!("`{name}` takes {count} arguments"));
    }
    Ok(found.function)
}

impl Function {
    pub(crate) fn name(self) -> &'static str {
        let found = FUNCTIONS.iter().find(|known| known.function == self);
        found.map_or("", |known| known.name)
    }

    /// What it gives.
    pub(super) fn gives(self) -> Type {
        match self {
            Self::Size | Self::Int | Self::IndexOf => Type::Int,
            Self::Double => Type::Number,
            Self::String
            | Self::LowerAscii
            | Self::UpperAscii
            | Self::Trim
            | Self::Replace
            | Self::Join
            | Self::Substring
            | Self::ToJson => Type::Text,
            Self::Contains | Self::StartsWith | Self::EndsWith => Type::Bool,
            Self::Split | Self::Keys => Type::List(Box::new(Type::Text)),
            Self::Flatten | Self::Distinct | Self::Sort | Self::Reverse => {
                Type::List(Box::new(Type::Any))
            }
            Self::Sum | Self::Min | Self::Max | Self::FromJson => Type::Any,
        }
    }

    /// What it is called on, or its one argument: a text, a list, or anything.
    pub(super) fn takes(self) -> Type {
        match self {
            Self::Contains
            | Self::StartsWith
            | Self::EndsWith
            | Self::LowerAscii
            | Self::UpperAscii
            | Self::Trim
            | Self::Replace
            | Self::Split
            | Self::Substring
            | Self::IndexOf
            | Self::FromJson => Type::Text,
            Self::Join
            | Self::Flatten
            | Self::Distinct
            | Self::Sort
            | Self::Reverse
            | Self::Sum
            | Self::Min
            | Self::Max => Type::List(Box::new(Type::Any)),
            Self::Size | Self::String | Self::Int | Self::Double | Self::ToJson | Self::Keys => {
                Type::Any
            }
        }
    }

    /// Calls it.
    pub(super) fn call(
        self,
        arguments: &[Cow<'_, Value>],
        cost: &mut Cost,
    ) -> Result<Value, String> {
        for argument in arguments {
            cost.looked_at(argument)?;
        }
        match self {
            Self::Flatten
            | Self::Distinct
            | Self::Sort
            | Self::Reverse
            | Self::Sum
            | Self::Min
            | Self::Max
            | Self::Join => self.of_list(arguments, cost),
            Self::Size
            | Self::String
            | Self::Int
            | Self::Double
            | Self::ToJson
            | Self::Keys
            | Self::FromJson => self.of_any(&arguments[0]),
            _ => self.of_text(arguments, cost),
        }
    }

    fn of_any(self, value: &Value) -> Result<Value, String> {
        let wrong = || format!("`{}` can't take {}", self.name(), what(value));
        match (self, value) {
            (Self::Size, Value::String(text)) => Ok(text.chars().count().into()),
            (Self::Size, Value::Array(items)) => Ok(items.len().into()),
            (Self::Size, Value::Object(members)) => Ok(members.len().into()),
            (Self::Keys, Value::Object(members)) => {
                Ok(members.keys().cloned().map(Value::String).collect())
            }
            (Self::String, Value::String(_) | Value::Number(_) | Value::Bool(_)) => {
                Ok(text_of(value).into())
            }
            (Self::ToJson, value) => Ok(value.to_string().into()),
            (Self::FromJson, Value::String(text)) => {
                serde_json::from_str(text).map_err(|error| format!("the text is no JSON: {error}"))
            }
            (Self::Int, Value::Number(number)) => {
                whole(number).ok_or_else(|| format!("{number} is too large for `int`"))
            }
            (Self::Int, Value::String(text)) => {
                let number: Result<i64, _> = text.parse();
                number
                    .map(Value::from)
                    .map_err(|_| "the text is no whole number".to_owned())
            }
            (Self::Double, Value::Number(number)) => Ok(number.as_f64().unwrap_or_default().into()),
            (Self::Double, Value::String(text)) => {
                let number = text.parse::<f64>().ok().and_then(Number::from_f64);
                number
                    .map(Value::Number)
                    .ok_or_else(|| "the text is no number".to_owned())
            }
            _ => Err(wrong()),
        }
    }

    fn of_text(self, arguments: &[Cow<'_, Value>], cost: &mut Cost) -> Result<Value, String> {
        let text = |at: usize| match arguments.get(at).map(|value| &**value) {
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(other) => Err(format!(
                "`{}` takes texts, and this is {}",
                self.name(),
                what(other)
            )),
            None => Ok(""),
        };
        let of = text(0)?;
        if self == Self::Substring {
            return substring(of, &arguments[1..]);
        }
        Ok(match self {
            Self::Contains => of.contains(text(1)?).into(),
            Self::StartsWith => of.starts_with(text(1)?).into(),
            Self::EndsWith => of.ends_with(text(1)?).into(),
            Self::LowerAscii => of.to_ascii_lowercase().into(),
            Self::UpperAscii => of.to_ascii_uppercase().into(),
            Self::Trim => of.trim().into(),
            Self::IndexOf => {
                let found = of.find(text(1)?).map(|at| of[..at].chars().count());
                found.map_or(Value::from(-1), Value::from)
            }
            Self::Replace => {
                let (from, to) = (text(1)?, text(2)?);
                let often = if from.is_empty() {
                    of.len() + 1
                } else {
                    of.matches(from).count()
                };
                cost.bytes(of.len() + often * to.len())?;
                of.replace(from, to).into()
            }
            Self::Split => {
                let parts = of.split(text(1)?);
                let parts: Vec<Value> = parts.map(Value::from).collect();
                cost.spend(parts.len())?;
                parts.into()
            }
            _ => return Err(format!("`{}` can't be called", self.name())),
        })
    }

    fn of_list(self, arguments: &[Cow<'_, Value>], cost: &mut Cost) -> Result<Value, String> {
        let Value::Array(items) = &*arguments[0] else {
            return Err(format!(
                "`{}` takes a list, and this is {}",
                self.name(),
                what(&arguments[0])
            ));
        };
        match self {
            Self::Reverse => Ok(items.iter().rev().cloned().collect()),
            Self::Flatten => Ok(flatten(items)),
            Self::Distinct => distinct(items, cost),
            Self::Sort => sort(items, cost),
            Self::Sum => items.iter().try_fold(Value::from(0), |sum, item| {
                super::eval::arithmetic(super::Op::Add, &sum, item)
            }),
            Self::Min | Self::Max => extreme(items, self == Self::Max),
            _ => join(items, arguments.get(1).map(|value| &**value), cost),
        }
    }
}

fn whole(number: &Number) -> Option<Value> {
    if let Some(whole) = number.as_i64() {
        return Some(whole.into());
    }
    let float = number.as_f64()?.trunc();
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&float);
    fits.then(|| Value::from(float as i64))
}

fn substring(text: &str, bounds: &[Cow<'_, Value>]) -> Result<Value, String> {
    let bound = |at: usize| match bounds.get(at).map(|value| value.as_u64()) {
        Some(Some(bound)) => Ok(Some(usize::try_from(bound).unwrap_or(usize::MAX))),
        Some(None) => Err("`substring` takes places from 0".to_owned()),
        None => Ok(None),
    };
    let count = text.chars().count();
    let (from, to) = (bound(0)?.unwrap_or(0), bound(1)?.unwrap_or(count));
    match from <= to && to <= count {
        true => Ok(text
            .chars()
            .skip(from)
            .take(to - from)
            .collect::<String>()
            .into()),
        false => Err(format!(
            "the text has {count} characters, and {from} to {to} is none of its parts"
        )),
    }
}

fn flatten(items: &[Value]) -> Value {
    let mut all = Vec::new();
    for item in items {
        match item {
            Value::Array(items) => all.extend(items.iter().cloned()),
            other => all.push(other.clone()),
        }
    }
    all.into()
}

fn distinct(items: &[Value], cost: &mut Cost) -> Result<Value, String> {
    let mut all: Vec<Value> = Vec::new();
    for item in items {
        let mut known = false;
        for other in &all {
            cost.looked_at(other)?;
            known = known || equal(other, item);
        }
        if !known {
            all.push(item.clone());
        }
    }
    Ok(all.into())
}

fn sort(items: &[Value], cost: &mut Cost) -> Result<Value, String> {
    if let Some((left, right)) = items
        .iter()
        .zip(items.iter().skip(1))
        .find(|(left, right)| order(left, right).is_none())
    {
        return Err(format!("{} and {} have no order", what(left), what(right)));
    }
    cost.spend(items.len().saturating_mul(usize::BITS as usize))?;
    let mut sorted = items.to_vec();
    sorted.sort_by(|left, right| order(left, right).unwrap_or(std::cmp::Ordering::Equal));
    Ok(sorted.into())
}

fn extreme(items: &[Value], most: bool) -> Result<Value, String> {
    let mut found: Option<&Value> = None;
    for item in items {
        let Some(best) = found else {
            found = Some(item);
            continue;
        };
        let order = order(item, best)
            .ok_or_else(|| format!("{} and {} have no order", what(item), what(best)))?;
        if order
            == if most {
                std::cmp::Ordering::Greater
            } else {
                std::cmp::Ordering::Less
            }
        {
            found = Some(item);
        }
    }
    found
        .cloned()
        .ok_or_else(|| "an empty list has no least and no most".to_owned())
}

fn join(items: &[Value], between: Option<&Value>, cost: &mut Cost) -> Result<Value, String> {
    let between = match between {
        None => "",
        Some(Value::String(text)) => text,
        Some(other) => {
            return Err(format!(
                "`join` takes a text between, and this is {}",
                what(other)
            ));
        }
    };
    let mut text = String::new();
    for (index, item) in items.iter().enumerate() {
        let Value::String(item) = item else {
            return Err(format!(
                "`join` takes a list of texts, and item {index} is {}",
                what(item)
            ));
        };
        cost.bytes(item.len() + between.len())?;
        if index > 0 {
            text.push_str(between);
        }
        text.push_str(item);
    }
    Ok(text.into())
}
