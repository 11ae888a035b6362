//! The text that a page shows, in the order in which it is drawn.
//!
//! Lines end where the drawing goes to another height, words where it leaves a gap.
//! Characters come from a font's own table (`ToUnicode`), else from its encoding;
//! fonts that number their shapes and say nothing of their meaning can't be read.

use std::collections::HashMap;
use std::rc::Rc;

use hayro_cmap::{BfString, CMap};
use hayro_syntax::content::TypedIter;
use hayro_syntax::content::ops::TypedInstruction;
use hayro_syntax::object::{Array, Dict, Name, Object, Stream};
use hayro_syntax::page::Resources;
use hayro_syntax::{LoadPdfError, Pdf};

use super::TEXT_BYTES_MAX;

/// Forms inside each other.
const FORMS_MAX: usize = 4;
/// A gap that is a space, in thousandths of the letters' size.
const GAP: f64 = 180.0;

/// The text of each page.
pub(super) fn pages(file: Vec<u8>) -> Result<Vec<String>, String> {
    let pdf = Pdf::new(file).map_err(|error| match error {
        LoadPdfError::Decryption(_) => "it is encrypted".to_owned(),
        LoadPdfError::Invalid => "it is no PDF file, or damaged".to_owned(),
    })?;
    let (mut pages, mut left) = (Vec::new(), TEXT_BYTES_MAX);
    for page in pdf.pages().iter() {
        let mut text = Text {
            left,
            ..Text::default()
        };
        text.read(page.typed_operations(), page.resources(), 0);
        left = text.left;
        pages.push(text.text);
        if left == 0 {
            return Err(format!("it has more than {TEXT_BYTES_MAX} bytes of text"));
        }
    }
    Ok(pages)
}

/// How a font's codes become characters.
struct Font {
    /// Codes have two bytes.
    wide: bool,
    table: Option<CMap>,
    encoding: HashMap<u8, char>,
}

/// What is being read.
#[derive(Default)]
struct Text {
    text: String,
    /// Bytes that may still come.
    left: usize,
    font: Option<Rc<Font>>,
    /// Height of the line.
    height: f64,
}

impl Text {
    fn read(&mut self, mut operations: TypedIter<'_>, resources: &Resources<'_>, depth: usize) {
        let mut fonts: HashMap<Vec<u8>, Rc<Font>> = HashMap::new();
        while let Some(operation) = operations.next() {
            match operation {
                TypedInstruction::TextFont(font) => {
                    let known = fonts.entry(font.0.to_vec());
                    let font = known
                        .or_insert_with(|| Rc::new(Font::new(resources.get_font(font.0).as_ref())));
                    self.font = Some(Rc::clone(font));
                }
                TypedInstruction::BeginText(_) => self.space(),
                TypedInstruction::NextLine(line) => self.next(line.1.as_f64()),
                TypedInstruction::NextLineAndSetLeading(line) => self.next(line.1.as_f64()),
                TypedInstruction::NextLineUsingLeading(_) => self.line(),
                TypedInstruction::SetTextMatrix(matrix) => self.go_to(matrix.5.as_f64()),
                TypedInstruction::ShowText(text) => self.show(text.0.as_bytes()),
                TypedInstruction::NextLineAndShowText(text) => {
                    self.line();
                    self.show(text.0.as_bytes());
                }
                TypedInstruction::ShowTextWithParameters(text) => {
                    self.line();
                    self.show(text.2.as_bytes());
                }
                TypedInstruction::ShowTexts(texts) => self.show_all(texts.0),
                TypedInstruction::XObject(form) if depth < FORMS_MAX => {
                    self.form(resources.get_x_object(form.0), resources, depth);
                }
                _ => {}
            }
            if self.left == 0 {
                return;
            }
        }
    }

    fn form(&mut self, form: Option<Stream<'_>>, outer: &Resources<'_>, depth: usize) {
        let Some(form) = form else { return };
        let kind = form.dict().get::<Name<'_>>("Subtype");
        if kind.is_none_or(|kind| &*kind != b"Form") {
            return;
        }
        let Ok(content) = form.decoded() else { return };
        let own = form.dict().get::<Dict<'_>>("Resources").map(Resources::new);
        let resources = own.as_ref().unwrap_or(outer);
        self.read(TypedIter::new(&content), resources, depth + 1);
    }

    fn show_all(&mut self, texts: &Array<'_>) {
        for part in texts.iter::<Object<'_>>() {
            match part {
                Object::String(text) => self.show(text.as_bytes()),
                Object::Number(gap) if gap.as_f64() < -GAP => self.space(),
                _ => {}
            }
        }
    }

    fn show(&mut self, codes: &[u8]) {
        let Some(font) = self.font.clone() else {
            return;
        };
        let size = if font.wide { 2 } else { 1 };
        for code in codes.chunks_exact(size) {
            match font.character(code) {
                Some(BfString::Char(c)) => self.push(c),
                Some(BfString::String(text)) => text.chars().for_each(|c| self.push(c)),
                None => {}
            }
        }
    }

    fn push(&mut self, c: char) {
        let shown = match c {
            c if c.is_whitespace() || c.is_control() => return self.space(),
            '\u{ad}' => return,
            c => c,
        };
        match self.left.checked_sub(shown.len_utf8()) {
            Some(left) => {
                self.left = left;
                self.text.push(shown);
            }
            None => self.left = 0,
        }
    }

    fn next(&mut self, by: f64) {
        if by.abs() > 0.5 {
            self.height += by;
            self.line();
        } else {
            self.space();
        }
    }

    fn go_to(&mut self, height: f64) {
        if (height - self.height).abs() > 0.5 {
            self.height = height;
            self.line();
        } else {
            self.space();
        }
    }

    fn space(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with([' ', '\n']) {
            self.text.push(' ');
            self.left = self.left.saturating_sub(1);
        }
    }

    fn line(&mut self) {
        if self.text.ends_with(' ') {
            self.text.pop();
        }
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
            self.left = self.left.saturating_sub(1);
        }
    }
}

