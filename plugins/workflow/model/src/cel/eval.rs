//! What an expression gives, and what that costs.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::{Each, EachKind, Expr, ExprKind, Fault, Op, fault, what};
use crate::limits::{COST_MAX, VALUE_BYTES_MAX};
use crate::problem::{instead, shown};

/// What may still be spent on evaluating.
#[derive(Clone, Debug)]
pub struct Cost {
    left: u64,
    bytes_left: usize,
}

impl Default for Cost {
    fn default() -> Self {
        Self {
            left: COST_MAX,
            bytes_left: VALUE_BYTES_MAX * 4,
        }
    }
}

const TOO_MUCH: &str = "this takes too much work: use several steps, or a tool";

impl Cost {
    pub(super) fn spend(&mut self, parts: usize) -> Result<(), String> {
        let left = self.left.checked_sub(parts as u64);
        self.left = left.ok_or(TOO_MUCH)?;
        Ok(())
    }

    /// Text or values that are made.
    pub(super) fn bytes(&mut self, bytes: usize) -> Result<(), String> {
        self.spend(bytes / 16 + 1)?;
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.ok_or("this makes too large a value: use a tool")?;
        Ok(())
    }

    /// All of a value.
    pub(super) fn looked_at(&mut self, value: &Value) -> Result<(), String> {
        let mut open = vec![value];
        while let Some(value) = open.pop() {
            match value {
                Value::String(text) => self.spend(text.len() / 16 + 1)?,
                Value::Array(items) => {
                    self.spend(items.len() + 1)?;
                    open.extend(items);
                }
                Value::Object(members) => {
                    self.spend(members.len() + 1)?;
                    open.extend(members.values());
                }
                _ => self.spend(1)?,
            }
        }
        Ok(())
    }

    /// A value that is copied.
    pub(crate) fn copied(&mut self, value: &Value) -> Result<(), String> {
        let mut open = vec![value];
        while let Some(value) = open.pop() {
            match value {
                Value::String(text) => self.bytes(text.len() + 8)?,
                Value::Array(items) => {
                    self.bytes(8)?;
                    self.spend(items.len())?;
                    open.extend(items);
                }
                Value::Object(members) => {
                    self.bytes(members.keys().map(String::len).sum::<usize>() + 8)?;
                    self.spend(members.len())?;
                    open.extend(members.values());
                }
                _ => self.bytes(8)?,
            }
        }
        Ok(())
    }
}

/// The names that an expression sees.
#[derive(Clone, Debug, Default)]
pub struct Scope<'a> {
    names: Vec<(&'a str, &'a Value)>,
}

impl<'a> Scope<'a> {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one name more, before others of that name.
    #[must_use]
    pub fn with(mut self, name: &'a str, value: &'a Value) -> Self {
        self.names.push((name, value));
        self
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        let found = self.names.iter().rev().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }
}

type Given<'a> = Result<Cow<'a, Value>, Fault>;

pub(super) fn evaluate<'a>(expr: &'a Expr, scope: &'a Scope<'a>, cost: &mut Cost) -> Given<'a> {
    let locals = Vec::new();
    Eval {
        scope,
        cost,
        locals,
    }
    .eval(expr)
}

struct Eval<'a, 'c> {
    scope: &'a Scope<'a>,
    cost: &'c mut Cost,
    locals: Vec<(&'a str, Cow<'a, Value>)>,
}

fn owned<'a>(value: impl Into<Value>) -> Given<'a> {
    Ok(Cow::Owned(value.into()))
}

