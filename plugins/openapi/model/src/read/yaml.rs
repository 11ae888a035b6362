//! YAML 1.2, as far as it says what JSON can. What an alias repeats counts as if it
//! were written out.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};

use super::{check_name, fault};
use crate::limits::{DEPTH_MAX, NODES_MAX, TEXT_BYTES_A_NODE};
use crate::problem::{Problem, name};

pub(super) fn read(text: &str) -> Result<Value, Problem> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        anchors: BTreeMap::new(),
        nodes: 0,
    };
    reader.document()
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: BTreeMap<usize, Anchored>,
    nodes: usize,
}

/// What an anchor stands for.
struct Anchored {
    value: Value,
    /// How much of `nodes` it is.
    size: usize,
    /// Lists and maps inside one another.
    depth: usize,
}

fn at(span: &Span, message: impl Into<String>) -> Problem {
    fault(span.start.line().max(1), span.start.col() + 1, message)
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => {
                let place = error.marker();
                let message = format!("this is no YAML: {}", error.info());
                Err(fault(place.line().max(1), place.col() + 1, message))
            }
            None => Err(fault(1, 1, "the file ends too early")),
        }
    }

    fn document(&mut self) -> Result<Value, Problem> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::DocumentStart(_) if root.is_none() => {
                    let (event, span) = self.next()?;
                    root = Some(self.value(event, &span, 0)?);
                }
                Event::StreamEnd => break,
                _ => return Err(at(&span, "a second document: give one file for each")),
            }
        }
        root.ok_or_else(|| fault(1, 1, "the file is empty"))
    }

    fn value(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Value, Problem> {
        self.count(1, span)?;
        check_depth(depth, span)?;
        let before = self.nodes;
        if let Event::Scalar(text, ..) = &event {
            self.count(text.len() / TEXT_BYTES_A_NODE, span)?;
        }
        let (value, anchor) = match event {
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                let message = "tags (`!…`) are not taken: write the value itself";
                return Err(at(span, message));
            }
            Event::Scalar(text, ScalarStyle::Plain, anchor, None) => (plain(&text), anchor),
            Event::Scalar(text, _, anchor, None) => (Value::String(text.into_owned()), anchor),
            Event::SequenceStart(anchor, None) => (self.list(depth)?, anchor),
            Event::MappingStart(anchor, None) => (self.map(depth)?, anchor),
            Event::Alias(anchor) => return self.alias(anchor, span, depth),
            _ => return Err(at(span, "a value is missing")),
        };
        if anchor > 0 {
            let size = self.nodes - before + 1;
            self.count(size, span)?;
            let anchored = Anchored {
                value: value.clone(),
                size,
                depth: crate::schema::depth(&value),
            };
            self.anchors.insert(anchor, anchored);
        }
        Ok(value)
    }

    fn count(&mut self, nodes: usize, span: &Span) -> Result<(), Problem> {
        self.nodes += nodes;
        match self.nodes > NODES_MAX {
            true => {
                let message = format!(
                    "more than {NODES_MAX} values, what aliases repeat and each \
                     {TEXT_BYTES_A_NODE} bytes of a text counted"
                );
                Err(at(span, message))
            }
            false => Ok(()),
        }
    }

    fn alias(&mut self, anchor: usize, span: &Span, depth: usize) -> Result<Value, Problem> {
        let Some(found) = self.anchors.get(&anchor) else {
            return Err(at(span, "the alias stands inside of what it repeats"));
        };
        // Before it is copied.
        check_depth(depth + found.depth, span)?;
        self.count(found.size, span)?;
        let copy = self.anchors.get(&anchor).map(|found| found.value.clone());
        copy.ok_or_else(|| at(span, "the alias repeats nothing"))
    }

    fn list(&mut self, depth: usize) -> Result<Value, Problem> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::Array(items));
            }
            items.push(self.value(event, &span, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Problem> {
        let mut members = Map::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Value::Object(members));
            }
            let key = key(event, &span)?;
            self.count(key.len() / TEXT_BYTES_A_NODE, &span)?;
            if members.contains_key(&key) {
                let message = format!("`{}` is given twice in one map: keep one", name(&key));
                return Err(at(&span, message));
            }
            let (event, below) = self.next()?;
            let value = self.value(event, &below, depth + 1)?;
            members.insert(key, value);
        }
    }
}

fn check_depth(depth: usize, span: &Span) -> Result<(), Problem> {
    match depth > DEPTH_MAX {
        true => {
            let message = format!("more than {DEPTH_MAX} lists and maps inside one another");
            Err(at(span, message))
        }
        false => Ok(()),
    }
}

/// A key is a text as it is written: `200:` is `"200"`.
fn key(event: Event<'_>, span: &Span) -> Result<String, Problem> {
    match event {
        Event::Scalar(text, _, _, None) if text == "<<" => Err(at(
            span,
            "merging with `<<` is not taken: repeat the members, or alias the whole value",
        )),
        Event::Scalar(text, _, _, None) => match check_name(&text) {
            Ok(()) => Ok(text.into_owned()),
            Err(why) => Err(at(span, why)),
        },
        _ => Err(at(span, "a key is a text: write it out, in quotes")),
    }
}

/// What a text without quotes is, by the core schema of YAML 1.2.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| text.into(), Value::Number)
}

fn number(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let signed = digits.parse::<i64>().map(Number::from);
        let whole = signed.or_else(|_| digits.parse::<u64>().map(Number::from));
        return whole.ok().or_else(|| Number::from_f64(text.parse().ok()?));
    }
    // These have no sign.
    let radix = |prefix: &str, radix| {
        let digits = text.strip_prefix(prefix)?;
        let digits = Some(digits).filter(|digits| !digits.starts_with(['-', '+']));
        i64::from_str_radix(digits?, radix).ok().map(Number::from)
    };
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Some(number);
    }
    let float = unsigned
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    let number = text.parse::<f64>().ok().filter(|_| float)?;
    Number::from_f64(number)
}
