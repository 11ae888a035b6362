//! The JSON form of values without parts. They are read from the text itself,
//! not through a floating-point number, so that no digit is lost.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wasmtime::component::Val;

use super::lift::{Cx, Stop};
use super::ty::{Int, Named, SAFE_INTEGER, Ty};
use crate::inspect::text;

/// Longest piece of a caller's text in an error, bytes.
const QUOTED_BYTES_MAX: usize = 60;

/// The strings that stand for what JSON has no number for.
pub const NOT_NUMBERS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// Most names that an error lists.
const LISTED_MAX: usize = 20;

/// Whether a type's JSON is read here.
pub fn is_scalar(ty: &Ty) -> bool {
    use Ty::{Bool, Bytes, Char, Enum, F32, F64, FixedBytes, Int, String};
    matches!(
        ty,
        Bool | Int(_) | F32 | F64 | Char | String | Bytes | FixedBytes(_) | Enum(_)
    )
}

/// Reads a value from the text of one JSON value.
pub fn read(cx: &Cx<'_>, ty: &Ty, raw: &str) -> Result<Val, Stop> {
    match ty {
        Ty::Bool => match raw {
            "true" => Ok(Val::Bool(true)),
            "false" => Ok(Val::Bool(false)),
            _ => Err(cx.fail(expected(ty), describe(raw))),
        },
        Ty::Int(int) => integer(cx, *int, raw),
        Ty::F32 => float(cx, ty, raw).map(Val::Float32),
        Ty::F64 => float(cx, ty, raw).map(Val::Float64),
        Ty::Char => character(cx, raw),
        Ty::String => string(cx, ty, raw).map(Val::String),
        Ty::Bytes => bytes(cx, ty, raw, None).map(Val::List),
        Ty::FixedBytes(len) => bytes(cx, ty, raw, Some(*len)).map(Val::FixedLengthList),
        Ty::Enum(names) => {
            let index = name(cx, names, raw)?;
            cx.charge(names.name(index).len())?;
            Ok(Val::Enum(names.name(index).to_owned()))
        }
        _ => Err(cx.fail(expected(ty), describe(raw))),
    }
}

/// Reads one of several names; gives its index.
pub fn name(cx: &Cx<'_>, names: &Named<()>, raw: &str) -> Result<usize, Stop> {
    let unknown = || cx.fail(one_of(names), describe(raw));
    let name = unquote(raw).ok_or_else(unknown)?;
    names
        .find(&name)
        .map(|(index, ())| index)
        .ok_or_else(unknown)
}

fn integer(cx: &Cx<'_>, int: Int, raw: &str) -> Result<Val, Stop> {
    let fail = || cx.fail(expected(&Ty::Int(int)), describe(raw));
    let value = match unquote(raw) {
        Some(text) if int.is_wide() => decimal(&text),
        Some(_) => None,
        None => number(raw).filter(|n| !int.is_wide() || n.abs() <= SAFE_INTEGER),
    };
    let value = value.filter(|n| (int.min()..=int.max()).contains(n));
    let value = value.ok_or_else(fail)?;
    integer_val(int, value).ok_or_else(fail)
}

fn integer_val(int: Int, value: i128) -> Option<Val> {
    Some(match (int.signed, int.bits) {
        (true, 8) => Val::S8(value.try_into().ok()?),
        (false, 8) => Val::U8(value.try_into().ok()?),
        (true, 16) => Val::S16(value.try_into().ok()?),
        (false, 16) => Val::U16(value.try_into().ok()?),
        (true, 32) => Val::S32(value.try_into().ok()?),
        (false, 32) => Val::U32(value.try_into().ok()?),
        (true, _) => Val::S64(value.try_into().ok()?),
        (false, _) => Val::U64(value.try_into().ok()?),
    })
}

/// A decimal string as it is produced: no plus, no leading zero, no `-0`.
fn decimal(text: &str) -> Option<i128> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let canonical = match digits.as_bytes() {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.len() < 20 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    canonical.then(|| text.parse().ok()).flatten()
}

/// A JSON number that is an integer, `1.0` and `1e3` included, as JSON Schema
/// has it.
fn number(raw: &str) -> Option<i128> {
    if let Ok(value) = raw.parse() {
        return Some(value);
    }
    if !raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return None;
    }
    let value: f64 = raw.parse().ok()?;
    let whole = value.fract() == 0.0 && value.abs() <= SAFE_INTEGER as f64;
    whole.then_some(value as i128)
}

/// What the two float types share.
trait Float: std::str::FromStr + Copy {
    fn is_finite(self) -> bool;
}

impl Float for f32 {
    fn is_finite(self) -> bool {
        Self::is_finite(self)
    }
}

impl Float for f64 {
    fn is_finite(self) -> bool {
        Self::is_finite(self)
    }
}

fn float<F: Float>(cx: &Cx<'_>, ty: &Ty, raw: &str) -> Result<F, Stop> {
    let value = match unquote(raw) {
        Some(text) if NOT_NUMBERS.contains(&text.as_str()) => text.parse().ok(),
        Some(_) => None,
        None if raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
            raw.parse().ok().filter(|value: &F| value.is_finite())
        }
        None => None,
    };
    value.ok_or_else(|| cx.fail(expected(ty), describe(raw)))
}

