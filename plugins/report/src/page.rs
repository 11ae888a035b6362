//! The page around the content: head, style, and a policy that lets a browser run
//! and load nothing else.

use airlock_sdk::Error;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, html};
use pulldown_cmark_escape::escape_html;

use crate::safe::Filter;
use crate::{Render, Rendered};

const MARKDOWN_BYTES_MAX: usize = 512 * 1024;
const TITLE_CHARS_MAX: usize = 200;
const TITLE_DEFAULT: &str = "Report";
const STYLE: &str = include_str!("style.css");

pub(crate) fn render(input: &Render) -> Result<Rendered, Error> {
    if input.markdown.len() > MARKDOWN_BYTES_MAX {
        return Err(Error::invalid_input(format!(
            "markdown: must be at most {MARKDOWN_BYTES_MAX} bytes"
        )));
    }
    let title = input
        .title
        .clone()
        .or_else(|| first_heading(&input.markdown));
    let title: String = title
        .as_deref()
        .unwrap_or(TITLE_DEFAULT)
        .chars()
        .take(TITLE_CHARS_MAX)
        .collect();
    let mut filter = Filter::default();
    let mut content = String::new();
    html::push_html(
        &mut content,
        parser(&input.markdown).filter_map(|event| filter.pass(event)),
    );
    let html = if input.fragment {
        content
    } else {
        page(&title, &content)?
    };
    Ok(Rendered {
        html,
        title,
        links_removed: filter.removed,
    })
}

fn parser(markdown: &str) -> Parser<'_> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH;
    Parser::new_ext(markdown, options)
}

fn first_heading(markdown: &str) -> Option<String> {
    let mut events =
        parser(markdown).skip_while(|event| !matches!(event, Event::Start(Tag::Heading { .. })));
    events.next()?;
    let inside = events.take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
    let text: String = inside
        .filter_map(|event| match event {
            Event::Text(text) | Event::Code(text) => Some(text.into_string()),
            _ => None,
        })
        .collect();
    (!text.trim().is_empty()).then(|| text.trim().to_owned())
}

fn page(title: &str, content: &str) -> Result<String, Error> {
    let mut escaped = String::new();
    escape_html(&mut escaped, title).map_err(|_| Error::permanent("writing the title"))?;
    Ok(format!(
        "<!doctype html>\n<html>\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src https:; form-action 'none'; base-uri 'none'\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{escaped}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{content}</main>\n</body>\n</html>\n"
    ))
}
