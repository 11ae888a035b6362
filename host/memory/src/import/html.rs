//! HTML: what a reader sees, without scripts, styles and what is hidden in the head,
//! with headings. Tokens only: what is nested wrongly, or a million levels deep, is
//! no matter.

use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{
    BufferQueue, StartTag, Tag, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};

use super::chunk::{Chunks, Outline, Section, cut};
use crate::model::Source;

pub(super) fn add(text: &str, chunks: &mut Chunks) -> Result<(), String> {
    let page = Tokenizer::new(Reader::default(), TokenizerOpts::default());
    let input = BufferQueue::default();
    input.push_back(StrTendril::from(text));
    // Scripts are not run: nothing interrupts.
    let _ = page.feed(&input);
    page.end();
    let page = page.sink.0.into_inner().done();
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
    /// How many elements are open that are not shown.
    hidden: usize,
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
    fn add(&mut self, text: &str, line: u64) {
        if self.hidden > 0 {
            return;
        }
        if self.lines.last().is_none_or(|(_, last)| *last != line) {
            self.lines.push((self.text.len(), line));
        }
        for c in text.chars() {
            let space = c.is_whitespace() || c.is_control();
            match space {
                true if self.text.ends_with([' ', '\n']) || self.text.is_empty() => {}
                true => self.text.push(' '),
                false => self.text.push(c),
            }
        }
    }

    fn tag(&mut self, tag: &Tag, line: u64) -> TokenSinkResult<()> {
        let (name, opens) = (&*tag.name, tag.kind == StartTag);
        match name {
            "script" | "style" | "noscript" | "iframe" | "noframes" | "noembed" | "xmp"
            | "textarea" | "title" => return self.raw(name, opens, tag.self_closing),
            "template" | "svg" | "math" | "select" if !tag.self_closing => {
                self.hidden = match opens {
                    true => self.hidden + 1,
                    false => self.hidden.saturating_sub(1),
                };
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                let level = usize::from(name.as_bytes()[1] - b'0');
                self.heading_tag(level, opens);
            }
            "td" | "th" => self.add(" ", line),
            "p" | "div" | "ul" | "ol" | "table" | "section" | "article" | "pre" | "blockquote"
            | "header" | "footer" | "main" | "nav" | "aside" | "dl" | "form" | "hr" => {
                self.break_line("\n\n");
            }
            "br" | "li" | "tr" | "dt" | "dd" | "option" | "figcaption" | "caption" => {
                self.break_line("\n");
            }
            _ => {}
        }
        TokenSinkResult::Continue
    }

    /// An element whose contents are text, whatever they look like.
    fn raw(&mut self, name: &str, opens: bool, closed: bool) -> TokenSinkResult<()> {
        if !opens {
            self.hidden = self.hidden.saturating_sub(1);
            return TokenSinkResult::Continue;
        }
        if closed && name != "script" && name != "style" {
            return TokenSinkResult::Continue;
        }
        self.hidden += 1;
        TokenSinkResult::RawData(match name {
            "script" => RawKind::ScriptData,
            "title" | "textarea" => RawKind::Rcdata,
            _ => RawKind::Rawtext,
        })
    }

    fn heading_tag(&mut self, level: usize, opens: bool) {
        self.break_line("\n\n");
        let here = self.text.len();
        match (opens, self.heading.take()) {
            (true, _) => {
                self.end_section(here);
                self.heading = Some((level, here));
            }
            (false, Some((level, began))) => {
                let title = self.text[began..].trim().to_owned();
                self.outline.enter(level, &title);
            }
            (false, None) => {}
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
        if self.hidden > 0 {
            return;
        }
        let end = self.text.trim_end_matches([' ', '\n']).len();
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
