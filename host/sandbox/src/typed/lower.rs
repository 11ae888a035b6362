//! Component values to JSON text. The value is a guest's: the text is bounded
//! while it is written, not afterwards.

use std::collections::HashMap;
use std::io::{self, Write};

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use wasmtime::component::Val;

use super::ty::{Named, SAFE_INTEGER, Ty};

/// Why a value has no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LowerError {
    /// The text would be longer than it may.
    #[error("the output is longer than {max} bytes")]
    TooLong {
        /// The limit.
        max: usize,
    },
    /// The value is not of the type: the host's fault.
    #[error("the value is not of the function's type {expected}")]
    Mismatch {
        /// The type.
        expected: &'static str,
    },
}

/// Writes a value as JSON of at most `max` bytes.
///
/// # Errors
/// See [`LowerError`].
pub fn value(ty: &Ty, val: &Val, max: usize) -> Result<String, LowerError> {
    let mut out = Out {
        text: Vec::new(),
        max,
    };
    out.value(ty, val)?;
    String::from_utf8(out.text).map_err(|_| LowerError::Mismatch { expected: "UTF-8" })
}

struct Out {
    text: Vec<u8>,
    max: usize,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > self.max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Out {
    fn value(&mut self, ty: &Ty, val: &Val) -> Result<(), LowerError> {
        match (ty, val) {
            (Ty::Bool, Val::Bool(value)) => self.json(value),
            (Ty::Int(_), Val::S8(value)) => self.integer((*value).into()),
            (Ty::Int(_), Val::U8(value)) => self.integer((*value).into()),
            (Ty::Int(_), Val::S16(value)) => self.integer((*value).into()),
            (Ty::Int(_), Val::U16(value)) => self.integer((*value).into()),
            (Ty::Int(_), Val::S32(value)) => self.integer((*value).into()),
            (Ty::Int(_), Val::U32(value)) => self.integer((*value).into()),
            (Ty::Int(_), Val::S64(value)) => self.integer((*value).into()),
            (Ty::Int(_), Val::U64(value)) => self.integer((*value).into()),
            (Ty::F32, Val::Float32(value)) if value.is_finite() => self.json(value),
            (Ty::F64, Val::Float64(value)) if value.is_finite() => self.json(value),
            (Ty::F32, Val::Float32(value)) => self.not_a_number((*value).into()),
            (Ty::F64, Val::Float64(value)) => self.not_a_number(*value),
            (Ty::Char, Val::Char(value)) => self.json(value),
            (Ty::String, Val::String(value)) => self.json(value),
            (Ty::Enum(_), Val::Enum(name)) => self.json(name),
            (Ty::Flags(_), Val::Flags(names)) => self.json(names),
            _ => self.compound(ty, val),
        }
    }

    fn compound(&mut self, ty: &Ty, val: &Val) -> Result<(), LowerError> {
        match (ty, val) {
            (Ty::Bytes, Val::List(bytes)) | (Ty::FixedBytes(_), Val::FixedLengthList(bytes)) => {
                self.bytes(bytes)
            }
            (Ty::List(ty), Val::List(items))
            | (Ty::FixedList(ty, _), Val::FixedLengthList(items)) => {
                self.array(items.iter().map(|item| (&**ty, item)))
            }
            (Ty::Tuple(types), Val::Tuple(items)) if types.len() == items.len() => {
                self.array(types.iter().zip(items))
            }
            (Ty::Map(key, value), Val::Map(entries)) => self.map(key, value, entries),
            (Ty::Record(fields), Val::Record(vals)) => self.record(fields, vals),
            (Ty::Variant(cases), Val::Variant(name, payload)) => {
                self.case(cases, name, payload.as_deref())
            }
            (Ty::Result(cases), Val::Result(Ok(payload))) => {
                self.case(cases, "ok", payload.as_deref())
            }
            (Ty::Result(cases), Val::Result(Err(payload))) => {
                self.case(cases, "err", payload.as_deref())
            }
            (Ty::Option(_), Val::Option(None)) => self.raw("null"),
            (Ty::Option(inner), Val::Option(Some(val))) if inner.is_nullable() => {
                self.raw("{\"some\":")?;
                self.value(inner, val)?;
                self.raw("}")
            }
            (Ty::Option(inner), Val::Option(Some(val))) => self.value(inner, val),
            _ => Err(LowerError::Mismatch {
                expected: "that its WIT states",
            }),
        }
    }

    fn raw(&mut self, text: &str) -> Result<(), LowerError> {
        self.write_all(text.as_bytes()).map_err(|_| self.too_long())
    }

    fn json(&mut self, value: &impl serde::Serialize) -> Result<(), LowerError> {
        serde_json::to_writer(&mut *self, value).map_err(|_| self.too_long())
    }

    fn too_long(&self) -> LowerError {
        LowerError::TooLong { max: self.max }
    }

    fn integer(&mut self, value: i128) -> Result<(), LowerError> {
        if value.abs() <= SAFE_INTEGER {
            return self.raw(&value.to_string());
        }
        self.raw(&format!("\"{value}\""))
    }

    fn not_a_number(&mut self, value: f64) -> Result<(), LowerError> {
        self.raw(match (value.is_nan(), value > 0.0) {
            (true, _) => "\"NaN\"",
            (false, true) => "\"Infinity\"",
            (false, false) => "\"-Infinity\"",
        })
    }

    /// Base64 without a copy of all bytes: in pieces that need no padding.
    fn bytes(&mut self, bytes: &[Val]) -> Result<(), LowerError> {
        self.raw("\"")?;
        let mut piece = [0_u8; 3 * 1024];
        for vals in bytes.chunks(piece.len()) {
            for (byte, val) in piece.iter_mut().zip(vals) {
                let Val::U8(value) = val else {
                    return Err(LowerError::Mismatch {
                        expected: "list<u8>",
                    });
                };
                *byte = *value;
            }
            let encoded = Base64Display::new(&piece[..vals.len()], &STANDARD).to_string();
            self.raw(&encoded)?;
        }
        self.raw("\"")
    }

    fn array<'v>(
        &mut self,
        items: impl Iterator<Item = (&'v Ty, &'v Val)>,
    ) -> Result<(), LowerError> {
        self.raw("[")?;
        for (index, (ty, val)) in items.enumerate() {
            self.comma(index)?;
            self.value(ty, val)?;
        }
        self.raw("]")
    }