impl<'a> Eval<'a, '_> {
    fn eval(&mut self, expr: &'a Expr) -> Given<'a> {
        let at = |message| Fault {
            offset: expr.at,
            message,
        };
        self.cost.spend(1).map_err(at)?;
        match &expr.kind {
            ExprKind::Literal(value) => Ok(Cow::Borrowed(value)),
            ExprKind::Ident(name) => self.name(expr.at, name),
            ExprKind::Field(of, name) => {
                let of = self.eval(of)?;
                member(of, name).map_err(at)
            }
            ExprKind::Index(of, index) => {
                let (of, index) = (self.eval(of)?, self.eval(index)?);
                indexed(of, &index).map_err(at)
            }
            ExprKind::List(items) => {
                let items: Result<Vec<Value>, Fault> =
                    items.iter().map(|item| self.own(item)).collect();
                owned(items?)
            }
            ExprKind::Map(members) => self.map(members),
            ExprKind::Not(inner) => {
                let value = self.bool(inner)?;
                owned(!value)
            }
            ExprKind::Negative(inner) => {
                let value = self.eval(inner)?;
                negative(&value).map(Cow::Owned).map_err(at)
            }
            ExprKind::Binary(op @ (Op::And | Op::Or), left, right) => {
                self.logic(*op == Op::Or, left, right)
            }
            ExprKind::Binary(op, left, right) => {
                let (left, right) = (self.eval(left)?, self.eval(right)?);
                self.binary(*op, &left, &right).map(Cow::Owned).map_err(at)
            }
            ExprKind::Choice(condition, yes, no) => match self.bool(condition)? {
                true => self.eval(yes),
                false => self.eval(no),
            },
            ExprKind::Has(of, name) => match &*self.eval(of)? {
                Value::Object(members) => owned(members.contains_key(name)),
                other => fault(expr.at, format!("{} has no members", what(other))),
            },
            ExprKind::Call(function, arguments) => {
                let arguments: Result<Vec<_>, _> =
                    arguments.iter().map(|one| self.eval(one)).collect();
                function
                    .call(&arguments?, self.cost)
                    .map(Cow::Owned)
                    .map_err(at)
            }
            ExprKind::Each(each) => self.each(expr.at, each),
        }
    }

    fn name(&mut self, at: usize, name: &str) -> Given<'a> {
        let local = self.locals.iter().rev().find(|(known, _)| *known == name);
        match local {
            Some((_, Cow::Borrowed(value))) => return Ok(Cow::Borrowed(*value)),
            Some((_, Cow::Owned(value))) => {
                let value = value.clone();
                return self.paid(at, value).map(Cow::Owned);
            }
            None => {}
        }
        match self.scope.get(name) {
            Some(value) => Ok(Cow::Borrowed(value)),
            None => fault(at, format!("there is no `{}` here", shown(name))),
        }
    }

    fn paid(&mut self, offset: usize, value: Value) -> Result<Value, Fault> {
        let paid = self.cost.copied(&value);
        paid.map_err(|message| Fault { offset, message })?;
        Ok(value)
    }

    /// A value to put into another one.
    fn own(&mut self, expr: &'a Expr) -> Result<Value, Fault> {
        let value = self.eval(expr)?;
        // Before it is copied.
        let paid = self.cost.copied(&value);
        paid.map_err(|message| Fault {
            offset: expr.at,
            message,
        })?;
        Ok(value.into_owned())
    }

    fn bool(&mut self, expr: &'a Expr) -> Result<bool, Fault> {
        match &*self.eval(expr)? {
            Value::Bool(value) => Ok(*value),
            other => fault(
                expr.at,
                format!("a boolean is needed here, and this is {}", what(other)),
            ),
        }
    }

    fn map(&mut self, members: &'a [(Expr, Expr)]) -> Given<'a> {
        let mut map = Map::new();
        for (key, value) in members {
            let name = match self.own(key)? {
                Value::String(name) => name,
                other => {
                    return fault(
                        key.at,
                        format!("a key is a text, and this is {}", what(&other)),
                    );
                }
            };
            if map.contains_key(&name) {
                return fault(
                    key.at,
                    format!("the key `{}` stands here twice", shown(&name)),
                );
            }
            let value = self.own(value)?;
            map.insert(name, value);
        }
        owned(map)
    }

    /// As CEL has it: one side may fail where the other one decides.
    fn logic(&mut self, decides: bool, left: &'a Expr, right: &'a Expr) -> Given<'a> {
        match self.bool(left) {
            Ok(value) if value == decides => owned(decides),
            Ok(_) => self.bool(right).and_then(owned),
            Err(error) => match self.bool(right) {
                Ok(value) if value == decides => owned(decides),
                _ => Err(error),
            },
        }
    }

    fn binary(&mut self, op: Op, left: &Value, right: &Value) -> Result<Value, String> {
        self.cost.looked_at(left)?;
        self.cost.looked_at(right)?;
        match op {
            Op::Equal => Ok(equal(left, right).into()),
            Op::NotEqual => Ok((!equal(left, right)).into()),
            Op::In => within(left, right),
            Op::Less | Op::LessOrEqual | Op::More | Op::MoreOrEqual => {
                let order = order(left, right).ok_or_else(|| mismatch(op, left, right))?;
                let is = match op {
                    Op::Less => order == Ordering::Less,
                    Op::LessOrEqual => order != Ordering::Greater,
                    Op::More => order == Ordering::Greater,
                    _ => order != Ordering::Less,
                };
                Ok(is.into())
            }
            Op::Add => {
                if let (Value::String(left), Value::String(right)) = (left, right) {
                    self.cost.bytes(left.len() + right.len())?;
                    return Ok(format!("{left}{right}").into());
                }
                if let (Value::Array(left), Value::Array(right)) = (left, right) {
                    let all: Vec<&Value> = left.iter().chain(right).collect();
                    all.iter().try_for_each(|item| self.cost.copied(item))?;
                    return Ok(all.into_iter().cloned().collect());
                }
                arithmetic(op, left, right)
            }
            _ => arithmetic(op, left, right),
        }
    }

    fn each(&mut self, at: usize, each: &'a Each) -> Given<'a> {
        let over = self.eval(&each.over)?;
        let items: Vec<Cow<'a, Value>> = match over {
            Cow::Borrowed(Value::Array(items)) => items.iter().map(Cow::Borrowed).collect(),
            Cow::Owned(Value::Array(items)) => items.into_iter().map(Cow::Owned).collect(),
            Cow::Borrowed(Value::Object(members)) => keys(members),
            Cow::Owned(Value::Object(members)) => keys(&members),
            other => {
                let message = format!(
                    "a list or a map is needed here, and this is {}",
                    what(&other)
                );
                return fault(each.over.at, message);
            }
        };
        let paid = self.cost.spend(items.len());
        paid.map_err(|message| Fault {
            offset: at,
            message,
        })?;
        match each.what {
            EachKind::Map | EachKind::Filter => self.collect(each, items),
            _ => self.count(each, items),
        }
    }

    #[expect(clippy::ptr_arg, reason = "what is borrowed stays so")]
    fn inside<T>(
        &mut self,
        each: &'a Each,
        item: &Cow<'a, Value>,
        work: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if let Cow::Owned(value) = item {
            let paid = self.cost.copied(value);
            paid.map_err(|message| Fault {
                offset: each.over.at,
                message,
            })?;
        }
        self.locals.push((&each.name, item.clone()));
        let done = work(self);
        self.locals.pop();
        done
    }

    fn collect(&mut self, each: &'a Each, items: Vec<Cow<'a, Value>>) -> Given<'a> {
        let mut all = Vec::new();
        for item in items {
            let made = self.inside(each, &item, |eval| {
                if each.what == EachKind::Filter {
                    return Ok(eval.bool(&each.body)?.then_some(None));
                }
                let wanted = each
                    .only
                    .as_ref()
                    .map_or(Ok(true), |only| eval.bool(only))?;
                match wanted {
                    true => eval.own(&each.body).map(|value| Some(Some(value))),
                    false => Ok(None),
                }
            })?;
            match made {
                Some(Some(value)) => all.push(value),
                Some(None) => {
                    let paid = self.cost.copied(&item);
                    paid.map_err(|message| Fault {
                        offset: each.over.at,
                        message,
                    })?;
                    all.push(item.into_owned());
                }
                None => {}
            }
        }
        owned(all)
    }

    /// As with `&&` and `||`, an item that fails counts only where none decides.
    fn count(&mut self, each: &'a Each, items: Vec<Cow<'a, Value>>) -> Given<'a> {
        let (mut yes, mut failed) = (0_usize, None);
        for item in items {
            match self.inside(each, &item, |eval| eval.bool(&each.body)) {
                Ok(true) if each.what == EachKind::Exists => return owned(true),
                Ok(false) if each.what == EachKind::All => return owned(false),
                Ok(is) => yes += usize::from(is),
                Err(error) if each.what == EachKind::ExistsOne => return Err(error),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match (failed, each.what) {
            (Some(error), _) => Err(error),
            (None, EachKind::All) => owned(true),
            (None, EachKind::Exists) => owned(false),
            (None, _) => owned(yes == 1),
        }
    }
}

