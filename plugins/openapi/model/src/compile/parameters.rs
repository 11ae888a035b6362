//! The parameters of an operation: what the caller gives, and how it is sent.

use std::collections::BTreeMap;

use serde_json::json;

use super::names;
use crate::limits::PARAMETERS_MAX;
use crate::plan::{Carrier, Kind, Parameter, Part, Place, Style};
use crate::problem::{Problem, name};
use crate::request::{check_header_name, is_ambiguous, is_token, takes_key};
use crate::schema::{From, Member, kinds, of_kinds};
use crate::spec::{Node, Spec};

/// A parameter, and what is told of it.
pub(crate) struct Read<'a> {
    pub(crate) parameter: Parameter,
    pub(crate) member: Member<'a>,
}

/// The parameters of an operation.
pub(crate) struct Parameters<'a> {
    pub(crate) all: Vec<Read<'a>>,
    /// Why some are none.
    pub(crate) left_out: Vec<String>,
}

/// All parameters of an operation: those of its path, and its own in their place.
/// None has a name that is reserved.
pub(crate) fn read<'a>(
    spec: &Spec<'a>,
    item: &Node<'a>,
    operation: &Node<'a>,
    reserved: &[&str],
    carrier: Option<&Carrier>,
) -> Result<Parameters<'a>, Problem> {
    let mut found: Vec<(Place, &'a str, Node<'a>)> = Vec::new();
    for holder in [item, operation] {
        let Some(list) = holder.get("parameters") else {
            continue;
        };
        let mut own: Vec<(Place, &'a str)> = Vec::new();
        for node in list.items("`parameters`")? {
            let node = spec.resolve(node)?;
            let (place, called) = place_of(&node)?;
            if own.contains(&(place, called)) {
                return Err(node.problem(format!(
                    "the {} parameter `{}` is given twice: keep one",
                    place.as_str(),
                    name(called)
                )));
            }
            own.push((place, called));
            // Before each is compared with all others any further.
            if own.len() > 2 * PARAMETERS_MAX {
                return Err(holder.problem(format!("more than {PARAMETERS_MAX} parameters")));
            }
            found.retain(|(other, known, _)| (*other, *known) != (place, called));
            found.push((place, called, node));
        }
    }
    let left_out = left_out(&found, carrier);
    found.retain(|(place, called, _)| !is_sent_otherwise(*place, called, carrier));
    if found.len() > PARAMETERS_MAX {
        return Err(operation.problem(format!(
            "it has {} parameters, more than {PARAMETERS_MAX}",
            found.len()
        )));
    }
    let inputs = inputs(&found, reserved);
    let read = found.into_iter().zip(inputs);
    let read = read.map(|((place, called, node), input)| one(spec, &node, place, called, input));
    Ok(Parameters {
        all: read.collect::<Result<_, _>>()?,
        left_out,
    })
}

