//! From a response's bytes to what the caller wants to read.

use airlock_sdk::Error;
use airlock_sdk::http::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use encoding_rs::{Encoding, UTF_8};
use htmd::HtmlToMarkdown;
use htmd::options::Options;

use crate::redirect::Fetched;
use crate::{Document, Format, Get};

/// Where HTML may name its encoding (WHATWG).
const META_BYTES: usize = 1024;
/// That of UTF-8, which JSON need not have and some servers send.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// The converter goes down into what is nested.
const NESTING_MAX: usize = 256;

pub(crate) fn document(fetched: Fetched, input: &Get) -> Result<Document, Error> {
    let Fetched {
        mut response,
        url,
        redirects,
    } = fetched;
    check_coding(&response, &url, input.format)?;
    let content_type = response.header("content-type").map(str::to_owned);
    let kind = Kind::of(content_type.as_deref(), &response.body);
    let format = match input.format {
        Format::Auto => kind.format(&url)?,
        given => given,
    };
    let mut document = Document {
        url: url.to_string(),
        status: response.status,
        content_type,
        format,
        content: None,
        json: None,
        title: None,
        bytes: response.body.len(),
        cut: response.cut,
        redirects,
    };
    match format {
        Format::Base64 => document.content = Some(BASE64_STANDARD.encode(&response.body)),
        Format::Json if document.cut => {
            return Err(Error::limit(
                "max_bytes",
                format!("{} bytes", response.body.len()),
            ));
        }
        Format::Json => {
            if response.body.starts_with(BYTE_ORDER_MARK) {
                response.body.drain(..BYTE_ORDER_MARK.len());
            }
            document.json = Some(response.json()?);
        }
        Format::Text => document.content = Some(text(&document, &response.body)),
        Format::Auto | Format::Markdown => {
            let html = text(&document, &response.body);
            document.title = title(&html);
            document.content = Some(markdown(&html)?);
        }
    }
    Ok(document)
}

/// A body that is compressed although it was asked for as it is can be had as
/// bytes alone.
fn check_coding(response: &Response, url: &url::Url, format: Format) -> Result<(), Error> {
    let coding = response
        .header("content-encoding")
        .unwrap_or_default()
        .trim();
    if format == Format::Base64 || coding.is_empty() || coding.eq_ignore_ascii_case("identity") {
        return Ok(());
    }
    Err(Error::permanent(format!(
        "{url} is sent compressed (`{}`); ask for format `base64` to have its bytes",
        coding.escape_debug()
    )))
}

#[derive(Clone, Copy)]
enum Kind {
    Html,
    Json,
    Text,
    Binary,
}

impl Kind {
    fn of(content_type: Option<&str>, body: &[u8]) -> Self {
        let essence = content_type
            .and_then(|value| value.split(';').next())
            .unwrap_or_default();
        match essence.trim().to_ascii_lowercase().as_str() {
            "text/html" | "application/xhtml+xml" => Self::Html,
            "application/json" => Self::Json,
            json if json.ends_with("+json") => Self::Json,
            "application/xml"
            | "application/javascript"
            | "application/yaml"
            | "application/toml" => Self::Text,
            xml if xml.ends_with("+xml") => Self::Text,
            text if text.starts_with("text/") => Self::Text,
            "" if !body.contains(&0) && std::str::from_utf8(body).is_ok() => Self::Text,
            _ => Self::Binary,
        }
    }

    fn format(self, url: &url::Url) -> Result<Format, Error> {
        match self {
            Self::Html => Ok(Format::Markdown),
            Self::Json => Ok(Format::Json),
            Self::Text => Ok(Format::Text),
            Self::Binary => Err(Error::permanent(format!(
                "{url} is not text; ask for format `base64` to have its bytes"
            ))),
        }
    }
}

/// The body as text: by its byte order mark, its content type, what HTML says of
/// itself, or else as UTF-8. What is not valid is replaced.
fn text(document: &Document, body: &[u8]) -> String {
    let declared = document.content_type.as_deref().and_then(charset);
    let encoding = declared.or_else(|| charset(&meta(body))).unwrap_or(UTF_8);
    encoding.decode(body).0.into_owned()
}

fn meta(body: &[u8]) -> String {
    let start = String::from_utf8_lossy(&body[..body.len().min(META_BYTES)]).to_ascii_lowercase();
    let place = start
        .find("<meta")
        .and_then(|meta| start[meta..].find("charset").map(|at| meta + at));
    place.map_or_else(String::new, |place| start[place..].to_owned())
}

/// The encoding after `charset=`.
fn charset(text: &str) -> Option<&'static Encoding> {
    let lower = text.to_ascii_lowercase();
    let value = lower
        .split("charset")
        .nth(1)?
        .trim_start()
        .strip_prefix('=')?;
    let value = value.trim_start().trim_start_matches(['"', '\'']);
    let end = value
        .find(|c: char| !c.is_ascii_alphanumeric() && !"-_:.".contains(c))
        .unwrap_or(value.len());
    Encoding::for_label(&value.as_bytes()[..end])
}

fn title(html: &str) -> Option<String> {
    let lower = html.to_ascii_lowercase();
    let start = lower.find("<title")?;
    let open = start + lower[start..].find('>')? + 1;
    let close = open + lower[open..].find("</title")?;
    let text = markdown(&html[open..close]).ok()?;
    let title = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (!title.is_empty()).then_some(title)
}

fn markdown(html: &str) -> Result<String, Error> {
    check_nesting(html)?;
    let options = Options {
        ul_bullet_spacing: 1,
        ol_number_spacing: 1,
        ..Options::default()
    };
    let converter = HtmlToMarkdown::builder()
        .options(options)
        .skip_tags(vec![
            "script", "style", "noscript", "template", "iframe", "svg", "head", "nav", "form",
        ])
        .build();
    converter
        .convert(html)
        .map_err(|error| Error::permanent(format!("converting to Markdown: {error}")))
}

/// A page of nothing but open tags would exhaust the converter's stack.
fn check_nesting(html: &str) -> Result<(), Error> {
    const VOID: [&str; 14] = [
        "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param",
        "source", "track", "wbr",
    ];
    let mut depth = 0_usize;
    for tag in html.split('<').skip(1) {
        let end = tag
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '/')
            .unwrap_or(tag.len());
        match &tag[..end] {
            name if name.starts_with('/') => depth = depth.saturating_sub(1),
            name if !name.starts_with(|c: char| c.is_ascii_alphabetic()) => {}
            name if VOID.iter().any(|void| name.eq_ignore_ascii_case(void)) => {}
            _ => depth += 1,
        }
        if depth > NESTING_MAX * 16 {
            return Err(Error::permanent(
                "the page is nested too deep for Markdown; ask for format `text`",
            ));
        }
    }
    Ok(())
}