fn keys<'a>(members: &Map<String, Value>) -> Vec<Cow<'a, Value>> {
    let keys = members.keys();
    keys.map(|key| Cow::Owned(Value::String(key.clone())))
        .collect()
}

fn missing(name: &str, members: &Map<String, Value>) -> String {
    let known = instead(name, members.keys().map(String::as_str));
    format!("there is no `{}`: {known}", shown(name))
}

fn member<'a>(of: Cow<'a, Value>, name: &str) -> Result<Cow<'a, Value>, String> {
    match of {
        Cow::Borrowed(Value::Object(members)) => {
            let found = members.get(name).map(Cow::Borrowed);
            found.ok_or_else(|| missing(name, members))
        }
        Cow::Owned(Value::Object(mut members)) => match members.swap_remove(name) {
            Some(value) => Ok(Cow::Owned(value)),
            None => Err(missing(name, &members)),
        },
        other => Err(format!("{} has no `{}`", what(&other), shown(name))),
    }
}

fn indexed<'a>(of: Cow<'a, Value>, index: &Value) -> Result<Cow<'a, Value>, String> {
    match (&*of, index) {
        (Value::Object(_), Value::String(name)) => member(of, name),
        (Value::Array(items), Value::Number(number)) => {
            let at = number.as_u64().and_then(|at| usize::try_from(at).ok());
            let Some(at) = at.filter(|at| *at < items.len()) else {
                return Err(format!(
                    "the list has {} items, and there is no item {number}",
                    items.len()
                ));
            };
            match of {
                Cow::Borrowed(Value::Array(items)) => Ok(Cow::Borrowed(&items[at])),
                other => Ok(Cow::Owned(other[at].clone())),
            }
        }
        (of, index) => Err(format!("{} can't be indexed by {}", what(of), what(index))),
    }
}

