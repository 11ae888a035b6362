//! Values with expressions in them: `${{ … }}` in texts. A text that is one
//! expression and nothing else is what the expression gives; in any other text
//! each stands for its text.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::cel::{self, Cost, Expr, Fault, Ref, Scope};
use crate::limits::VALUE_BYTES_MAX;
use crate::problem::{Place, Problem, Problems};
use crate::yaml::{Kind, Node, place_within};

const BEGIN: &str = "${{";

/// An expression and where it stands.
#[derive(Clone, Debug)]
pub struct Expression {
    pub(crate) expr: Expr,
    source: String,
    /// Where each line of it begins.
    at: Place,
}

impl Expression {
    /// As it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    pub(crate) fn refs(&self) -> Vec<Ref> {
        cel::refs(&self.expr)
    }

    /// The steps that it looks at.
    pub fn steps(&self) -> impl Iterator<Item = String> + use<> {
        let refs = self.refs().into_iter();
        refs.filter(|found| found.path[0] == "steps")
            .filter_map(|found| found.path.into_iter().nth(1))
    }

    /// Whether it looks at nothing but these names.
    #[must_use]
    pub fn needs_only(&self, names: &[&str]) -> bool {
        self.refs()
            .iter()
            .all(|found| names.contains(&found.path[0].as_str()))
    }

    pub(crate) fn place(&self, offset: usize) -> Place {
        let before = self.source.get(..offset).unwrap_or_default();
        match before.contains('\n') {
            // Blocks are indented, which is not known here.
            true => self.at,
            false => Place {
                line: self.at.line,
                column: self.at.column + before.chars().count(),
            },
        }
    }

    /// What it gives.
    ///
    /// # Errors
    /// Where and why it gives nothing.
    pub fn evaluate(&self, scope: &Scope<'_>, cost: &mut Cost) -> Result<Value, Problem> {
        let value = cel::evaluate(&self.expr, scope, cost).and_then(|value| {
            let paid = cost.copied(&value);
            let offset = self.expr.at;
            paid.map(|()| value.into_owned())
                .map_err(|message| Fault { offset, message })
        });
        value.map_err(|error| Problem {
            at: self.place(error.offset),
            message: error.message,
        })
    }
}

/// A value with expressions in it.
#[derive(Clone, Debug)]
pub enum Template {
    /// No expression.
    Value(Value),
    /// One expression, whose value it is.
    Expression(Expression),
    /// A text with expressions.
    Text(Vec<Part>),
    /// A list.
    List(Vec<Template>),
    /// A map.
    Map(Vec<(String, Template)>),
}

/// A part of a text.
#[derive(Clone, Debug)]
pub enum Part {
    /// As it stands.
    Text(String),
    /// The text of what an expression gives.
    Expression(Expression),
}

impl Template {
    /// What it is with its expressions evaluated.
    ///
    /// # Errors
    /// Where and why one gives nothing.
    pub fn evaluate(&self, scope: &Scope<'_>, cost: &mut Cost) -> Result<Value, Problem> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::Expression(expression) => expression.evaluate(scope, cost),
            Self::Text(parts) => text(parts, scope, cost),
            Self::List(items) => items
                .iter()
                .map(|item| item.evaluate(scope, cost))
                .collect(),
            Self::Map(members) => {
                let members = members.iter();
                let made: Result<Map<String, Value>, Problem> = members
                    .map(|(name, member)| Ok((name.clone(), member.evaluate(scope, cost)?)))
                    .collect();
                made.map(Value::Object)
            }
        }
    }

    /// As [`Self::evaluate`], where what can't be known yet stays as it is
    /// written: what is of other names than these, or gives no value.
    #[must_use]
    pub fn evaluate_known(&self, scope: &Scope<'_>, known: &dyn Fn(&Expression) -> bool) -> Value {
        let written = |expression: &Expression| {
            Value::String(format!("{BEGIN} {} }}}}", expression.source.trim()))
        };
        let one = |expression: &Expression| match known(expression) {
            true => expression
                .evaluate(scope, &mut Cost::default())
                .unwrap_or_else(|_| written(expression)),
            false => written(expression),
        };
        match self {
            Self::Value(value) => value.clone(),
            Self::Expression(expression) => one(expression),
            Self::Text(parts) => {
                let parts = parts.iter().map(|part| match part {
                    Part::Text(text) => text.clone(),
                    Part::Expression(expression) => cel::text_of(&one(expression)),
                });
                Value::String(parts.collect())
            }
            Self::List(items) => items
                .iter()
                .map(|item| item.evaluate_known(scope, known))
                .collect(),
            Self::Map(members) => {
                let members = members.iter();
                let made: Map<String, Value> = members
                    .map(|(name, member)| (name.clone(), member.evaluate_known(scope, known)))
                    .collect();
                Value::Object(made)
            }
        }
    }

    /// The steps that its expressions look at.
    #[must_use]
    pub fn steps(&self) -> Vec<String> {
        let mut steps = Vec::new();
        self.expressions(&mut |expression| steps.extend(expression.steps()));
        steps
    }

    /// Calls `each` with all expressions, in their order.
    pub(crate) fn expressions<'a>(&'a self, each: &mut dyn FnMut(&'a Expression)) {
        match self {
            Self::Value(_) => {}
            Self::Expression(expression) => each(expression),
            Self::Text(parts) => parts.iter().for_each(|part| {
                if let Part::Expression(expression) = part {
                    each(expression);
                }
            }),
            Self::List(items) => items.iter().for_each(|item| item.expressions(each)),
            Self::Map(members) => members
                .iter()
                .for_each(|(_, member)| member.expressions(each)),
        }
    }
}

