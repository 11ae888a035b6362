//! Which names an expression looks at.

use super::{Expr, ExprKind};

/// A name that stands in an expression, with the members that are named after it:
/// `steps.list.output[0]` is `steps`, `list`, `output`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ref {
    pub(crate) at: usize,
    pub(crate) path: Vec<String>,
}

/// All of them, in their order, without those that the expression names itself.
pub(crate) fn refs(expr: &Expr) -> Vec<Ref> {
    let mut found = Vec::new();
    walk(expr, &mut Vec::new(), &mut found);
    found
}

fn walk<'a>(expr: &'a Expr, locals: &mut Vec<&'a str>, found: &mut Vec<Ref>) {
    if let Some(path) = path(expr)
        && !locals.contains(&path[0].1.as_str())
    {
        let at = path[0].0;
        let path = path.into_iter().map(|(_, name)| name).collect();
        found.push(Ref { at, path });
    }
    match &expr.kind {
        ExprKind::Literal(_) | ExprKind::Ident(_) => {}
        // What it is of was looked at as a part of the path.
        ExprKind::Field(of, _) => beneath(of, locals, found),
        ExprKind::Has(of, name) => {
            let mut whole = path(of).unwrap_or_default();
            match whole.first() {
                Some((at, first)) if !locals.contains(&first.as_str()) => {
                    let at = *at;
                    whole.push((at, name.clone()));
                    let path = whole.into_iter().map(|(_, name)| name).collect();
                    found.push(Ref { at, path });
                }
                _ => walk(of, locals, found),
            }
        }
        ExprKind::Index(of, index) => {
            beneath(of, locals, found);
            // A text that names a member is a part of the path.
            let named = matches!(index.kind, ExprKind::Literal(serde_json::Value::String(_)));
            if path(of).is_some() && !named {
                walk(of, locals, found);
            }
            walk(index, locals, found);
        }
        ExprKind::Not(of) | ExprKind::Negative(of) => walk(of, locals, found),
        ExprKind::Binary(_, left, right) => {
            walk(left, locals, found);
            walk(right, locals, found);
        }
        ExprKind::Choice(condition, yes, no) => {
            [condition, yes, no]
                .into_iter()
                .for_each(|part| walk(part, locals, found));
        }
        ExprKind::List(items) | ExprKind::Call(_, items) => {
            items.iter().for_each(|item| walk(item, locals, found))
        }
        ExprKind::Map(members) => members.iter().for_each(|(key, value)| {
            walk(key, locals, found);
            walk(value, locals, found);
        }),
        ExprKind::Each(each) => {
            walk(&each.over, locals, found);
            locals.push(&each.name);
            each.only
                .iter()
                .chain([&each.body])
                .for_each(|part| walk(part, locals, found));
            locals.pop();
        }
    }
}

/// Goes on below a chain of members that is no path from its beginning.
fn beneath<'a>(of: &'a Expr, locals: &mut Vec<&'a str>, found: &mut Vec<Ref>) {
    if path(of).is_none() {
        walk(of, locals, found);
    }
}

/// A chain of members from a name on.
fn path(expr: &Expr) -> Option<Vec<(usize, String)>> {
    match &expr.kind {
        ExprKind::Ident(name) => Some(vec![(expr.at, name.clone())]),
        ExprKind::Field(of, name) => with(of, expr.at, name),
        ExprKind::Index(of, index) => match &index.kind {
            ExprKind::Literal(serde_json::Value::String(name)) => with(of, expr.at, name),
            _ => None,
        },
        _ => None,
    }
}

fn with(of: &Expr, at: usize, name: &str) -> Option<Vec<(usize, String)>> {
    let mut path = path(of)?;
    path.push((at, name.to_owned()));
    Some(path)
}
