//! From text to a tree in which everything knows its place. JSON is read as what
//! it is, a part of YAML.
//!
//! What must stay true: a text costs no more than its size and the limits say.
//! What an alias repeats counts as if it were written out.

use std::borrow::Cow;
use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Number, Value};

use crate::limits::{DEPTH_MAX, FILE_BYTES_MAX, NODES_MAX, TEXT_BYTES_A_NODE};
use crate::problem::{Place, Problem, shown};

/// A part of a file.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: Place,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    /// The text, and where it stands in the source, in bytes.
    Text(String, std::ops::Range<usize>),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) at: Place,
    pub(crate) name: String,
}

impl Node {
    /// Lists and maps inside one another.
    fn depth(&self) -> usize {
        match &self.kind {
            Kind::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Kind::Map(members) => {
                let members = members.iter().map(|(_, node)| node.depth());
                1 + members.max().unwrap_or(0)
            }
            _ => 0,
        }
    }

    pub(crate) fn what(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a boolean",
            Kind::Number(_) => "a number",
            Kind::Text(..) => "a text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }

    /// The value, without its places.
    pub(crate) fn value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Text(text, _) => Value::String(text.clone()),
            Kind::List(items) => items.iter().map(Self::value).collect(),
            Kind::Map(members) => {
                let members = members.iter();
                Value::Object(
                    members
                        .map(|(key, node)| (key.name.clone(), node.value()))
                        .collect::<Map<_, _>>(),
                )
            }
        }
    }
}

/// JSON writes characters beyond 16 bits as two escapes, which YAML does not know:
/// the characters in their place.
pub(crate) fn without_surrogates(text: &str) -> Cow<'_, str> {
    let json = text.trim_start().starts_with(['{', '[']);
    if !json || text.len() > FILE_BYTES_MAX || !text.contains("\\u") {
        return text.into();
    }
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        made.push_str(&rest[..at]);
        rest = &rest[at..];
        let unit = |from: usize| u16::from_str_radix(rest.get(from..from + 4)?, 16).ok();
        let escaped = rest.starts_with("\\u") && rest.get(6..8) == Some("\\u");
        let pair = unit(2).zip(unit(8)).filter(|_| escaped);
        let character = pair.and_then(|(high, low)| {
            let mut decoded = char::decode_utf16([high, low]);
            decoded.next()?.ok().filter(|c| c.len_utf16() == 2)
        });
        let len = match character {
            Some(character) => {
                made.push(character);
                12
            }
            // The backslash and what it escapes.
            None => {
                let len = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                made.push_str(&rest[..len]);
                len
            }
        };
        rest = &rest[len..];
    }
    made.push_str(rest);
    made.into()
}

/// Reads the one document of a text.
pub(crate) fn read(text: &str) -> Result<Node, Problem> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has more than {FILE_BYTES_MAX} bytes");
        return Err(fault(Place { line: 1, column: 1 }, message));
    }
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        lines: line_starts(text),
        text,
        anchors: BTreeMap::new(),
        nodes: 0,
    };
    reader.document()
}

fn fault(at: Place, message: impl Into<String>) -> Problem {
    let message = message.into();
    Problem { at, message }
}

/// Where each line begins, in bytes.
fn line_starts(text: &str) -> Vec<usize> {
    let ends = text.bytes().enumerate().filter(|(at, b)| {
        // A lone carriage return ends a line too.
        *b == b'\n' || (*b == b'\r' && text.as_bytes().get(at + 1) != Some(&b'\n'))
    });
    std::iter::once(0)
        .chain(ends.map(|(at, _)| at + 1))
        .collect()
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    lines: Vec<usize>,
    text: &'a str,
    anchors: BTreeMap<usize, Anchored>,
    nodes: usize,
}

/// What an anchor stands for.
struct Anchored {
    node: Node,
    /// How much of `nodes` it is.
    size: usize,
    depth: usize,
}

