//! JSON text to component values, in one pass and without a tree in between.
//! The text is a caller's: every problem is told with the place where it is, and
//! every value is counted against a budget before room is made for it, because
//! a small text can describe a large value.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use wasmtime::component::Val;

use super::scalar;
use super::ty::{Named, Ty};
use crate::call::CallError;
use crate::limits::ByteSize;

/// Why JSON is not a value of a type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LiftError {
    /// Not JSON.
    #[error("the input is not JSON: {0}")]
    Syntax(String),
    /// JSON, but not of the type.
    #[error("{0}")]
    Problem(Problem),
    /// The value would take more memory than it may.
    #[error("the value takes more than {0} of memory")]
    TooLarge(ByteSize),
}

/// Where the JSON does not fit the type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// JSON pointer (RFC 6901); empty for the whole input.
    pub pointer: String,
    /// What the type asks for.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (expected, found) = (&self.expected, &self.found);
        match self.pointer.as_str() {
            "" => write!(f, "the input: expected {expected}, found {found}"),
            pointer => write!(f, "at {pointer}: expected {expected}, found {found}"),
        }
    }
}

impl From<LiftError> for CallError {
    fn from(error: LiftError) -> Self {
        match error {
            LiftError::TooLarge(max) => Self::Limit {
                limit: "host_memory".to_owned(),
                value: max.to_string(),
            },
            error => Self::InvalidInput {
                message: crate::inspect::text::line(&error.to_string()),
            },
        }
    }
}

/// Reads the parameters of a function from an object with a member for each.
///
/// # Errors
/// What is wrong with the text, and where.
pub fn params(params: &Named<Ty>, text: &str, max: ByteSize) -> Result<Vec<Val>, LiftError> {
    match lift(Want::Fields(params), text, max)? {
        Val::Record(fields) => Ok(fields.into_iter().map(|(_, val)| val).collect()),
        other => Ok(vec![other]),
    }
}

/// Reads one value.
///
/// # Errors
/// What is wrong with the text, and where.
#[cfg(test)]
pub fn value(ty: &Ty, text: &str, max: ByteSize) -> Result<Val, LiftError> {
    lift(Want::Ty(ty), text, max)
}

fn lift(want: Want<'_>, text: &str, max: ByteSize) -> Result<Val, LiftError> {
    let cx = Cx {
        left: Cell::new(max.0),
        max,
        path: RefCell::default(),
        failure: RefCell::default(),
    };
    let mut json = serde_json::Deserializer::from_str(text);
    let read = Seed { want, cx: &cx }.deserialize(&mut json);
    match read.and_then(|val| json.end().map(|()| val)) {
        Ok(val) => Ok(val),
        Err(error) => Err(cx
            .failure
            .take()
            .unwrap_or_else(|| LiftError::Syntax(error.to_string()))),
    }
}

/// The marker that a failure was noted in the context.
#[derive(Debug)]
pub(super) struct Stop;

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped")
    }
}

/// What is shared by the whole reading: the place, the budget, the failure.
pub(super) struct Cx<'a> {
    left: Cell<u64>,
    max: ByteSize,
    path: RefCell<Vec<Step<'a>>>,
    failure: RefCell<Option<LiftError>>,
}

enum Step<'a> {
    Name(Cow<'a, str>),
    Index(usize),
}

impl<'a> Cx<'a> {
    /// Notes that the JSON does not fit here.
    pub(super) fn fail(&self, expected: impl Into<String>, found: impl Into<String>) -> Stop {
        let problem = Problem {
            pointer: self.pointer(),
            expected: expected.into(),
            found: found.into(),
        };
        self.failure
            .borrow_mut()
            .get_or_insert(LiftError::Problem(problem));
        Stop
    }

    /// Counts memory that is about to be taken.
    pub(super) fn charge(&self, bytes: usize) -> Result<(), Stop> {
        match self.left.get().checked_sub(bytes as u64) {
            Some(left) => self.left.set(left),
            None => {
                let failure = LiftError::TooLarge(self.max);
                self.failure.borrow_mut().get_or_insert(failure);
                return Err(Stop);
            }
        }
        Ok(())
    }

    /// Adds to a vector, counting its growth.
    fn push<T>(&self, vec: &mut Vec<T>, item: T) -> Result<(), Stop> {
        if vec.len() == vec.capacity() {
            let more = vec.capacity().max(4);
            self.charge(more.saturating_mul(size_of::<T>()))?;
            vec.reserve_exact(more);
        }
        vec.push(item);
        Ok(())
    }

    /// Does something one step further down; on success the step is undone.
    fn at<T, E>(&self, step: Step<'a>, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.path.borrow_mut().push(step);
        let value = read()?;
        self.path.borrow_mut().pop();
        Ok(value)
    }

