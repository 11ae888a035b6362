//! A value against its schema.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

use super::{SHOWN_BYTES_MAX, Schema, Violation, cut, target};

/// Bytes of a text that are gone through in a step.
const STEP_BYTES: usize = 64;

/// Schemas inside one another, references counted.
const DEPTH_MAX: u32 = 200;

enum Stop {
    Violation(Violation),
    /// No answer: it would take too long.
    TooMuch,
}

type Checked = Result<(), Stop>;

struct Checking<'a, 's> {
    schema: &'a Schema,
    /// Where references lead, by the address of each.
    targets: HashMap<usize, &'a Value>,
    /// Those that are left.
    steps: &'s mut u64,
    depth: u32,
    /// JSON pointer to where it is.
    at: String,
}

pub(super) fn check(schema: &Schema, value: &Value, steps: &mut u64) -> Result<(), Violation> {
    let mut checking = Checking {
        schema,
        targets: HashMap::new(),
        steps,
        depth: 0,
        at: String::new(),
    };
    match checking.value(&schema.root, value) {
        Ok(()) => Ok(()),
        Err(Stop::Violation(violation)) => Err(violation),
        Err(Stop::TooMuch) => Err(Violation {
            at: String::new(),
            message: "the schema takes too many steps to check".to_owned(),
        }),
    }
}

