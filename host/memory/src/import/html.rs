//! HTML: what a reader sees, without scripts, styles, what is hidden in the head and
//! what an element says is not shown, with headings. Tokens only: what is nested
//! wrongly, or a million levels deep, is no matter.
//!
//! What must stay true: words of different blocks are different words. Style sheets
//! are not read: what only they hide is there.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{
    BufferQueue, StartTag, Tag, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};

use super::chunk::{Chunks, Outline, Section, cut};
use super::elements::{Open, Shape};
use crate::model::Source;

/// How long a page may take. What a tag's attributes take is the square of how many
/// there are.
const TIME_MAX: Duration = Duration::from_secs(20);
/// Bytes between two looks at the time.
const PIECE_BYTES: usize = 16 << 10;

/// `xml`: an element may be closed where it begins.
pub(super) fn add(text: &str, xml: bool, chunks: &mut Chunks) -> Result<(), String> {
    let page = read(text, xml, PIECE_BYTES, TIME_MAX)?;
    for section in &page.sections {
        for (start, end) in cut(&page.text[section.start..section.end]) {
            let (start, end) = (section.start + start, section.start + end);
            let source = Source {
                lines: Some((page.line_of(start), page.line_of(end - 1))),
                headings: section.headings.clone(),
                ..Source::default()
            };
            chunks.push(&page.text[start..end], source)?;
        }
    }
    Ok(())
}

fn read(text: &str, xml: bool, piece_bytes: usize, time_max: Duration) -> Result<Page, String> {
    let reader = Reader(RefCell::new(Page {
        open: Open::new(xml),
        ..Page::default()
    }));
    let page = Tokenizer::new(reader, TokenizerOpts::default());
    let (input, begun, mut rest) = (BufferQueue::default(), Instant::now(), text);
    while !rest.is_empty() {
        if begun.elapsed() > time_max {
            return Err(format!("reading it takes more than {time_max:?}"));
        }
        let (piece, behind) = rest.split_at(rest.ceil_char_boundary(piece_bytes));
        input.push_back(StrTendril::from(piece));
        // Scripts are not run: nothing interrupts.
        let _ = page.feed(&input);
        rest = behind;
    }
    page.end();
    Ok(page.sink.0.into_inner().done())
}

/// What was read.
#[derive(Default)]
struct Page {
    text: String,
    /// Where in `text` a line of the file begins.
    lines: Vec<(usize, u64)>,
    sections: Vec<Section>,
    outline: Outline,
    start: usize,
    /// The heading that is being read: its level, and where it began.
    heading: Option<(usize, usize)>,
    open: Open,
    /// A `<pre>` has just begun: a line break there is not shown.
    begins_pre: bool,
}

#[derive(Default)]
struct Reader(RefCell<Page>);

impl TokenSink for Reader {
    type Handle = ();

