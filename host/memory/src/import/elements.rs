//! Which elements of a page are open, and what that means for the text in them.
//!
//! What must stay true: each tag takes a time that does not grow with how deep it is,
//! all tags together; what an element hides stays hidden until that element ends, as
//! browsers end it, also where tags are missing or too many.

use std::collections::HashMap;

use html5ever::LocalName;
use html5ever::tokenizer::Tag;

/// What an element does to the text around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A heading of a level.
    Heading(usize),
    /// Stands by itself.
    Block,
    /// Begins a line.
    Line,
    /// Stands beside others in a line.
    Cell,
    /// Its contents are text, whatever they look like, and are not shown.
    Raw,
    /// Part of the words it is in.
    Inline,
}

impl Shape {
    pub(super) fn of(name: &str) -> Self {
        match name {
            "script" | "style" | "noscript" | "iframe" | "noframes" | "noembed" | "xmp"
            | "textarea" | "title" => Self::Raw,
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                Self::Heading(usize::from(name.as_bytes()[1] - b'0'))
            }
            "p" | "div" | "ul" | "ol" | "menu" | "dir" | "table" | "section" | "article"
            | "pre" | "listing" | "blockquote" | "header" | "footer" | "main" | "nav" | "aside"
            | "dl" | "form" | "hr" | "details" | "address" | "fieldset" | "figure" | "dialog"
            | "hgroup" | "search" | "center" | "body" => Self::Block,
            "br" | "li" | "tr" | "dt" | "dd" | "option" | "optgroup" | "figcaption" | "caption"
            | "summary" | "legend" => Self::Line,
            "td" | "th" | "button" | "label" | "select" | "input" | "object" | "rt" => Self::Cell,
            _ => Self::Inline,
        }
    }
}

/// An element that is open.
#[derive(Debug)]
struct Element {
    name: LocalName,
    hides: bool,
}

/// The elements that are open, the outermost first.
#[derive(Debug, Default)]
pub(super) struct Open {
    xml: bool,
    stack: Vec<Element>,
    /// Where those of one name are in it.
    places: HashMap<LocalName, Vec<usize>>,
    /// Where those are that no end tag of a part of a line reaches over.
    blocks: Vec<usize>,
    /// Where those are in which an item of a list begins without ending another.
    holders: Vec<usize>,
    /// Where those are that no end tag but their own reaches over.
    walls: Vec<usize>,
    hiding: usize,
}

impl Open {
    pub(super) fn new(xml: bool) -> Self {
        Self {
            xml,
            ..Self::default()
        }
    }

    /// Whether what comes is not shown.
    pub(super) fn hides(&self) -> bool {
        self.hiding > 0
    }

    /// Whether lines and spaces are as they are written.
    pub(super) fn is_pre(&self) -> bool {
        self.last("pre").is_some() || self.last("listing").is_some()
    }

    /// Whether the text of an element begins with this tag, whatever it looks like.
    pub(super) fn takes_raw(&self, tag: &Tag) -> bool {
        let foreign = self.last("svg").is_some() || self.last("math").is_some();
        !(foreign || tag.self_closing && self.closes_itself(&tag.name))
    }

    /// Whether a tag that says so is an element without contents.
    fn closes_itself(&self, name: &str) -> bool {
        self.xml && !matches!(name, "script" | "style")
            || self.last("svg").is_some()
            || self.last("math").is_some()
            || matches!(name, "svg" | "math")
    }

    fn last(&self, name: &str) -> Option<usize> {
        let places = self.places.get(&LocalName::from(name))?;
        places.last().copied()
    }

    /// Ends what an element that begins now ends.
    pub(super) fn end_before(&mut self, name: &str) {
        let holder = self.holders.last().copied();
        let (ended, around): (&[&str], Option<usize>) = match name {
            "li" => (&["li"], holder),
            "dt" | "dd" => (&["dt", "dd"], holder),
            "option" => (&["option"], self.last("select")),
            "optgroup" => (&["option", "optgroup"], self.last("select")),
            "td" | "th" => (&["td", "th", "caption"], self.last("table")),
            "tr" => (&["tr", "td", "th", "caption"], self.last("table")),
            "tbody" | "thead" | "tfoot" => (
                &["tbody", "thead", "tfoot", "tr", "td", "th", "caption"],
                self.last("table"),
            ),
            _ => (&[], None),
        };
        // The outermost of them first: it takes the others with it.
        let places = ended.iter().filter_map(|name| self.last(name));
        if let Some(at) = places.filter(|at| Some(*at) >= around).min() {
            self.truncate(at);
        }
        let block = matches!(Shape::of(name), Shape::Block | Shape::Heading(_));
        let ends_p = block || matches!(name, "li" | "dt" | "dd" | "summary" | "xmp");
        if let Some(at) = self.last("p").filter(|_| ends_p)
            && Some(at) > self.walls.last().copied()
        {
            self.truncate(at);
        }
    }