impl<'a> Checking<'a, '_> {
    fn value(&mut self, schema: &'a Value, value: &Value) -> Checked {
        self.step(1)?;
        let members = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Object(members) => members,
            _ => return self.wrong("nothing may stand here"),
        };
        if self.depth == DEPTH_MAX {
            return Err(Stop::TooMuch);
        }
        self.depth += 1;
        let checked = self.members(members, value);
        self.depth -= 1;
        checked
    }

    fn members(&mut self, schema: &'a Map<String, Value>, value: &Value) -> Checked {
        self.any(schema, value)?;
        match value {
            Value::Number(number) => self.number(schema, number)?,
            Value::String(text) => self.text(schema, text)?,
            Value::Array(items) => self.array(schema, items)?,
            Value::Object(members) => self.object(schema, members)?,
            Value::Null | Value::Bool(_) => {}
        }
        self.combined(schema, value)
    }

    fn step(&mut self, steps: usize) -> Checked {
        *self.steps = self.steps.checked_sub(steps as u64).ok_or(Stop::TooMuch)?;
        Ok(())
    }

    /// What goes through a text, of a name for example.
    fn read(&mut self, text: &str) -> Checked {
        self.step(1 + text.len() / STEP_BYTES)
    }

    /// Others may be tried, and each one's place is a copy.
    fn wrong<T>(&mut self, message: impl Into<String>) -> Result<T, Stop> {
        self.step(self.at.len() / STEP_BYTES)?;
        Err(Stop::Violation(Violation {
            at: self.at.clone(),
            message: message.into(),
        }))
    }

    fn below(&mut self, name: &str, schema: &'a Value, value: &Value) -> Checked {
        self.step(name.len() / STEP_BYTES)?;
        let len = self.at.len();
        self.at.push('/');
        self.at
            .push_str(&name.replace('~', "~0").replace('/', "~1"));
        let checked = self.value(schema, value);
        self.at.truncate(len);
        checked
    }

    /// Whether it fits; only what has no answer is an error.
    fn fits(&mut self, schema: &'a Value, value: &Value) -> Result<bool, Stop> {
        match self.value(schema, value) {
            Ok(()) => Ok(true),
            Err(Stop::Violation(_)) => Ok(false),
            Err(stop) => Err(stop),
        }
    }

    fn any(&mut self, schema: &'a Map<String, Value>, value: &Value) -> Checked {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            match self.target(reference)? {
                Some(target) => self.value(target, value)?,
                None => return self.wrong(format!("`{}` leads nowhere", cut(reference))),
            }
        }
        if let Some(types) = schema.get("type") {
            let names = types
                .as_array()
                .map_or(std::slice::from_ref(types), Vec::as_slice);
            if !names
                .iter()
                .any(|name| is(name.as_str().unwrap_or_default(), value))
            {
                return self.wrong(format!("it is {}, and not {}", kind(value), listed(names)));
            }
        }
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
            self.step(allowed.len().max(1).saturating_mul(size(value)))?;
            if !allowed.iter().any(|allowed| equal(allowed, value)) {
                return self.wrong(format!("it is none of {}", shown(&schema["enum"])));
            }
        }
        if schema.contains_key("const") {
            self.step(size(value))?;
        }
        match schema.get("const") {
            Some(expected) if !equal(expected, value) => {
                self.wrong(format!("it is not {}", shown(expected)))
            }
            _ => Ok(()),
        }
    }

    /// Where a reference leads: its text is read once.
    fn target(&mut self, reference: &'a str) -> Result<Option<&'a Value>, Stop> {
        let address = reference.as_ptr().addr();
        if let Some(known) = self.targets.get(&address) {
            return Ok(Some(known));
        }
        self.read(reference)?;
        let found = target(&self.schema.root, reference);
        self.targets.extend(found.map(|found| (address, found)));
        Ok(found)
    }

    fn number(&mut self, schema: &'a Map<String, Value>, number: &Number) -> Checked {
        let bounds = [
            ("minimum", "at least", [Ordering::Greater, Ordering::Equal]),
            ("maximum", "at most", [Ordering::Less, Ordering::Equal]),
            ("exclusiveMinimum", "more than", [Ordering::Greater; 2]),
            ("exclusiveMaximum", "less than", [Ordering::Less; 2]),
        ];
        for (keyword, words, holds) in bounds {
            let bound = schema.get(keyword).and_then(Value::as_number);
            if let Some(bound) = bound.filter(|bound| !holds.contains(&order(number, bound))) {
                return self.wrong(format!("it has to be {words} {bound}"));
            }
        }
        match schema.get("multipleOf") {
            Some(Value::Number(step)) if !is_multiple(number, step) => {
                self.wrong(format!("it is no multiple of {step}"))
            }
            _ => Ok(()),
        }
    }

    fn text(&mut self, schema: &'a Map<String, Value>, text: &str) -> Checked {
        self.step(text.len() / STEP_BYTES)?;
        let count = text.chars().count() as u64;
        self.count(schema, ("minLength", "maxLength"), count, "characters")?;
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
            && !self.matches(pattern, text)?
        {
            return self.wrong(format!("it does not match `{}`", cut(pattern)));
        }
        Ok(())
    }

    fn matches(&mut self, pattern: &str, text: &str) -> Result<bool, Stop> {
        self.read(pattern)?;
        let Some(pattern) = self.schema.patterns.get(pattern) else {
            return Ok(false);
        };
        self.step(text.len().saturating_mul(pattern.steps))?;
        Ok(pattern.regex.is_match(text))
    }

    fn count(
        &mut self,
        schema: &'a Map<String, Value>,
        (least, most): (&str, &str),
        count: u64,
        what: &str,
    ) -> Checked {
        let bound = |name| schema.get(name).and_then(Value::as_u64);
        if let Some(least) = bound(least).filter(|least| count < *least) {
            return self.wrong(format!("it has {count} {what}; at least {least}"));
        }
        match bound(most).filter(|most| count > *most) {
            Some(most) => self.wrong(format!("it has {count} {what}; at most {most}")),
            None => Ok(()),
        }
    }

    fn array(&mut self, schema: &'a Map<String, Value>, items: &[Value]) -> Checked {
        self.count(
            schema,
            ("minItems", "maxItems"),
            items.len() as u64,
            "items",
        )?;
        let first = schema.get("prefixItems").and_then(Value::as_array);
        let first = first.map_or(&[][..], Vec::as_slice);
        let schemas = first.iter().chain(schema.get("items").into_iter().cycle());
        for (at, (item, schema)) in items.iter().zip(schemas).enumerate() {
            self.below(&at.to_string(), schema, item)?;
        }
        if schema.get("uniqueItems") == Some(&Value::Bool(true)) {
            self.unique(items)?;
        }
        match schema.get("contains") {
            Some(wanted) => self.contains(schema, wanted, items),
            None => Ok(()),
        }
    }

    fn unique(&mut self, items: &[Value]) -> Checked {
        for (at, item) in items.iter().enumerate() {
            self.step((at + 1).saturating_mul(size(item)))?;
            if items[..at].iter().any(|before| equal(before, item)) {
                return self.wrong(format!("item {at} is there twice"));
            }
        }
        Ok(())
    }

    fn contains(
        &mut self,
        schema: &'a Map<String, Value>,
        wanted: &'a Value,
        items: &[Value],
    ) -> Checked {
        let mut found = 0_u64;
        for item in items {
            found += u64::from(self.fits(wanted, item)?);
        }
        let bound = |name| schema.get(name).and_then(Value::as_u64);
        let least = bound("minContains").unwrap_or(1);
        let most = bound("maxContains").unwrap_or(u64::MAX);
        match (least..=most).contains(&found) {
            true => Ok(()),
            false => self.wrong(format!("{found} items are as `contains` says")),
        }
    }

    fn object(&mut self, schema: &'a Map<String, Value>, members: &Map<String, Value>) -> Checked {
        let count = members.len() as u64;
        self.count(schema, ("minProperties", "maxProperties"), count, "members")?;
        self.required(schema.get("required"), members)?;
        if let Some(dependent) = schema.get("dependentRequired").and_then(Value::as_object) {
            for (name, names) in dependent {
                self.read(name)?;
                if members.contains_key(name) {
                    self.required(Some(names), members)?;
                }
            }
        }
        let table = |name| schema.get(name).and_then(Value::as_object);
        let (named, by_pattern) = (table("properties"), table("patternProperties"));
        for (name, member) in members {
            self.read(name)?;
            let mut covered = false;
            if let Some(schema) = named.and_then(|named| named.get(name)) {
                covered = true;
                self.below(name, schema, member)?;
            }
            for (pattern, schema) in by_pattern.into_iter().flatten() {
                if self.matches(pattern, name)? {
                    covered = true;
                    self.below(name, schema, member)?;
                }
            }
            match schema.get("additionalProperties") {
                Some(Value::Bool(false)) if !covered => {
                    return self.wrong(format!("`{}` is unknown", cut(name)));
                }
                Some(rest) if !covered => self.below(name, rest, member)?,
                _ => {}
            }
            if let Some(schema) = schema.get("propertyNames") {
                self.step(name.len() / STEP_BYTES)?;
                self.value(schema, &Value::String(name.clone()))?;
            }
        }
        Ok(())
    }

    fn required(&mut self, names: Option<&'a Value>, members: &Map<String, Value>) -> Checked {
        let names = names.and_then(Value::as_array).into_iter().flatten();
        for name in names.filter_map(Value::as_str) {
            self.read(name)?;
            if !members.contains_key(name) {
                return self.wrong(format!("`{}` is missing", cut(name)));
            }
        }
        Ok(())
    }

    fn combined(&mut self, schema: &'a Map<String, Value>, value: &Value) -> Checked {
        let list = |name| schema.get(name).and_then(Value::as_array);
        for schema in list("allOf").into_iter().flatten() {
            self.value(schema, value)?;
        }
        if let Some(ways) = list("anyOf") {
            self.any_of(ways, value)?;
        }
        if let Some(ways) = list("oneOf") {
            let mut found = 0;
            for way in ways {
                found += usize::from(self.fits(way, value)?);
            }
            match found {
                0 => self.any_of(ways, value)?,
                1 => {}
                found => return self.wrong(format!("it is {found} of `oneOf` at once")),
            }
        }
        if let Some(not) = schema.get("not")
            && self.fits(not, value)?
        {
            return self.wrong("it is what `not` says");
        }
        if let Some(condition) = schema.get("if") {
            let branch = match self.fits(condition, value)? {
                true => schema.get("then"),
                false => schema.get("else"),
            };
            if let Some(branch) = branch {
                self.value(branch, value)?;
            }
        }
        let dependent = schema.get("dependentSchemas").and_then(Value::as_object);
        for (name, schema) in dependent.into_iter().flatten() {
            self.read(name)?;
            if value.get(name).is_some() {
                self.value(schema, value)?;
            }
        }
        Ok(())
    }

    /// The violation that lies deepest is the one that helps: that way came closest.
    fn any_of(&mut self, ways: &'a [Value], value: &Value) -> Checked {
        let mut closest: Option<Violation> = None;
        for way in ways {
            match self.value(way, value) {
                Ok(()) => return Ok(()),
                Err(Stop::TooMuch) => return Err(Stop::TooMuch),
                Err(Stop::Violation(violation)) => {
                    if closest
                        .as_ref()
                        .is_none_or(|best| violation.at.len() > best.at.len())
                    {
                        closest = Some(violation);
                    }
                }
            }
        }
        match closest {
            Some(violation) if violation.at.len() > self.at.len() => {
                Err(Stop::Violation(violation))
            }
            _ => self.wrong(format!("it is none of {} that it may be", ways.len())),
        }
    }
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "integer" => value.as_number().is_some_and(is_integer),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => value.is_null(),
    }
}