    fn process_token(&self, token: Token, line: u64) -> TokenSinkResult<()> {
        let mut page = self.0.borrow_mut();
        match token {
            Token::CharacterTokens(text) => page.add(&text, line),
            Token::TagToken(tag) => return page.tag(&tag, line),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

impl Page {
    /// `line`: where the text ends.
    fn add(&mut self, text: &str, line: u64) {
        if self.open.hides() {
            return;
        }
        let breaks = text.bytes().filter(|byte| *byte == b'\n').count() as u64;
        let mut line = line.saturating_sub(breaks).max(1);
        self.at_line(line);
        let (pre, mut first) = (self.open.is_pre(), std::mem::take(&mut self.begins_pre));
        for c in text.chars() {
            let space = c.is_whitespace() || c.is_control();
            match space {
                true if pre && matches!(c, ' ' | '\t' | '\n') => {
                    if !(first && c == '\n') {
                        self.text.push(c);
                    }
                }
                true if self.text.ends_with([' ', '\n']) || self.text.is_empty() => {}
                true => self.text.push(' '),
                false => self.text.push(c),
            }
            if c == '\n' {
                line += 1;
                self.at_line(line);
            }
            first = false;
        }
    }

    /// What comes is in this line of the file.
    fn at_line(&mut self, line: u64) {
        let here = self.text.len();
        // What was there behind it was cut off.
        while self.lines.pop_if(|(at, _)| *at > here).is_some() {}
        match self.lines.last_mut() {
            Some((_, last)) if *last == line => {}
            Some((at, last)) if *at == here => *last = line,
            _ => self.lines.push((here, line)),
        }
    }

    fn tag(&mut self, tag: &Tag, line: u64) -> TokenSinkResult<()> {
        let (name, opens) = (&*tag.name, tag.kind == StartTag);
        let shape = Shape::of(name);
        if opens {
            self.open.end_before(&tag.name);
            self.part(shape, line);
            self.open.begin(tag);
        } else {
            if let (Shape::Heading(_), false) = (shape, self.open.hides()) {
                self.end_heading();
            }
            self.open.end(&tag.name);
            self.part(shape, line);
        }
        match (name, opens, shape) {
            (_, true, Shape::Raw) if self.open.takes_raw(tag) => {
                return TokenSinkResult::RawData(match name {
                    "script" => RawKind::ScriptData,
                    "title" | "textarea" => RawKind::Rcdata,
                    _ => RawKind::Rawtext,
                });
            }
            (_, true, Shape::Heading(level)) if !self.open.hides() => self.begin_heading(level),
            ("pre", true, _) => self.begins_pre = true,
            _ => {}
        }
        TokenSinkResult::Continue
    }

    /// Keeps what comes apart from what was there.
    fn part(&mut self, shape: Shape, line: u64) {
        match shape {
            Shape::Block | Shape::Heading(_) => self.break_line("\n\n"),
            Shape::Line => self.break_line("\n"),
            Shape::Cell => self.add(" ", line),
            Shape::Raw | Shape::Inline => {}
        }
    }

    fn begin_heading(&mut self, level: usize) {
        let here = self.text.len();
        self.end_section(here);
        self.heading = Some((level, here));
    }

    fn end_heading(&mut self) {
        self.break_line("\n\n");
        if let Some((level, began)) = self.heading.take() {
            let title = self.text[began..].trim().to_owned();
            self.outline.enter(level, &title);
        }
    }

    fn end_section(&mut self, end: usize) {
        if !self.text[self.start..end].trim().is_empty() {
            self.sections.push(Section {
                start: self.start,
                end,
                headings: self.outline.path(),
            });
        }
        self.start = end;
    }

    fn break_line(&mut self, with: &str) {
        if self.open.hides() {
            return;
        }
        let end = self.text.trim_end_matches([' ', '\t', '\n']).len();
        let breaks = self.text[end..]
            .bytes()
            .filter(|byte| *byte == b'\n')
            .count();
        self.text.truncate(end);
        if end > 0 {
            self.text
                .push_str(if breaks > with.len() { "\n\n" } else { with });
        }
    }

    fn done(mut self) -> Self {
        self.end_section(self.text.len());
        self
    }

    fn line_of(&self, place: usize) -> u64 {
        let after = self.lines.partition_point(|(at, _)| *at <= place);
        self.lines
            .get(after.saturating_sub(1))
            .map_or(1, |(_, line)| *line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_the_same_in_whatever_pieces_it_is_read() {
        let text = "\u{feff}<!doctype html>\r\n<title>T</title><h1 a='x>y' b=\"<\">Top &amp; \
                    co</h1>\r\n<script>var x = '<p>no</p>';</script><p hidden>no</p><!-- no --><p>\
                    one<b>two</b>\r\n three &#x1F980; &copy &notin;<pre>\n a\n  b\r\n</pre>größe\
                    <h2>Next</h2><style>a { }</style>last &lt;<![CDATA[x]]></";
        let whole = read(text, false, text.len(), TIME_MAX).expect("a page");
        for piece in 1..40 {
            let page = read(text, false, piece, TIME_MAX).expect("a page");
            assert_eq!(page.text, whole.text, "{piece}");
            let headings = |page: &Page| -> Vec<_> {
                let sections = page.sections.iter();
                sections
                    .map(|part| (part.start, part.end, part.headings.clone()))
                    .collect()
            };
            assert_eq!(headings(&page), headings(&whole), "{piece}");
            let lines = |page: &Page| -> Vec<u64> {
                (0..page.text.len()).map(|at| page.line_of(at)).collect()
            };
            assert_eq!(lines(&page), lines(&whole), "{piece}");
        }
    }

    #[test]
    fn a_tag_with_ever_more_attributes_ends_with_the_time() {
        let attributes: String = (0..200_000).map(|n| format!(" a{n}=1")).collect();
        let (text, begun) = (format!("<p>word<a{attributes}>"), Instant::now());
        let refused = read(&text, false, PIECE_BYTES, Duration::from_millis(200));
        let refused = refused.map(|_| ()).expect_err("it takes too long");
        assert_eq!(refused, "reading it takes more than 200ms");
        assert!(begun.elapsed() < Duration::from_secs(15));
    }
}