fn negative(value: &Value) -> Result<Value, String> {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.checked_neg().map(Value::from).ok_or_else(overflow),
            None => Ok((-number.as_f64().unwrap_or_default()).into()),
        },
        other => Err(format!("`-` takes a number, and this is {}", what(other))),
    }
}

fn overflow() -> String {
    "the result is too large".to_owned()
}

fn mismatch(op: Op, left: &Value, right: &Value) -> String {
    format!(
        "`{}` doesn't take {} and {}",
        op.sign(),
        what(left),
        what(right)
    )
}

pub(super) fn arithmetic(op: Op, left: &Value, right: &Value) -> Result<Value, String> {
    let (Value::Number(a), Value::Number(b)) = (left, right) else {
        return Err(mismatch(op, left, right));
    };
    if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64()) {
        let made = match op {
            Op::Add => a.checked_add(b),
            Op::Subtract => a.checked_sub(b),
            Op::Multiply => a.checked_mul(b),
            Op::Divide | Op::Remainder if b == 0 => return Err("a division by zero".to_owned()),
            Op::Divide => a.checked_div(b),
            _ => a.checked_rem(b),
        };
        return made.map(Value::from).ok_or_else(overflow);
    }
    let (a, b) = (
        a.as_f64().unwrap_or_default(),
        b.as_f64().unwrap_or_default(),
    );
    let made = match op {
        Op::Add => a + b,
        Op::Subtract => a - b,
        Op::Multiply => a * b,
        Op::Divide => a / b,
        _ => return Err("`%` takes whole numbers".to_owned()),
    };
    Number::from_f64(made)
        .map(Value::Number)
        .ok_or_else(overflow)
}

/// Equal as CEL has it: numbers by their value, everything else by its parts.
pub(super) fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(_), Value::Number(_)) => order(left, right) == Some(Ordering::Equal),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            let same = |(name, value): (&String, &Value)| {
                right.get(name).is_some_and(|other| equal(value, other))
            };
            left.len() == right.len() && left.iter().all(same)
        }
        (left, right) => left == right,
    }
}

pub(super) fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

fn within(item: &Value, of: &Value) -> Result<Value, String> {
    match (of, item) {
        (Value::Array(items), item) => Ok(items.iter().any(|other| equal(item, other)).into()),
        (Value::Object(members), Value::String(name)) => Ok(members.contains_key(name).into()),
        (of, item) => Err(mismatch(Op::In, item, of)),
    }
}

/// A value as a part of a text: texts as they are, everything else as JSON.
pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