    fn last_of(&self, names: &[&str]) -> Option<usize> {
        names.iter().filter_map(|name| self.last(name)).max()
    }

    pub(super) fn begin(&mut self, tag: &Tag) {
        let name = &*tag.name;
        let is_void = matches!(
            name,
            "area"
                | "base"
                | "br"
                | "col"
                | "embed"
                | "hr"
                | "img"
                | "input"
                | "link"
                | "meta"
                | "source"
                | "track"
                | "wbr"
        );
        // What is true of the whole page says nothing of its parts.
        let whole = matches!(name, "html" | "body" | "head");
        if is_void || whole || tag.self_closing && self.closes_itself(name) {
            return;
        }
        let shape = Shape::of(name);
        let hides = shape == Shape::Raw
            || matches!(name, "template" | "svg" | "math" | "select" | "datalist")
            || is_hidden(tag);
        let at = self.stack.len();
        self.hiding += usize::from(hides);
        self.places.entry(tag.name.clone()).or_default().push(at);
        if is_wall(name) {
            self.walls.push(at);
        }
        if is_block(name, shape) {
            self.blocks.push(at);
            if !matches!(name, "address" | "div" | "p") {
                self.holders.push(at);
            }
        }
        let name = tag.name.clone();
        self.stack.push(Element { name, hides });
    }

    /// Ends the innermost element of this name, with all in it, if it can be reached.
    pub(super) fn end(&mut self, name: &str) {
        let at = match Shape::of(name) {
            // Any of them ends any of them.
            Shape::Heading(_) => self.last_of(&["h1", "h2", "h3", "h4", "h5", "h6"]),
            _ => self.last(name),
        };
        let Some(at) = at else {
            return;
        };
        let around = match name {
            "template" | "svg" | "math" => None,
            "table" => self.last("template"),
            "caption" | "tbody" | "thead" | "tfoot" | "tr" | "td" | "th" => {
                self.last_of(&["table", "template"])
            }
            "li" => self.last_of(&["ul", "ol", "menu"]).max(self.wall(at)),
            _ if is_block(name, Shape::of(name)) => self.wall(at),
            _ => self.blocks.last().copied(),
        };
        if Some(at) >= around {
            self.truncate(at);
        }
    }

    /// The innermost wall, unless it is this element itself.
    fn wall(&self, at: usize) -> Option<usize> {
        self.walls.last().copied().filter(|wall| *wall != at)
    }

    fn truncate(&mut self, len: usize) {
        while self.stack.len() > len {
            let Some(element) = self.stack.pop() else {
                return;
            };
            self.hiding -= usize::from(element.hides);
            if let Some(places) = self.places.get_mut(&element.name) {
                places.pop();
            }
        }
        for marks in [&mut self.blocks, &mut self.holders, &mut self.walls] {
            while marks.last().is_some_and(|at| *at >= len) {
                marks.pop();
            }
        }
    }
}

fn is_wall(name: &str) -> bool {
    matches!(
        name,
        "button"
            | "caption"
            | "table"
            | "td"
            | "th"
            | "template"
            | "object"
            | "applet"
            | "marquee"
            | "svg"
            | "math"
    )
}

fn is_block(name: &str, shape: Shape) -> bool {
    is_wall(name)
        || matches!(
            shape,
            Shape::Block | Shape::Line | Shape::Heading(_) | Shape::Raw
        ) && !matches!(name, "option" | "optgroup")
        || matches!(name, "tbody" | "thead" | "tfoot" | "select")
}

/// Whether a tag says of its element that it is not shown.
fn is_hidden(tag: &Tag) -> bool {
    tag.attrs.iter().any(|attr| match &*attr.name.local {
        "hidden" => true,
        "aria-hidden" => attr.value.trim().eq_ignore_ascii_case("true"),
        "style" => style_hides(&attr.value),
        _ => false,
    })
}

fn style_hides(style: &str) -> bool {
    let style = without_comments(&style.to_ascii_lowercase());
    style.split(';').any(|one| {
        let Some((name, value)) = one.split_once(':') else {
            return false;
        };
        let value = value.split('!').next().unwrap_or_default().trim();
        match name.trim() {
            "display" => value == "none",
            "visibility" => matches!(value, "hidden" | "collapse"),
            "content-visibility" => value == "hidden",
            _ => false,
        }
    })
}

fn without_comments(style: &str) -> String {
    let (mut kept, mut rest) = (String::with_capacity(style.len()), style);
    while let Some((before, comment)) = rest.split_once("/*") {
        kept.push_str(before);
        rest = comment.split_once("*/").map_or("", |(_, rest)| rest);
    }
    kept.push_str(rest);
    kept
}