fn place(span: &Span) -> Place {
    Place {
        line: span.start.line().max(1),
        column: span.start.col() + 1,
    }
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => {
                let at = Place {
                    line: error.marker().line().max(1),
                    column: error.marker().col() + 1,
                };
                let hint = match error.info().starts_with("mapping values") {
                    true => "; put a text that has `: ` in it in quotes",
                    false => "",
                };
                let info = error.info();
                Err(fault(at, format!("this is no YAML or JSON: {info}{hint}")))
            }
            None => Err(fault(
                Place { line: 1, column: 1 },
                "the file ends too early",
            )),
        }
    }

    fn document(&mut self) -> Result<Node, Problem> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::DocumentStart(_) if root.is_none() => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, &span, 0)?);
                }
                Event::StreamEnd => break,
                _ => {
                    let message = "a second document: a file holds one workflow";
                    return Err(fault(place(&span), message));
                }
            }
        }
        root.ok_or_else(|| fault(Place { line: 1, column: 1 }, "the file is empty"))
    }

    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Node, Problem> {
        let at = place(span);
        self.count(1, at)?;
        check_depth(depth, at)?;
        let before = self.nodes;
        if let Event::Scalar(text, ..) = &event {
            self.count(text.len() / TEXT_BYTES_A_NODE, at)?;
        }
        let (kind, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                untagged(at, tag.as_ref())?;
                (self.scalar(text, style, span)?, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                untagged(at, tag.as_ref())?;
                (self.list(depth)?, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                untagged(at, tag.as_ref())?;
                (self.map(depth)?, anchor)
            }
            Event::Alias(anchor) => return self.alias(anchor, at, depth),
            _ => return Err(fault(at, "a value is missing")),
        };
        let node = Node { at, kind };
        if anchor > 0 {
            let size = self.nodes - before + 1;
            self.count(size, at)?;
            let anchored = Anchored {
                node: node.clone(),
                size,
                depth: node.depth(),
            };
            self.anchors.insert(anchor, anchored);
        }
        Ok(node)
    }

    fn count(&mut self, nodes: usize, at: Place) -> Result<(), Problem> {
        self.nodes += nodes;
        match self.nodes > NODES_MAX {
            true => {
                let message = format!(
                    "more than {NODES_MAX} values, what aliases repeat and each \
                     {TEXT_BYTES_A_NODE} bytes of a text counted"
                );
                Err(fault(at, message))
            }
            false => Ok(()),
        }
    }

    fn alias(&mut self, anchor: usize, at: Place, depth: usize) -> Result<Node, Problem> {
        let Some(found) = self.anchors.get(&anchor) else {
            return Err(fault(at, "the alias stands inside of what it repeats"));
        };
        // Before it is copied.
        check_depth(depth + found.depth, at)?;
        self.count(found.size, at)?;
        let copy = self.anchors.get(&anchor).map(|found| found.node.clone());
        copy.ok_or_else(|| fault(at, "the alias repeats nothing"))
    }

    fn list(&mut self, depth: usize) -> Result<Kind, Problem> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Kind::List(items));
            }
            items.push(self.node(event, &span, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Kind, Problem> {
        let mut members: Vec<(Key, Node)> = Vec::new();
        let mut known: BTreeMap<String, Place> = BTreeMap::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Kind::Map(members));
            }
            let key = self.key(event, &span, depth)?;
            if let Some(first) = known.insert(key.name.clone(), key.at) {
                let name = shown(&key.name);
                return Err(fault(
                    key.at,
                    format!("`{name}` stands here twice, first at {first}: keep one"),
                ));
            }
            let (event, span) = self.next()?;
            members.push((key, self.node(event, &span, depth + 1)?));
        }
    }

    fn key(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Key, Problem> {
        let plain = matches!(event, Event::Scalar(..));
        let node = self.node(event, span, depth + 1)?;
        let name = match node.kind {
            Kind::Text(name, _) => name,
            Kind::Bool(value) => value.to_string(),
            Kind::Number(number) => number.to_string(),
            Kind::Null if plain => "null".to_owned(),
            _ => return Err(fault(node.at, "a key is a text")),
        };
        if name == "<<" {
            let message =
                "merging with `<<` is not taken: repeat the keys, or alias the whole value";
            return Err(fault(node.at, message));
        }
        Ok(Key { at: node.at, name })
    }

    fn scalar(&self, text: Cow<'a, str>, style: ScalarStyle, span: &Span) -> Result<Kind, Problem> {
        if style == ScalarStyle::Plain
            && let Some(kind) = plain(&text)
        {
            return kind.map_err(|message| fault(place(span), message));
        }
        let range = self.byte(span.start.line(), span.start.col())
            ..self.byte(span.end.line(), span.end.col());
        Ok(Kind::Text(text.into_owned(), range))
    }

    /// Where a line's column is, in bytes.
    fn byte(&self, line: usize, column: usize) -> usize {
        let Some(start) = self.lines.get(line.saturating_sub(1)).copied() else {
            return self.text.len();
        };
        let rest = &self.text[start..];
        let at = rest
            .char_indices()
            .nth(column)
            .map_or(rest.len(), |(at, _)| at);
        start + at
    }
}