/// A secret that a document has as a parameter, and not as a scheme.
fn left_out(found: &[(Place, &str, Node<'_>)], carrier: Option<&Carrier>) -> Vec<String> {
    let is_it = |(place, called, _): &&(Place, &str, Node<'_>)| {
        *place == Place::Header && called.eq_ignore_ascii_case("authorization")
    };
    let sends_it = matches!(carrier, Some(Carrier::Bearer | Carrier::Basic));
    let note = "the header `Authorization` is no parameter: what it holds is a secret, which needs \
                a scheme under `security`, or --auth bearer";
    match found.iter().any(|one| is_it(&one)) && !sends_it {
        true => vec![note.to_owned()],
        false => Vec::new(),
    }
}

fn place_of<'a>(node: &Node<'a>) -> Result<(Place, &'a str), Problem> {
    let called = node.text("name").filter(|called| !called.is_empty());
    let Some(called) = called else {
        return Err(node.problem("a parameter has no `name`"));
    };
    let place = match node.text("in") {
        Some("path") => Place::Path,
        Some("query") => Place::Query,
        Some("header") => Place::Header,
        Some("cookie") => Place::Cookie,
        other => {
            let called = name(called);
            let other = name(other.unwrap_or_default());
            return Err(node.problem(format!(
                "the parameter `{called}` is `in: {other}`: write path, query, header or cookie"
            )));
        }
    };
    Ok((place, called))
}

/// What is no parameter although it is given as one: OpenAPI says so of three
/// headers, and a secret is put in by the host.
fn is_sent_otherwise(place: Place, called: &str, carrier: Option<&Carrier>) -> bool {
    let ignored = ["accept", "content-type", "authorization"];
    match (place, carrier) {
        (Place::Header, Some(Carrier::Header(name))) if called.eq_ignore_ascii_case(name) => true,
        (Place::Header, _) => ignored.iter().any(|name| called.eq_ignore_ascii_case(name)),
        (Place::Query, Some(Carrier::Query(name)))
        | (Place::Cookie, Some(Carrier::Cookie(name))) => called == name,
        _ => false,
    }
}

/// Their names in the input: their own, with the place where two have one name.
fn inputs(found: &[(Place, &str, Node<'_>)], reserved: &[&str]) -> Vec<String> {
    let names = reserved.iter().map(|name| (*name).to_owned());
    let mut taken: Vec<String> = names.collect();
    let mut count: BTreeMap<String, usize> = taken.iter().cloned().map(|name| (name, 1)).collect();
    for (_, called, _) in found {
        *count.entry(names::property(called)).or_default() += 1;
    }
    for (place, called, _) in found {
        let own = names::property(called);
        let base = match count.get(&own) {
            Some(1) => own,
            _ => format!("{}_{own}", place.as_str()),
        };
        let mut input = base.clone();
        let mut number = 2;
        while taken.contains(&input) {
            input = format!("{base}_{number}");
            number += 1;
        }
        taken.push(input);
    }
    taken.split_off(reserved.len())
}

fn one<'a>(
    spec: &Spec<'a>,
    node: &Node<'a>,
    place: Place,
    called: &str,
    input: String,
) -> Result<Read<'a>, Problem> {
    let (schema, style) = match (node.get("schema"), node.get("content")) {
        (schema, None) => (schema, style(node, place, called)?),
        (_, Some(content)) => (json_content(&content, called)?, Style::Json),
    };
    check_name(node, place, called)?;
    let kinds = schema.as_ref().map(|schema| kinds(spec, schema));
    let kinds = kinds.transpose()?.unwrap_or_default();
    let only_lists = !kinds.is_empty()
        && kinds
            .iter()
            .all(|kind| matches!(kind, Kind::Array | Kind::Object));
    if place == Place::Cookie && style != Style::Json && only_lists {
        return Err(node.problem(format!(
            "the cookie `{}` is a list or a map, and a cookie is one value",
            name(called)
        )));
    }
    let required = place == Place::Path || node.flag("required") == Some(true);
    let takes_key = takes_key(place, called);
    let mut description = node.text("description").unwrap_or_default().to_owned();
    if takes_key {
        description.push_str("\nThe call's own key unless given.");
    }
    if node.flag("deprecated") == Some(true) {
        description = format!("Deprecated. {description}");
    }
    let instead = of_kinds(&kinds);
    Ok(Read {
        member: Member {
            name: input.clone(),
            required: required && !takes_key,
            description: description.trim().to_owned(),
            schema: match schema {
                Some(schema) => From::Document(vec![schema], instead),
                None => From::Made(json!({})),
            },
        },
        parameter: Parameter {
            input,
            name: called.to_owned(),
            place,
            style,
            explode: node.flag("explode").unwrap_or(style == Style::Form),
            required,
            reserved: node.flag("allowReserved") == Some(true),
            kinds,
        },
    })
}

fn style(node: &Node<'_>, place: Place, called: &str) -> Result<Style, Problem> {
    let given = node.text("style");
    let style = match (place, given) {
        (Place::Path | Place::Header, None | Some("simple")) => Style::Simple,
        (Place::Path, Some("label")) => Style::Label,
        (Place::Path, Some("matrix")) => Style::Matrix,
        (Place::Query | Place::Cookie, None | Some("form")) => Style::Form,
        (Place::Query, Some("spaceDelimited")) => Style::Space,
        (Place::Query, Some("pipeDelimited")) => Style::Pipe,
        (Place::Query, Some("deepObject")) => Style::Deep,
        (_, Some(other)) => {
            return Err(node.problem(format!(
                "the {} parameter `{}` has the style `{}`, which OpenAPI does not have there",
                place.as_str(),
                name(called),
                name(other)
            )));
        }
    };
    Ok(style)
}

/// The schema of a parameter that is sent as JSON.
fn json_content<'a>(content: &Node<'a>, called: &str) -> Result<Option<Node<'a>>, Problem> {
    let json = content
        .members("`content`")?
        .find(|(media, _)| media.starts_with("application/json"));
    match json {
        Some((_, media)) => Ok(media.get("schema")),
        None => Err(content.problem(format!(
            "the parameter `{}` is sent as something else than JSON, which is not supported",
            name(called)
        ))),
    }
}

