//! The types of a function, read once from the compiled component. Everything
//! else here is a function of this model, so that it can be tested without a
//! component.

use std::fmt;

use wasmtime::component::types::Type;

use crate::inspect::Refused;

/// Most types in one signature, names counted.
pub const NODES_MAX: usize = 4096;

/// Deepest nesting of types in a signature.
pub const DEPTH_MAX: usize = 48;

/// Integers beyond this don't survive a JSON number in every reader.
pub const SAFE_INTEGER: i128 = (1 << 53) - 1;

/// A WIT type that has a JSON form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ty {
    /// `true` or `false`.
    Bool,
    /// A number; 64-bit ones beyond ±(2^53 − 1) as a decimal string, which is
    /// accepted for all their values.
    Int(Int),
    /// `f32`: a number, or one of the strings `NaN`, `Infinity`, `-Infinity`.
    F32,
    /// `f64`: a number, or one of the strings `NaN`, `Infinity`, `-Infinity`.
    F64,
    /// A string of one Unicode scalar value.
    Char,
    /// A string.
    String,
    /// `list<u8>`: a string in base64 (standard alphabet, padded).
    Bytes,
    /// `list<u8, n>`: the same, of exactly n bytes.
    FixedBytes(usize),
    /// An array.
    List(Box<Ty>),
    /// `list<t, n>`: an array of exactly n elements.
    FixedList(Box<Ty>, usize),
    /// `map<k, v>`: an object when the keys are strings, else an array of
    /// `[key, value]` pairs; no key twice.
    Map(Box<Ty>, Box<Ty>),
    /// An object with exactly the fields; those of an option type may be left
    /// out.
    Record(Named<Ty>),
    /// An array of exactly the elements.
    Tuple(Vec<Ty>),
    /// A case without a payload is its name as a string, one with a payload an
    /// object of one member, `{"case": payload}`.
    Variant(Named<Option<Ty>>),
    /// The name of the case.
    Enum(Named<()>),
    /// `null` for none, else the value; an option directly inside an option is
    /// `null` or `{"some": inner}`.
    Option(Box<Ty>),
    /// The same form as a variant with the cases `ok` and `err`.
    Result(Named<Option<Ty>>),
    /// An array of the names that are set, none twice.
    Flags(Named<()>),
}

/// An integer type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Int {
    /// Whether it has negative values.
    pub signed: bool,
    /// 8, 16, 32 or 64.
    pub bits: u32,
}

impl Int {
    /// The smallest value.
    pub fn min(self) -> i128 {
        if self.signed {
            -(1 << (self.bits - 1))
        } else {
            0
        }
    }

    /// The largest value.
    pub fn max(self) -> i128 {
        let bits = self.bits - u32::from(self.signed);
        (1 << bits) - 1
    }

    /// Whether some values are decimal strings.
    pub fn is_wide(self) -> bool {
        self.bits == 64
    }
}

/// Named parts in declaration order, found by name without scanning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<T> {
    items: Vec<(String, T)>,
    by_name: Vec<usize>,
}

impl<T> Named<T> {
    /// Parts in declaration order. Names are unique, as validation requires.
    pub fn new(items: Vec<(String, T)>) -> Self {
        let mut by_name: Vec<usize> = (0..items.len()).collect();
        by_name.sort_by(|a, b| items[*a].0.cmp(&items[*b].0));
        Self { items, by_name }
    }

    /// The part with this name and its index.
    pub fn find(&self, name: &str) -> Option<(usize, &T)> {
        let compare = |index: &usize| self.items[*index].0.as_str().cmp(name);
        let at = self.by_name.binary_search_by(compare).ok()?;
        let index = self.by_name[at];
        Some((index, &self.items[index].1))
    }

    /// In declaration order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &T)> + Clone {
        self.items.iter().map(|(name, part)| (name.as_str(), part))
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.items.len()
    }

    /// The name of one part.
    pub fn name(&self, index: usize) -> &str {
        &self.items[index].0
    }
}

impl Ty {
    /// Whether `null` is the JSON of one of its values.
    pub fn is_nullable(&self) -> bool {
        matches!(self, Self::Option(_))
    }
}

/// Why a type is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TyError {
    /// It has no JSON form.
    Refused(Refused),
    /// More than [`NODES_MAX`] parts.
    TooMany,
    /// Deeper than [`DEPTH_MAX`].
    TooDeep,
}

/// Reads the types of one signature within its bounds. Types that are used
/// often are written out each time, so that a small component can describe a
/// huge one; hence the count.
pub struct TyReader {
    left: usize,
    depth: usize,
}

impl Default for TyReader {
    fn default() -> Self {
        Self {
            left: NODES_MAX,
            depth: 0,
        }
    }
}

impl TyReader {
    /// Reads one type.
    ///
    /// # Errors
    /// What has no JSON form, or a bound that was reached.
    pub fn read(&mut self, ty: &Type) -> Result<Ty, TyError> {
        self.count(1)?;
        if self.depth >= DEPTH_MAX {
            return Err(TyError::TooDeep);
        }
        self.depth += 1;
        let read = self.read_inner(ty);
        self.depth -= 1;
        read
    }