fn check_depth(depth: usize, at: Place) -> Result<(), Problem> {
    match depth > DEPTH_MAX {
        true => {
            let message = format!("more than {DEPTH_MAX} lists and maps inside one another");
            Err(fault(at, message))
        }
        false => Ok(()),
    }
}

fn untagged(at: Place, tag: Option<&Cow<'_, Tag>>) -> Result<(), Problem> {
    match tag {
        Some(_) => Err(fault(
            at,
            "tags (`!…`) are not taken: write the value itself",
        )),
        None => Ok(()),
    }
}

/// What a text without quotes is, by the core schema of YAML 1.2; nothing where it
/// is a text.
fn plain(text: &str) -> Option<Result<Kind, String>> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Ok(Kind::Null)),
        "true" | "True" | "TRUE" => return Some(Ok(Kind::Bool(true))),
        "false" | "False" | "FALSE" => return Some(Ok(Kind::Bool(false))),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if matches!(
        unsigned,
        ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN"
    ) {
        return Some(Err(format!("`{text}` is no number that JSON has")));
    }
    if unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return Some(integer(text));
    }
    // These have no sign.
    let radix = |prefix: &str, radix| {
        let digits = text.strip_prefix(prefix)?;
        let digits = Some(digits).filter(|digits| !digits.starts_with(['-', '+']));
        i64::from_str_radix(digits?, radix).ok()
    };
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Some(Ok(Kind::Number(number.into())));
    }
    let float = unsigned
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    let number = text.parse::<f64>().ok().filter(|_| float)?;
    match Number::from_f64(number) {
        Some(number) => Some(Ok(Kind::Number(number))),
        None => Some(Err(format!("`{}` is too large", shown(text)))),
    }
}

fn integer(text: &str) -> Result<Kind, String> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    match digits.parse::<i64>() {
        Ok(number) => Ok(Kind::Number(number.into())),
        Err(_) => Err(format!(
            "`{}` is too large for a whole number: put it in quotes",
            shown(text)
        )),
    }
}

/// Where a part of a text value stands in the source: exactly where the source has
/// it as the value does, else as near as can be told.
pub(crate) fn place_within(source: &str, node: &Node, offset: usize) -> Place {
    let Kind::Text(value, range) = &node.kind else {
        return node.at;
    };
    let Some(raw) = source.get(range.clone()) else {
        return node.at;
    };
    let quote = usize::from(raw.starts_with(['"', '\'']));
    let before = value.get(..offset).unwrap_or(value);
    if raw[quote..].starts_with(before) {
        return after(node.at, &raw[..quote + before.len()]);
    }
    // The same occurrence of what begins an expression.
    let Some(last) = before.rfind("${{") else {
        return node.at;
    };
    let nth = before.matches("${{").count() - 1;
    let Some((found, _)) = raw.match_indices("${{").nth(nth) else {
        return node.at;
    };
    let same = raw[found..]
        .char_indices()
        .zip(before[last..].chars())
        .take_while(|((_, left), right)| left == right)
        .map(|((at, c), _)| at + c.len_utf8())
        .last();
    let same = same
        .filter(|same| *same == before.len() - last)
        .unwrap_or(0);
    after(node.at, &raw[..found + same])
}

/// The place behind a text that begins at a place.
fn after(at: Place, text: &str) -> Place {
    match text.rfind('\n') {
        Some(end) => Place {
            line: at.line + text.matches('\n').count(),
            column: text[end + 1..].chars().count() + 1,
        },
        None => Place {
            line: at.line,
            column: at.column + text.chars().count(),
        },
    }
}

/// The path to what stands at a place: `steps[2].with.path`.
pub(crate) fn path_at(root: &Node, at: Place) -> String {
    let mut path = "workflow".to_owned();
    let mut node = root;
    loop {
        let next = match &node.kind {
            Kind::List(items) => {
                let index = items.iter().rposition(|item| item.at <= at);
                index.map(|index| (format!("[{index}]"), &items[index]))
            }
            Kind::Map(members) => {
                let found = members.iter().rev().find(|(key, _)| key.at <= at);
                found.map(|(key, value)| (format!(".{}", key.name), value))
            }
            _ => None,
        };
        // At the beginning of a list or a map it is the whole that is meant.
        let Some((name, below)) = next.filter(|_| node.at != at) else {
            return path;
        };
        path.push_str(&name);
        node = below;
    }
}