fn is_integer(number: &Number) -> bool {
    number.is_i64()
        || number.is_u64()
        || number.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn listed(names: &[Value]) -> String {
    let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
    names.join(" or ")
}

/// A value in a message; no more of it is written than is shown.
fn shown(value: &Value) -> String {
    struct Bounded(String);
    impl std::fmt::Write for Bounded {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0
                .push_str(&text[..text.floor_char_boundary(SHOWN_BYTES_MAX + 1)]);
            match self.0.len() > SHOWN_BYTES_MAX {
                true => Err(std::fmt::Error),
                false => Ok(()),
            }
        }
    }
    let mut text = Bounded(String::new());
    // What does not fit is cut.
    let _ = write!(text, "{value}");
    cut(&text.0).into_owned()
}

fn is_multiple(number: &Number, step: &Number) -> bool {
    if let (Some(number), Some(step)) = (number.as_i128(), step.as_i128()) {
        return step != 0 && number % step == 0;
    }
    let (number, step) = (
        number.as_f64().unwrap_or_default(),
        step.as_f64().unwrap_or(1.0),
    );
    let times = number / step;
    times.is_finite() && (times - times.round()).abs() <= f64::EPSILON * times.abs().max(1.0)
}

/// Whole numbers exactly, others as well as they are kept.
fn order(a: &Number, b: &Number) -> Ordering {
    if let (Some(a), Some(b)) = (a.as_i128(), b.as_i128()) {
        return a.cmp(&b);
    }
    let [a, b] = [a, b].map(|number| number.as_f64().unwrap_or_default() + 0.0);
    a.total_cmp(&b)
}

/// As JSON Schema means it: numbers are equal by value, objects without order.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => order(a, b) == Ordering::Equal,
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let same = |(name, a): (&String, &Value)| b.get(name).is_some_and(|b| equal(a, b));
            a.len() == b.len() && a.iter().all(same)
        }
        (a, b) => a == b,
    }
}

/// Nodes of a value and bytes of its texts: what comparing it takes at most.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::String(text) => text.len() / STEP_BYTES,
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(members) => {
            let members = members.iter();
            let sizes = members.map(|(name, member)| name.len() / STEP_BYTES + size(member));
            sizes.sum()
        }
        _ => 0,
    }
}