fn text(parts: &[Part], scope: &Scope<'_>, cost: &mut Cost) -> Result<Value, Problem> {
    let mut made = String::new();
    for part in parts {
        match part {
            Part::Text(text) => made.push_str(text),
            Part::Expression(expression) => {
                made.push_str(&cel::text_of(&expression.evaluate(scope, cost)?));
                if made.len() > VALUE_BYTES_MAX {
                    let message = format!("the text has more than {VALUE_BYTES_MAX} bytes");
                    return Err(Problem {
                        at: expression.at,
                        message,
                    });
                }
            }
        }
    }
    Ok(Value::String(made))
}

/// Reads a value.
pub(crate) fn template(source: &str, node: &Node, problems: &mut Problems) -> Template {
    match &node.kind {
        Kind::Text(text, _) if text.contains(BEGIN) => texts(source, node, text, problems),
        Kind::List(items) => {
            let items: Vec<Template> = items
                .iter()
                .map(|item| template(source, item, problems))
                .collect();
            Template::List(items).settled()
        }
        Kind::Map(members) => {
            let members = members.iter();
            let members =
                members.map(|(key, member)| (key.name.clone(), template(source, member, problems)));
            Template::Map(members.collect()).settled()
        }
        _ => Template::Value(node.value()),
    }
}

impl Template {
    /// As a plain value, where there is no expression in it.
    fn settled(self) -> Self {
        let mut any = false;
        self.expressions(&mut |_| any = true);
        match any {
            true => self,
            false => Self::Value(self.evaluate_known(&Scope::new(), &|_| false)),
        }
    }
}

fn texts(source: &str, node: &Node, text: &str, problems: &mut Problems) -> Template {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find(BEGIN).map(|found| found + at) {
        if found > at {
            parts.push(Part::Text(text[at..found].to_owned()));
        }
        let begin = found + BEGIN.len();
        let Some(end) = cel::end_of(&text[begin..]).map(|end| begin + end) else {
            problems.add(
                place_within(source, node, found),
                "the expression has no end: close it with `}}`",
            );
            return Template::Value(Value::Null);
        };
        if let Some(expression) = parsed(source, node, begin..end, text, problems) {
            parts.push(Part::Expression(expression));
        }
        at = end + 2;
    }
    if at < text.len() {
        parts.push(Part::Text(text[at..].to_owned()));
    }
    match parts.pop() {
        Some(Part::Expression(only)) if parts.is_empty() => Template::Expression(only),
        last => {
            parts.extend(last);
            Template::Text(parts)
        }
    }
}

fn parsed(
    source: &str,
    node: &Node,
    range: std::ops::Range<usize>,
    text: &str,
    problems: &mut Problems,
) -> Option<Expression> {
    let begin = range.start;
    let written = &text[range];
    match cel::parse(written) {
        Ok(expr) => Some(Expression {
            expr,
            source: written.to_owned(),
            at: place_within(source, node, begin),
        }),
        Err(error) => {
            let at = place_within(source, node, begin + error.offset);
            problems.add(at, error.message);
            None
        }
    }
}

/// Reads a text that is an expression, with or without `${{ }}` around it.
pub(crate) fn expression(source: &str, node: &Node, problems: &mut Problems) -> Option<Expression> {
    let text: Cow<'_, str> = match &node.kind {
        Kind::Text(text, _) => text.into(),
        Kind::Bool(value) => value.to_string().into(),
        Kind::Number(number) => number.to_string().into(),
        // A list of values is one: each is what its text says.
        _ => {
            problems.add(
                node.at,
                format!("an expression is needed here, and this is {}", node.what()),
            );
            return None;
        }
    };
    let trimmed = text.trim();
    let start = text.len() - text.trim_start().len();
    let whole = trimmed.strip_prefix(BEGIN).and_then(|inner| {
        let end = cel::end_of(inner)?;
        (end + 2 == inner.len()).then_some(start + BEGIN.len()..start + BEGIN.len() + end)
    });
    if whole.is_none() && trimmed.contains(BEGIN) {
        let message =
            "an expression stands here alone: leave out `${{ }}`, or put it around everything";
        problems.add(node.at, message);
        return None;
    }
    let range = whole.unwrap_or(start..start + trimmed.len());
    parsed(source, node, range, &text, problems)
}