impl Font {
    fn new(font: Option<&Dict<'_>>) -> Self {
        let kind = font.and_then(|font| font.get::<Name<'_>>("Subtype"));
        let table = font.and_then(|font| font.get::<Stream<'_>>("ToUnicode"));
        let table = table.and_then(|table| table.decoded().ok().map(|data| data.into_owned()));
        let encoding = font.and_then(|font| font.get::<Dict<'_>>("Encoding"));
        let differences = encoding.and_then(|encoding| encoding.get::<Array<'_>>("Differences"));
        Self {
            wide: kind.is_some_and(|kind| &*kind == b"Type0"),
            table: table.and_then(|table| CMap::parse(&table, |_| None)),
            encoding: differences.map(|all| encoding_of(&all)).unwrap_or_default(),
        }
    }

    fn character(&self, code: &[u8]) -> Option<BfString> {
        let number = code
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte));
        let told = self
            .table
            .as_ref()
            .and_then(|table| table.lookup_bf_string(number));
        match (told, code) {
            (Some(told), _) => Some(told),
            (None, [byte]) => {
                let known = self.encoding.get(byte).copied();
                known.or_else(|| windows(*byte)).map(BfString::Char)
            }
            (None, _) => None,
        }
    }
}

/// The characters that a font has instead of the usual ones.
fn encoding_of(differences: &Array<'_>) -> HashMap<u8, char> {
    let (mut encoding, mut code) = (HashMap::new(), 0_u32);
    for part in differences.iter::<Object<'_>>() {
        match part {
            Object::Number(number) => code = number.as_f64().clamp(0.0, 255.0) as u32,
            Object::Name(name) => {
                if let (Ok(code), Some(c)) = (u8::try_from(code), glyph(&name)) {
                    encoding.insert(code, c);
                }
                code += 1;
            }
            _ => {}
        }
    }
    encoding
}

/// The character that a name of a shape stands for, of those that are frequent.
fn glyph(name: &[u8]) -> Option<char> {
    let name = std::str::from_utf8(name).ok()?;
    if let Some(code) = name.strip_prefix("uni").filter(|code| code.len() == 4) {
        return char::from_u32(u32::from_str_radix(code, 16).ok()?);
    }
    let mut chars = name.chars();
    if let (Some(c), None) = (chars.next(), chars.next()) {
        return Some(c);
    }
    let known = GLYPHS.iter().find(|(known, _)| *known == name);
    known.map(|(_, c)| *c)
}

/// From the Adobe Glyph List.
const GLYPHS: [(&str, char); 62] = [
    ("space", ' '),
    ("exclam", '!'),
    ("quotedbl", '"'),
    ("numbersign", '#'),
    ("dollar", '$'),
    ("percent", '%'),
    ("ampersand", '&'),
    ("quotesingle", '\''),
    ("parenleft", '('),
    ("parenright", ')'),
    ("asterisk", '*'),
    ("plus", '+'),
    ("comma", ','),
    ("hyphen", '-'),
    ("period", '.'),
    ("slash", '/'),
    ("zero", '0'),
    ("one", '1'),
    ("two", '2'),
    ("three", '3'),
    ("four", '4'),
    ("five", '5'),
    ("six", '6'),
    ("seven", '7'),
    ("eight", '8'),
    ("nine", '9'),
    ("colon", ':'),
    ("semicolon", ';'),
    ("less", '<'),
    ("equal", '='),
    ("greater", '>'),
    ("question", '?'),
    ("at", '@'),
    ("bracketleft", '['),
    ("backslash", '\\'),
    ("bracketright", ']'),
    ("underscore", '_'),
    ("braceleft", '{'),
    ("bar", '|'),
    ("braceright", '}'),
    ("quoteleft", '\u{2018}'),
    ("quoteright", '\u{2019}'),
    ("quotedblleft", '\u{201c}'),
    ("quotedblright", '\u{201d}'),
    ("endash", '\u{2013}'),
    ("emdash", '\u{2014}'),
    ("bullet", '\u{2022}'),
    ("fi", '\u{fb01}'),
    ("fl", '\u{fb02}'),
    ("ff", '\u{fb00}'),
    ("adieresis", 'ä'),
    ("odieresis", 'ö'),
    ("udieresis", 'ü'),
    ("Adieresis", 'Ä'),
    ("Odieresis", 'Ö'),
    ("Udieresis", 'Ü'),
    ("germandbls", 'ß'),
    ("eacute", 'é'),
    ("egrave", 'è'),
    ("agrave", 'à'),
    ("ccedilla", 'ç'),
    ("ntilde", 'ñ'),
];

/// Windows' western characters, which most fonts without a word have.
fn windows(byte: u8) -> Option<char> {
    const HIGH: [char; 32] = [
        '€', '\0', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\0', 'Ž', '\0', '\0',
        '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}', '•', '–', '—', '˜', '™', 'š', '›', 'œ',
        '\0', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => Some(HIGH[usize::from(byte - 0x80)]).filter(|c| *c != '\0'),
        byte => Some(char::from(byte)),
    }
}