    fn read_inner(&mut self, ty: &Type) -> Result<Ty, TyError> {
        Ok(match ty {
            Type::Bool => Ty::Bool,
            Type::S8 => int(true, 8),
            Type::U8 => int(false, 8),
            Type::S16 => int(true, 16),
            Type::U16 => int(false, 16),
            Type::S32 => int(true, 32),
            Type::U32 => int(false, 32),
            Type::S64 => int(true, 64),
            Type::U64 => int(false, 64),
            Type::Float32 => Ty::F32,
            Type::Float64 => Ty::F64,
            Type::Char => Ty::Char,
            Type::String => Ty::String,
            Type::Own(_) | Type::Borrow(_) => return Err(TyError::Refused(Refused::Resource)),
            Type::Future(_) => return Err(TyError::Refused(Refused::Future)),
            Type::Stream(_) => return Err(TyError::Refused(Refused::Stream)),
            Type::ErrorContext => return Err(TyError::Refused(Refused::ErrorContext)),
            compound => return self.compound(compound),
        })
    }

    fn compound(&mut self, ty: &Type) -> Result<Ty, TyError> {
        Ok(match ty {
            Type::List(list) if list.ty() == Type::U8 => Ty::Bytes,
            Type::List(list) => Ty::List(self.boxed(&list.ty())?),
            Type::FixedLengthList(list) => {
                let len = list.len() as usize;
                match list.ty() {
                    Type::U8 => Ty::FixedBytes(len),
                    element => Ty::FixedList(self.boxed(&element)?, len),
                }
            }
            Type::Map(map) => Ty::Map(self.boxed(&map.key())?, self.boxed(&map.value())?),
            Type::Record(record) => {
                let mut fields = Vec::new();
                for field in record.fields() {
                    self.count(1)?;
                    fields.push((field.name.to_owned(), self.read(&field.ty)?));
                }
                Ty::Record(Named::new(fields))
            }
            Type::Tuple(tuple) => {
                let types: Vec<Type> = tuple.types().collect();
                let read: Result<_, _> = types.iter().map(|ty| self.read(ty)).collect();
                Ty::Tuple(read?)
            }
            Type::Variant(variant) => {
                let cases = variant.cases().map(|case| (case.name, case.ty));
                Ty::Variant(self.cases(cases)?)
            }
            Type::Enum(names) => Ty::Enum(self.names(names.names())?),
            Type::Flags(names) => Ty::Flags(self.names(names.names())?),
            Type::Option(option) => Ty::Option(self.boxed(&option.ty())?),
            Type::Result(result) => {
                let cases = [("ok", result.ok()), ("err", result.err())];
                Ty::Result(self.cases(cases)?)
            }
            plain => return self.read_inner(plain),
        })
    }

    fn boxed(&mut self, ty: &Type) -> Result<Box<Ty>, TyError> {
        self.read(ty).map(Box::new)
    }

    fn cases<'a>(
        &mut self,
        cases: impl IntoIterator<Item = (&'a str, Option<Type>)>,
    ) -> Result<Named<Option<Ty>>, TyError> {
        let mut read = Vec::new();
        for (name, ty) in cases {
            self.count(1)?;
            let ty = ty.map(|ty| self.read(&ty)).transpose()?;
            read.push((name.to_owned(), ty));
        }
        Ok(Named::new(read))
    }

    fn names<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> Result<Named<()>, TyError> {
        let mut read = Vec::new();
        for name in names {
            self.count(1)?;
            read.push((name.to_owned(), ()));
        }
        Ok(Named::new(read))
    }

    fn count(&mut self, nodes: usize) -> Result<(), TyError> {
        self.left = self.left.checked_sub(nodes).ok_or(TyError::TooMany)?;
        Ok(())
    }
}

fn int(signed: bool, bits: u32) -> Ty {
    Ty::Int(Int { signed, bits })
}

/// The type as WIT writes it.
impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Int(int) => write!(f, "{}{}", if int.signed { "s" } else { "u" }, int.bits),
            Self::F32 => f.write_str("f32"),
            Self::F64 => f.write_str("f64"),
            Self::Char => f.write_str("char"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("list<u8>"),
            Self::FixedBytes(len) => write!(f, "list<u8, {len}>"),
            Self::List(ty) => write!(f, "list<{ty}>"),
            Self::FixedList(ty, len) => write!(f, "list<{ty}, {len}>"),
            Self::Map(key, value) => write!(f, "map<{key}, {value}>"),
            Self::Record(_) => f.write_str("record"),
            Self::Tuple(types) => {
                let types: Vec<String> = types.iter().map(Self::to_string).collect();
                write!(f, "tuple<{}>", types.join(", "))
            }
            Self::Variant(_) => f.write_str("variant"),
            Self::Enum(_) => f.write_str("enum"),
            Self::Option(ty) => write!(f, "option<{ty}>"),
            Self::Result(cases) => {
                let part = |name: &str| cases.find(name).and_then(|(_, ty)| ty.as_ref());
                match (part("ok"), part("err")) {
                    (None, None) => f.write_str("result"),
                    (Some(ok), None) => write!(f, "result<{ok}>"),
                    (None, Some(err)) => write!(f, "result<_, {err}>"),
                    (Some(ok), Some(err)) => write!(f, "result<{ok}, {err}>"),
                }
            }
            Self::Flags(_) => f.write_str("flags"),
        }
    }
}