fn character(cx: &Cx<'_>, raw: &str) -> Result<Val, Stop> {
    let text = string(cx, &Ty::Char, raw)?;
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => Ok(Val::Char(c)),
        _ => Err(cx.fail(expected(&Ty::Char), describe(raw))),
    }
}

fn string(cx: &Cx<'_>, ty: &Ty, raw: &str) -> Result<String, Stop> {
    cx.charge(raw.len())?;
    match unquote(raw) {
        Some(text) => Ok(text),
        None if raw.starts_with('"') => {
            Err(cx.fail(expected(ty), "an escape that is no Unicode character"))
        }
        None => Err(cx.fail(expected(ty), describe(raw))),
    }
}

fn bytes(cx: &Cx<'_>, ty: &Ty, raw: &str, len: Option<usize>) -> Result<Vec<Val>, Stop> {
    let text = string(cx, ty, raw)?;
    let fail = |found: String| cx.fail(expected(ty), found);
    cx.charge((text.len() / 4 * 3).saturating_mul(1 + size_of::<Val>()))?;
    let bytes = STANDARD
        .decode(&text)
        .map_err(|error| fail(format!("{} ({error})", describe(raw))))?;
    if len.is_some_and(|len| len != bytes.len()) {
        return Err(fail(format!("{} bytes", bytes.len())));
    }
    Ok(bytes.into_iter().map(Val::U8).collect())
}

/// The string that a JSON string stands for; none for anything else.
fn unquote(raw: &str) -> Option<String> {
    raw.starts_with('"')
        .then(|| serde_json::from_str(raw).ok())
        .flatten()
}

/// What a piece of JSON is, in a few words.
pub fn describe(raw: &str) -> String {
    match raw.as_bytes().first() {
        Some(b'[') => "an array".to_owned(),
        Some(b'{') => "an object".to_owned(),
        _ => format!("`{}`", text::line(&text::truncate(raw, QUOTED_BYTES_MAX))),
    }
}

/// A name as JSON, bounded.
pub fn quoted(name: &str) -> String {
    let short = text::truncate(name, QUOTED_BYTES_MAX);
    let quoted = serde_json::to_string(&short).unwrap_or_default();
    format!("`{}`", text::line(&quoted))
}

/// What a type asks for, in words.
pub fn expected(ty: &Ty) -> String {
    match ty {
        Ty::Bool => "`true` or `false`".to_owned(),
        Ty::Int(int) if int.is_wide() => format!(
            "an integer from {} to {} (beyond ±{SAFE_INTEGER} as a decimal string)",
            int.min(),
            int.max()
        ),
        Ty::Int(int) => format!("an integer from {} to {}", int.min(), int.max()),
        Ty::F32 | Ty::F64 => {
            format!(
                "a number of {ty}, or one of {}",
                list(NOT_NUMBERS.into_iter())
            )
        }
        Ty::Char => "a string of one character".to_owned(),
        Ty::String => "a string".to_owned(),
        Ty::Bytes => "a string in base64".to_owned(),
        Ty::FixedBytes(len) => format!("{len} bytes as a string in base64"),
        Ty::List(_) => "an array".to_owned(),
        Ty::FixedList(_, len) => format!("an array of {len}"),
        Ty::Map(key, _) if **key == Ty::String => "an object".to_owned(),
        Ty::Map(..) => "an array of pairs of a key and a value".to_owned(),
        Ty::Record(fields) => expected_fields(fields),
        Ty::Tuple(types) => format!("an array of {}", types.len()),
        Ty::Variant(cases) | Ty::Result(cases) => expected_case(cases),
        Ty::Enum(names) => one_of(names),
        Ty::Option(inner) if inner.is_nullable() => "`null` or `{\"some\": …}`".to_owned(),
        Ty::Option(inner) => format!("`null` or {}", expected(inner)),
        Ty::Flags(names) => format!("an array of {}", list(names.iter().map(|(name, ())| name))),
    }
}

/// What a record or a list of parameters asks for, in words.
pub fn expected_fields(fields: &Named<Ty>) -> String {
    match fields.count() {
        0 => "an object without members".to_owned(),
        _ => format!(
            "an object with {}",
            members(fields.iter().map(|(name, _)| name))
        ),
    }
}

fn expected_case(cases: &Named<Option<Ty>>) -> String {
    let shown = cases.iter().map(|(name, payload)| match payload {
        None => format!("`\"{name}\"`"),
        Some(_) => format!("`{{\"{name}\": …}}`"),
    });
    cut(shown, cases.count()).join(" or ")
}

fn one_of(names: &Named<()>) -> String {
    format!("one of {}", list(names.iter().map(|(name, ())| name)))
}

fn list<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let len = names.len();
    cut(names.map(|name| format!("`\"{name}\"`")), len).join(", ")
}

fn members<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let len = names.len();
    cut(names.map(|name| format!("`{name}`")), len).join(", ")
}

fn cut(names: impl Iterator<Item = String>, len: usize) -> Vec<String> {
    let mut shown: Vec<String> = names.take(LISTED_MAX).collect();
    if len > LISTED_MAX {
        shown.push(format!("{} more", len - LISTED_MAX));
    }
    shown
}
