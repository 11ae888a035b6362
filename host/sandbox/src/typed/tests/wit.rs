//! Types for tests, written as in WIT, with records and the like in place:
//! `record { a: u8, b: option<string> }`, `variant { none, some(u8) }`.

use super::super::ty::{Int, Named, Ty};

/// Reads one type.
pub fn ty(text: &str) -> Ty {
    let mut rest = text;
    let ty = Reader { rest: &mut rest }.ty();
    assert_eq!(rest.trim(), "", "unread text of `{text}`");
    ty
}

struct Reader<'r, 'a> {
    rest: &'r mut &'a str,
}

impl<'a> Reader<'_, 'a> {
    fn ty(&mut self) -> Ty {
        let name = self.word();
        match name {
            "bool" => Ty::Bool,
            "f32" => Ty::F32,
            "f64" => Ty::F64,
            "char" => Ty::Char,
            "string" => Ty::String,
            "list" => self.list(),
            "option" => Ty::Option(Box::new(self.args().remove(0))),
            "tuple" => Ty::Tuple(self.args()),
            "map" => {
                let mut args = self.args();
                let value = args.pop().expect("a value type");
                Ty::Map(Box::new(args.remove(0)), Box::new(value))
            }
            "result" => self.result(),
            "record" => Ty::Record(Named::new(self.members(|reader| {
                reader.expect(":");
                reader.ty()
            }))),
            "variant" => Ty::Variant(Named::new(self.members(|reader| {
                reader.accept("(").then(|| {
                    let ty = reader.ty();
                    reader.expect(")");
                    ty
                })
            }))),
            "enum" => Ty::Enum(Named::new(self.members(|_| ()))),
            "flags" => Ty::Flags(Named::new(self.members(|_| ()))),
            int => Ty::Int(Int {
                signed: int.starts_with('s'),
                bits: int[1..].parse().expect(int),
            }),
        }
    }

    fn list(&mut self) -> Ty {
        self.expect("<");
        let element = self.ty();
        let len = self
            .accept(",")
            .then(|| self.word().parse().expect("a length"));
        self.expect(">");
        let byte = Ty::Int(Int {
            signed: false,
            bits: 8,
        });
        match (element == byte, len) {
            (true, None) => Ty::Bytes,
            (true, Some(len)) => Ty::FixedBytes(len),
            (false, None) => Ty::List(Box::new(element)),
            (false, Some(len)) => Ty::FixedList(Box::new(element), len),
        }
    }

    fn result(&mut self) -> Ty {
        let (mut ok, mut err) = (None, None);
        if self.accept("<") {
            ok = (!self.accept("_")).then(|| self.ty());
            err = self.accept(",").then(|| self.ty());
            self.expect(">");
        }
        let cases = vec![("ok".to_owned(), ok), ("err".to_owned(), err)];
        Ty::Result(Named::new(cases))
    }

    fn args(&mut self) -> Vec<Ty> {
        self.expect("<");
        let mut args = vec![self.ty()];
        while self.accept(",") {
            args.push(self.ty());
        }
        self.expect(">");
        args
    }

    fn members<T>(&mut self, mut part: impl FnMut(&mut Self) -> T) -> Vec<(String, T)> {
        self.expect("{");
        let mut members = Vec::new();
        while !self.accept("}") {
            let name = self.word().to_owned();
            members.push((name, part(self)));
            self.accept(",");
        }
        members
    }

    fn word(&mut self) -> &'a str {
        let text = self.rest.trim_start();
        let end = text
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .unwrap_or(text.len());
        assert!(end > 0, "a name at `{text}`");
        *self.rest = &text[end..];
        &text[..end]
    }

    fn accept(&mut self, mark: &str) -> bool {
        match self.rest.trim_start().strip_prefix(mark) {
            Some(rest) => {
                *self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, mark: &str) {
        assert!(self.accept(mark), "`{mark}` at `{}`", self.rest);
    }
}