    fn record(&mut self, fields: &Named<Ty>, vals: &[(String, Val)]) -> Result<(), LowerError> {
        self.raw("{")?;
        for (index, (name, val)) in vals.iter().enumerate() {
            let (_, ty) = fields
                .find(name)
                .ok_or(LowerError::Mismatch { expected: "record" })?;
            self.comma(index)?;
            self.json(name)?;
            self.raw(":")?;
            self.value(ty, val)?;
        }
        self.raw("}")
    }

    /// A guest may give a key twice; the last one counts.
    fn map(&mut self, key: &Ty, value: &Ty, entries: &[(Val, Val)]) -> Result<(), LowerError> {
        let mut keys = Vec::with_capacity(entries.len().min(self.max));
        for (entry, _) in entries {
            keys.push(self::value(key, entry, self.max)?);
        }
        let last: HashMap<&str, usize> = keys
            .iter()
            .enumerate()
            .map(|(index, key)| (key.as_str(), index))
            .collect();
        let is_object = *key == Ty::String;
        self.raw(if is_object { "{" } else { "[" })?;
        let mut written = 0;
        for (index, (_, val)) in entries.iter().enumerate() {
            if last.get(keys[index].as_str()) != Some(&index) {
                continue;
            }
            self.comma(written)?;
            written += 1;
            self.raw(if is_object { "" } else { "[" })?;
            self.raw(&keys[index])?;
            self.raw(if is_object { ":" } else { "," })?;
            self.value(value, val)?;
            self.raw(if is_object { "" } else { "]" })?;
        }
        self.raw(if is_object { "}" } else { "]" })
    }

    fn case(
        &mut self,
        cases: &Named<Option<Ty>>,
        name: &str,
        payload: Option<&Val>,
    ) -> Result<(), LowerError> {
        let ty = cases.find(name).map(|(_, ty)| ty.as_ref());
        match (ty, payload) {
            (Some(None), None) => self.json(&name),
            (Some(Some(ty)), Some(val)) => {
                self.raw("{")?;
                self.json(&name)?;
                self.raw(":")?;
                self.value(ty, val)?;
                self.raw("}")
            }
            _ => Err(LowerError::Mismatch {
                expected: "variant",
            }),
        }
    }

    fn comma(&mut self, index: usize) -> Result<(), LowerError> {
        self.raw(if index == 0 { "" } else { "," })
    }
}
