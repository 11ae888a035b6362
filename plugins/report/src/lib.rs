//! Renders Markdown as one HTML page with its style inside, to keep or to send.
//! It wants nothing: text goes in and comes out with the call.
//!
//! What must stay true: whatever the Markdown holds, the page runs no script,
//! loads nothing but images over https, and has no HTML that the Markdown's
//! author wrote.

mod page;
mod safe;

use airlock_sdk::prelude::*;

/// What to render.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Render {
    /// The Markdown (CommonMark with tables, task lists, footnotes and
    /// strikethrough). HTML in it is shown as text.
    markdown: String,
    /// The page's title; the first heading unless given.
    title: Option<String>,
    /// Whether to give only the content, without the page and its style around.
    #[serde(default)]
    fragment: bool,
}

/// A rendered page.
#[derive(Serialize, JsonSchema)]
pub struct Rendered {
    /// The HTML.
    html: String,
    /// The title.
    title: String,
    /// How many links and images were left out, since their addresses were not of
    /// a kind that is safe to open.
    links_removed: usize,
}

/// Renders Markdown as a complete HTML page that is safe to open: tables and a
/// clean style are inside, scripts and foreign HTML are not.
#[tool(read_only, title = "Render a report")]
fn render(input: Render) -> Result<Rendered, Error> {
    page::render(&input)
}

plugin! { tools: [render], wants: [] }

#[cfg(test)]
mod tests;