    fn pointer(&self) -> String {
        let mut pointer = String::new();
        for step in self.path.borrow().iter() {
            pointer.push('/');
            match step {
                Step::Name(name) => pointer.push_str(&name.replace('~', "~0").replace('/', "~1")),
                Step::Index(index) => pointer.push_str(&index.to_string()),
            }
        }
        pointer
    }
}

/// What is read at one place.
#[derive(Clone, Copy)]
enum Want<'a> {
    Ty(&'a Ty),
    /// The members of an object, one for each.
    Fields(&'a Named<Ty>),
    /// An entry of a map whose keys are not strings.
    Pair(&'a Ty, &'a Ty),
    /// `{"some": …}`.
    Some(&'a Ty),
}

struct Seed<'c, 'a> {
    want: Want<'a>,
    cx: &'c Cx<'a>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Val;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Val, D::Error> {
        match self.want {
            Want::Ty(Ty::Option(_)) => json.deserialize_option(self),
            Want::Ty(ty) if scalar::is_scalar(ty) => {
                let raw = <&RawValue>::deserialize(json)?;
                scalar::read(self.cx, ty, raw.get()).map_err(D::Error::custom)
            }
            _ => json.deserialize_any(self),
        }
    }
}

impl<'de, 'c, 'a> Visitor<'de> for Seed<'c, 'a> {
    type Value = Val;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.expected())
    }

    fn visit_none<E: Error>(self) -> Result<Val, E> {
        Ok(Val::Option(None))
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<Val, D::Error> {
        let Want::Ty(Ty::Option(inner)) = self.want else {
            return Err(self.mismatch("a value"));
        };
        self.cx.charge(size_of::<Val>()).map_err(D::Error::custom)?;
        let want = if inner.is_nullable() {
            Want::Some(inner)
        } else {
            Want::Ty(inner)
        };
        let val = Seed { want, cx: self.cx }.deserialize(json)?;
        Ok(Val::Option(Some(Box::new(val))))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Val, E> {
        Err(self.mismatch(&format!("`{value}`")))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Val, E> {
        Err(self.mismatch(&format!("`{value}`")))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Val, E> {
        Err(self.mismatch(&format!("`{value}`")))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Val, E> {
        Err(self.mismatch(&format!("`{value}`")))
    }

    fn visit_unit<E: Error>(self) -> Result<Val, E> {
        Err(self.mismatch("`null`"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Val, E> {
        let cases = match self.want {
            Want::Ty(Ty::Variant(cases) | Ty::Result(cases)) => cases,
            _ => return Err(self.mismatch(&scalar::quoted(text))),
        };
        match cases.find(text) {
            Some((_, None)) => self.case(text, None).map_err(E::custom),
            Some((_, Some(_))) => {
                let expected = format!("`{{\"{text}\": …}}`, as this case has a payload");
                Err(E::custom(self.cx.fail(expected, scalar::quoted(text))))
            }
            None => Err(self.mismatch(&scalar::quoted(text))),
        }
    }

    fn visit_seq<S: SeqAccess<'de>>(self, seq: S) -> Result<Val, S::Error> {
        match self.want {
            Want::Ty(Ty::List(element)) => Ok(Val::List(self.elements(seq, element, None)?)),
            Want::Ty(Ty::FixedList(element, len)) => {
                let elements = self.elements(seq, element, Some(*len))?;
                Ok(Val::FixedLengthList(elements))
            }
            Want::Ty(Ty::Tuple(types)) => {
                let types = types.iter().collect::<Vec<_>>();
                Ok(Val::Tuple(self.tuple(seq, &types)?))
            }
            Want::Pair(key, value) => Ok(Val::Tuple(self.tuple(seq, &[key, value])?)),
            Want::Ty(Ty::Map(key, value)) if **key != Ty::String => self.pairs(seq, key, value),
            Want::Ty(Ty::Flags(names)) => self.flags(seq, names),
            _ => Err(self.mismatch("an array")),
        }
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Val, M::Error> {
        match self.want {
            Want::Ty(Ty::Record(fields)) | Want::Fields(fields) => self.fields(map, fields),
            Want::Ty(Ty::Variant(cases) | Ty::Result(cases)) => self.payload(map, cases),
            Want::Some(inner) => self.some(map, inner),
            Want::Ty(Ty::Map(key, value)) if **key == Ty::String => self.entries(map, value),
            _ => Err(self.mismatch("an object")),
        }
    }
}

impl<'c, 'a> Seed<'c, 'a> {
    fn mismatch<E: Error>(&self, found: &str) -> E {
        E::custom(self.cx.fail(self.expected(), found))
    }

    fn expected(&self) -> String {
        match self.want {
            Want::Ty(ty) => scalar::expected(ty),
            Want::Fields(fields) => scalar::expected_fields(fields),
            Want::Pair(..) => "an array of a key and a value".to_owned(),
            Want::Some(_) => "`null` or `{\"some\": …}`".to_owned(),
        }
    }

    fn seed(&self, want: Want<'a>) -> Seed<'c, 'a> {
        Seed { want, cx: self.cx }
    }

    fn elements<'de, S: SeqAccess<'de>>(
        &self,
        mut seq: S,
        element: &'a Ty,
        len: Option<usize>,
    ) -> Result<Vec<Val>, S::Error> {
        let mut elements = Vec::new();
        loop {
            if len == Some(elements.len()) {
                self.end_of(seq, elements.len())?;
                return Ok(elements);
            }
            let seed = self.seed(Want::Ty(element));
            let next = || seq.next_element_seed(seed);
            match self.cx.at(Step::Index(elements.len()), next)? {
                Some(val) => self.cx.push(&mut elements, val).map_err(S::Error::custom)?,
                None if len.is_none() => return Ok(elements),
                None => return Err(self.mismatch(&format!("an array of {}", elements.len()))),
            }
        }
    }

    fn tuple<'de, S: SeqAccess<'de>>(
        &self,
        mut seq: S,
        types: &[&'a Ty],
    ) -> Result<Vec<Val>, S::Error> {
        let mut elements = Vec::new();
        for (index, ty) in types.iter().enumerate() {
            let next = || seq.next_element_seed(self.seed(Want::Ty(ty)));
            match self.cx.at(Step::Index(index), next)? {
                Some(val) => self.cx.push(&mut elements, val).map_err(S::Error::custom)?,
                None => return Err(self.mismatch(&format!("an array of {index}"))),
            }
        }
        self.end_of(seq, types.len())?;
        Ok(elements)
    }

    fn end_of<'de, S: SeqAccess<'de>>(&self, mut seq: S, len: usize) -> Result<(), S::Error> {
        match seq.next_element::<IgnoredAny>()? {
            None => Ok(()),
            Some(_) => Err(self.mismatch(&format!("more than {len}"))),
        }
    }

    fn flags<'de, S: SeqAccess<'de>>(
        &self,
        mut seq: S,
        names: &'a Named<()>,
    ) -> Result<Val, S::Error> {
        let cx = self.cx;
        let bytes: usize = names.iter().map(|(name, ())| name.len() + 64).sum();
        cx.charge(bytes).map_err(S::Error::custom)?;
        let mut set = vec![false; names.count()];
        for place in 0.. {
            let next = || -> Result<bool, S::Error> {
                let Some(raw) = seq.next_element::<&RawValue>()? else {
                    return Ok(false);
                };
                let index = scalar::name(cx, names, raw.get()).map_err(S::Error::custom)?;
                if std::mem::replace(&mut set[index], true) {
                    let found = format!("`\"{}\"` twice", names.name(index));
                    return Err(S::Error::custom(cx.fail("each flag once", found)));
                }
                Ok(true)
            };
            if !cx.at(Step::Index(place), next)? {
                break;
            }
        }
        let set = names.iter().zip(set).filter(|(_, set)| *set);
        Ok(Val::Flags(
            set.map(|((name, ()), _)| name.to_owned()).collect(),
        ))
    }

    fn pairs<'de, S: SeqAccess<'de>>(
        &self,
        mut seq: S,
        key: &'a Ty,
        value: &'a Ty,
    ) -> Result<Val, S::Error> {
        let cx = self.cx;
        let (mut pairs, mut seen) = (Vec::new(), HashSet::new());
        loop {
            let next = || -> Result<Option<(Val, Val)>, S::Error> {
                let Some(pair) = seq.next_element_seed(self.seed(Want::Pair(key, value)))? else {
                    return Ok(None);
                };
                let Some((key, value)) = into_pair(pair) else {
                    return Err(self.mismatch("something else"));
                };
                let text = format!("{key:?}");
                cx.charge(text.len() + 64).map_err(S::Error::custom)?;
                if !seen.insert(text) {
                    return Err(S::Error::custom(cx.fail("each key once", "a key twice")));
                }
                Ok(Some((key, value)))
            };
            match cx.at(Step::Index(pairs.len()), next)? {
                Some(pair) => cx.push(&mut pairs, pair).map_err(S::Error::custom)?,
                None => return Ok(Val::Map(pairs)),
            }
        }
    }

    fn entries<'de, M: MapAccess<'de>>(&self, mut map: M, value: &'a Ty) -> Result<Val, M::Error> {
        let cx = self.cx;
        let (mut entries, mut seen) = (Vec::new(), HashSet::new());
        while let Some(key) = map.next_key::<String>()? {
            cx.charge(2 * key.len() + 64).map_err(M::Error::custom)?;
            if !seen.insert(key.clone()) {
                return Err(self.twice(&key));
            }
            let step = Step::Name(Cow::Owned(key.clone()));
            let val = cx.at(step, || map.next_value_seed(self.seed(Want::Ty(value))))?;
            cx.push(&mut entries, (Val::String(key), val))
                .map_err(M::Error::custom)?;
        }
        Ok(Val::Map(entries))
    }

    fn fields<'de, M: MapAccess<'de>>(
        &self,
        mut map: M,
        fields: &'a Named<Ty>,
    ) -> Result<Val, M::Error> {
        let cx = self.cx;
        let names: usize = fields.iter().map(|(name, _)| name.len()).sum();
        let slot = size_of::<(String, Val)>() + size_of::<Option<Val>>();
        cx.charge(names + fields.count() * slot)
            .map_err(M::Error::custom)?;
        let mut vals: Vec<Option<Val>> = vec![None; fields.count()];
        while let Some(key) = map.next_key::<String>()? {
            let Some((index, ty)) = fields.find(&key) else {
                let found = format!("an unknown member {}", scalar::quoted(&key));
                return Err(self.mismatch(&found));
            };
            if vals[index].is_some() {
                return Err(self.twice(&key));
            }
            let step = Step::Name(Cow::Borrowed(fields.name(index)));
            let val = cx.at(step, || map.next_value_seed(self.seed(Want::Ty(ty))))?;
            vals[index] = Some(val);
        }
        let mut record = Vec::with_capacity(fields.count());
        for ((name, ty), val) in fields.iter().zip(vals) {
            let val = match val {
                Some(val) => val,
                None if ty.is_nullable() => Val::Option(None),
                None => return Err(self.mismatch(&format!("no member `{name}`"))),
            };
            record.push((name.to_owned(), val));
        }
        Ok(Val::Record(record))
    }

    fn payload<'de, M: MapAccess<'de>>(
        &self,
        mut map: M,
        cases: &'a Named<Option<Ty>>,
    ) -> Result<Val, M::Error> {
        let Some(key) = map.next_key::<String>()? else {
            return Err(self.mismatch("an empty object"));
        };
        let val = match cases.find(&key) {
            Some((index, Some(ty))) => {
                let step = Step::Name(Cow::Borrowed(cases.name(index)));
                let read = || map.next_value_seed(self.seed(Want::Ty(ty)));
                self.cx.at(step, read)?
            }
            Some((_, None)) => {
                let expected = format!("`\"{key}\"`, as this case has no payload");
                return Err(M::Error::custom(self.cx.fail(expected, "an object")));
            }
            None => {
                let found = format!("an object with {}", scalar::quoted(&key));
                return Err(self.mismatch(&found));
            }
        };
        self.single(map)?;
        self.case(&key, Some(val)).map_err(M::Error::custom)
    }

    fn some<'de, M: MapAccess<'de>>(&self, mut map: M, inner: &'a Ty) -> Result<Val, M::Error> {
        match map.next_key::<String>()? {
            Some(key) if key == "some" => {}
            Some(key) => {
                let found = format!("an object with {}", scalar::quoted(&key));
                return Err(self.mismatch(&found));
            }
            None => return Err(self.mismatch("an empty object")),
        }
        let step = Step::Name(Cow::Borrowed("some"));
        let read = || map.next_value_seed(self.seed(Want::Ty(inner)));
        let val = self.cx.at(step, read)?;
        self.single(map)?;
        Ok(val)
    }

    /// An object that has had its one member has no other.
    fn single<'de, M: MapAccess<'de>>(&self, mut map: M) -> Result<(), M::Error> {
        match map.next_key::<String>()? {
            None => Ok(()),
            Some(_) => Err(self.mismatch("an object with several members")),
        }
    }

    fn case(&self, name: &str, payload: Option<Val>) -> Result<Val, Stop> {
        self.cx.charge(name.len() + size_of::<Val>())?;
        let payload = payload.map(Box::new);
        Ok(match self.want {
            Want::Ty(Ty::Result(_)) if name == "ok" => Val::Result(Ok(payload)),
            Want::Ty(Ty::Result(_)) => Val::Result(Err(payload)),
            _ => Val::Variant(name.to_owned(), payload),
        })
    }

    fn twice<E: Error>(&self, key: &str) -> E {
        let found = format!("{} twice", scalar::quoted(key));
        E::custom(self.cx.fail("each member once", found))
    }
}

fn into_pair(val: Val) -> Option<(Val, Val)> {
    let Val::Tuple(parts) = val else {
        return None;
    };
    let [key, value] = <[Val; 2]>::try_from(parts).ok()?;
    Some((key, value))
}