fn check_name(node: &Node<'_>, place: Place, called: &str) -> Result<(), Problem> {
    match place {
        Place::Header => check_header_name(called).map_err(|why| node.problem(why)),
        Place::Cookie if !is_token(called) => {
            Err(node.problem(format!("`{}` is no cookie's name", name(called))))
        }
        _ => Ok(()),
    }
}

/// The parts of a path, each variable of which is a parameter.
pub(crate) fn path(
    path: &str,
    at: &Node<'_>,
    parameters: &[Parameter],
) -> Result<Vec<Part>, Problem> {
    let shown = name(path);
    if !path.starts_with('/') {
        return Err(at.problem(format!("the path `{shown}` does not begin with `/`")));
    }
    let mut parts = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let Some((before, after)) = rest.split_once('{') else {
            parts.push(Part::Literal(rest.to_owned()));
            break;
        };
        let Some((variable, behind)) = after.split_once('}') else {
            return Err(at.problem(format!("the path `{shown}` has a `{{` without its `}}`")));
        };
        if !before.is_empty() {
            parts.push(Part::Literal(before.to_owned()));
        }
        let number = parameters
            .iter()
            .position(|one| one.place == Place::Path && one.name == variable);
        let Some(number) = number else {
            return Err(at.problem(format!(
                "the path has `{{{}}}`, and there is no parameter `in: path` of that name",
                name(variable)
            )));
        };
        parts.push(Part::Parameter(number));
        rest = behind;
    }
    let unused = parameters.iter().enumerate().find(|(number, one)| {
        one.place == Place::Path && !parts.contains(&Part::Parameter(*number))
    });
    if let Some((_, unused)) = unused {
        return Err(at.problem(format!(
            "the parameter `{}` is `in: path`, and the path `{shown}` has no `{{{0}}}`",
            name(&unused.name)
        )));
    }
    check_literals(path, at)?;
    Ok(parts)
}

/// What stands in a path as it is, is sent as it is.
fn check_literals(path: &str, at: &Node<'_>) -> Result<(), Problem> {
    let shown = name(path);
    if path.contains(['?', '#']) {
        return Err(at.problem(format!(
            "the path `{shown}` has a query or a fragment: write parameters `in: query`"
        )));
    }
    let mut literal = String::new();
    let mut is_variable = false;
    for c in path.chars() {
        match c {
            '{' => is_variable = true,
            '}' => is_variable = false,
            _ if is_variable => {}
            c => literal.push(c),
        }
    }
    let sent = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/%".contains(c);
    if let Some(other) = literal.chars().find(|c| !sent(*c)) {
        return Err(at.problem(format!(
            "the path `{shown}` has `{}`, which must be percent-encoded",
            other.escape_debug()
        )));
    }
    let segments: Vec<&str> = path[1..].split('/').collect();
    let last = segments.len() - 1;
    let two_ways = |(number, segment): (usize, &&str)| {
        is_ambiguous(segment) || (segment.is_empty() && number != last)
    };
    if segments.iter().enumerate().any(two_ways) {
        return Err(at.problem(format!(
            "the path `{shown}` can be read in two ways: `..`, an empty segment or an escaped slash"
        )));
    }
    Ok(())
}
