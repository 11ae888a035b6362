//! Markdown: one section for each heading, outside of code. The text stays as it is
//! written.

use super::chunk::{Chunks, Outline, Section, add_sections};

pub(super) fn add(text: &str, chunks: &mut Chunks) -> Result<(), String> {
    add_sections(text, &sections(text), chunks)
}

/// The sections of a text, all of it. A heading that nothing stands under is in the
/// section of the next one.
pub(super) fn sections(text: &str) -> Vec<Section> {
    let (mut sections, mut outline, mut fence) = (Vec::new(), Outline::default(), None);
    let (mut start, mut has_body, mut at) = (0, false, 0);
    let mut before = "";
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        let underlined = setext(before, trimmed).filter(|_| fence.is_none());
        let heading = match fence {
            Some(_) => None,
            None => atx(line).or(underlined.map(|level| (level, before))),
        };
        fence = next_fence(fence, line);
        if let Some((level, title)) = heading {
            // An underlined heading began with the line before.
            let begins = match underlined {
                Some(_) => text[..at].trim_end().rfind('\n').map_or(0, |at| at + 1),
                None => at,
            };
            if has_body && !text[start..begins].trim().is_empty() {
                let (end, headings) = (begins, outline.path());
                sections.push(Section {
                    start,
                    end,
                    headings,
                });
                start = begins;
            }
            outline.enter(level, title);
            has_body = false;
        } else if !trimmed.is_empty() {
            // It may still turn out to be a heading.
            has_body |= !before.is_empty() || fence.is_some() || !could_be_heading(text, at, line);
        }
        before = match heading {
            Some(_) => "",
            None => trimmed,
        };
        at += line.len();
    }
    sections.push(Section {
        start,
        end: text.len(),
        headings: outline.path(),
    });
    sections
}

/// Whether the line after this one underlines it.
fn could_be_heading(text: &str, at: usize, line: &str) -> bool {
    let next = text[at + line.len()..].lines().next().unwrap_or_default();
    setext(line.trim(), next.trim()).is_some()
}

/// The level and the title of a line that begins with `#`.
fn atx(line: &str) -> Option<(usize, &str)> {
    let indent = line.len() - line.trim_start_matches(' ').len();
    let rest = line.trim_start_matches(' ').trim_end();
    let level = rest.bytes().take_while(|byte| *byte == b'#').count();
    let title = &rest[level..];
    let is = indent < 4
        && (1..=6).contains(&level)
        && (title.is_empty() || title.starts_with([' ', '\t']));
    is.then(|| (level, title.trim().trim_end_matches('#').trim_end()))
}

/// The level of a heading that this line underlines.
fn setext(before: &str, line: &str) -> Option<usize> {
    let begins = before.starts_with(['#', '-', '*', '+', '>', '|', '`', '~']);
    if before.is_empty() || begins || line.len() < 3 {
        return None;
    }
    match line.as_bytes()[0] {
        mark @ (b'=' | b'-') if line.bytes().all(|byte| byte == mark) => {
            Some(if mark == b'=' { 1 } else { 2 })
        }
        _ => None,
    }
}

/// The fence that code is in behind this line: its character and its length.
fn next_fence(fence: Option<(u8, usize)>, line: &str) -> Option<(u8, usize)> {
    let line = line.trim();
    let mark = *line.as_bytes().first()?;
    let length = line.bytes().take_while(|byte| *byte == mark).count();
    let is_fence = matches!(mark, b'`' | b'~') && length >= 3;
    match fence {
        None => (is_fence && !line[length..].contains('`')).then_some((mark, length)),
        Some((open, least)) => {
            let closes = is_fence && mark == open && length >= least && line.len() == length;
            (!closes).then_some((open, least))
        }
    }
}
