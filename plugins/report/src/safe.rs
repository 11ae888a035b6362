//! Makes the parser's events safe to write as HTML: raw HTML becomes text, and
//! links go only to addresses of harmless kinds.

use pulldown_cmark::{CowStr, Event, Tag, TagEnd};

/// Counts what was left out on the way.
#[derive(Default)]
pub(crate) struct Filter {
    pub(crate) removed: usize,
    /// For each open link or image, whether it is kept.
    open: Vec<bool>,
}

impl Filter {
    /// The event to write in place of this one, if any.
    pub(crate) fn pass<'a>(&mut self, event: Event<'a>) -> Option<Event<'a>> {
        match event {
            Event::Html(html) | Event::InlineHtml(html) => Some(Event::Text(html)),
            // The block's HTML follows as events of its own.
            Event::Start(Tag::HtmlBlock) => Some(Event::Start(Tag::Paragraph)),
            Event::End(TagEnd::HtmlBlock) => Some(Event::End(TagEnd::Paragraph)),
            Event::Start(Tag::Link { dest_url, .. }) if !self.enter(is_safe_link(&dest_url)) => {
                None
            }
            Event::Start(Tag::Image { dest_url, .. }) if !self.enter(is_safe_image(&dest_url)) => {
                None
            }
            Event::End(TagEnd::Link | TagEnd::Image) if self.open.pop() == Some(false) => None,
            other => Some(other),
        }
    }

    fn enter(&mut self, keep: bool) -> bool {
        self.open.push(keep);
        self.removed += usize::from(!keep);
        keep
    }
}

/// The scheme, as a browser finds it: it ignores control characters and space.
fn scheme(url: &CowStr<'_>) -> Option<String> {
    let seen: String = url
        .chars()
        .filter(|c| !c.is_control() && !c.is_whitespace())
        .collect();
    let end = seen.find([':', '/', '?', '#'])?;
    (seen.as_bytes()[end] == b':').then(|| seen[..end].to_ascii_lowercase())
}

fn is_safe_link(url: &CowStr<'_>) -> bool {
    match scheme(url) {
        None => !url.trim_start().starts_with("//") && !url.contains('\\'),
        Some(scheme) => matches!(scheme.as_str(), "https" | "http" | "mailto"),
    }
}

fn is_safe_image(url: &CowStr<'_>) -> bool {
    scheme(url).is_some_and(|scheme| scheme == "https")
}
