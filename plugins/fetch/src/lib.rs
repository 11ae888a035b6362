//! Fetches a page or a document over HTTP and gives it as Markdown, text, JSON or
//! base64. Where it may go is the grant's; what a redirect leads to is asked for
//! anew.
//!
//! What must stay true: sizes and redirects are bounded; a redirect to another
//! origin takes no header of the caller along, and none leads from https to http.

mod content;
mod redirect;

use std::collections::BTreeMap;

use airlock_sdk::prelude::*;
use serde_json::Value;

/// How the content is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JSON as a value, HTML as Markdown, other text as text.
    #[default]
    Auto,
    /// HTML as Markdown.
    Markdown,
    /// The text as it came, in UTF-8.
    Text,
    /// JSON as a value.
    Json,
    /// Any bytes as base64.
    Base64,
}

/// What to fetch.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Get {
    /// The address, `http` or `https`.
    url: String,
    /// Values to add to the query.
    #[serde(default)]
    query: BTreeMap<String, String>,
    /// Headers to send.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Headers whose values are secrets: the header's name to the secret's name.
    /// The secret itself never gets here; the host puts it in.
    #[serde(default)]
    secret_headers: BTreeMap<String, String>,
    /// `auto` (the default), `markdown`, `text`, `json` or `base64`.
    #[serde(default)]
    format: Format,
    /// How many bytes of the response at most: 1 to 4,194,304; 524,288 unless
    /// given. Text is cut there; JSON that is larger is an error.
    max_bytes: Option<usize>,
    /// How many redirects to follow: 0 to 10, 5 unless given.
    max_redirects: Option<u32>,
}

/// What was fetched.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Document {
    /// The address it came from, after redirects.
    url: String,
    /// The status, 200 to 299.
    status: u16,
    /// The content type as the server said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    /// What the content is: `markdown`, `text`, `json` or `base64`.
    format: Format,
    /// The content, except for JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    /// The content as a value, for JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<Value>,
    /// The page's title, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    /// How many bytes the response had, at most those that were wanted.
    bytes: usize,
    /// Whether there was more.
    cut: bool,
    /// The addresses that redirected.
    redirects: Vec<String>,
}

/// Fetches an address with HTTP GET: a page as Markdown, a JSON document as a
/// value, other text as it is. Follows redirects within the grants.
#[tool(read_only, open_world, title = "Fetch an address")]
fn get(input: Get) -> Result<Document, Error> {
    let fetched = redirect::follow(&input)?;
    content::document(fetched, &input)
}

plugin! {
    tools: [get],
    wants: [
        want!(http, r#"{ url = "https://example.com/*", methods = ["GET"] }"#, "To fetch from the hosts that are granted, and from no other."),
        want!(http, r#"{ url = "https://example.com/*", methods = ["GET"], secret = "name-of-a-secret" }"#, "To send a key to a host that asks for one. Not needed for open pages.", optional),
    ],
}

#[cfg(test)]
mod tests;
