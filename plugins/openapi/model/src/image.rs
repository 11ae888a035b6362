//! The tools of a component, as bytes that it carries: an index, and for each tool
//! its plan and what it tells of itself, so that a call reads one plan alone.
//!
//! Two numbers of 8 bytes, the least significant first: bytes of the index, and
//! bytes of everything behind it. Then these.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::Plan;

/// The version of this format.
const FORMAT: u32 = 1;
/// Bytes before the index.
const HEAD_BYTES: usize = 16;

/// What a component carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Index {
    format: u32,
    /// What it wants to be granted.
    pub wants: Vec<Want>,
    /// Its tools.
    pub tools: Vec<Entry>,
}

/// Where the parts of a tool are, in bytes behind the index: start and length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The tool's name.
    pub name: String,
    /// Its [`Plan`].
    plan: (usize, usize),
    /// Its [`Listing`].
    listing: (usize, usize),
}

/// What a component wants to be granted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Want {
    /// The capability.
    pub capability: String,
    /// The rule, as in a grants file.
    pub scope: String,
    /// Why.
    pub reason: String,
}

/// What a tool tells of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// For callers.
    pub description: String,
    /// JSON Schema of the input.
    pub input: Value,
    /// JSON Schema of the output.
    pub output: Value,
    /// It asks for no change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// It may be repeated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idempotent: bool,
    /// It deletes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub destructive: bool,
}

/// One tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub plan: Plan,
    /// What it tells of itself.
    pub listing: Listing,
}

/// The bytes of tools.
///
/// # Errors
/// What has no JSON form; nothing that was read has none.
pub fn write(tools: &[Tool], wants: Vec<Want>) -> Result<Vec<u8>, serde_json::Error> {
    let mut parts = Vec::new();
    let mut entries = Vec::with_capacity(tools.len());
    for tool in tools {
        let mut part = |text: String| {
            let start = parts.len();
            parts.extend_from_slice(text.as_bytes());
            (start, text.len())
        };
        entries.push(Entry {
            name: tool.name.clone(),
            plan: part(serde_json::to_string(&tool.plan)?),
            listing: part(serde_json::to_string(&tool.listing)?),
        });
    }
    let index = serde_json::to_vec(&Index {
        format: FORMAT,
        wants,
        tools: entries,
    })?;
    let mut image = Vec::with_capacity(HEAD_BYTES + index.len() + parts.len());
    image.extend_from_slice(&(index.len() as u64).to_le_bytes());
    image.extend_from_slice(&(parts.len() as u64).to_le_bytes());
    image.extend_from_slice(&index);
    image.extend_from_slice(&parts);
    Ok(image)
}

/// Reads parts of an image from wherever it is.
pub trait Source {
    /// `len` bytes from `start`; fewer where there are no more.
    fn read(&self, start: usize, len: usize) -> Vec<u8>;
}

impl Source for [u8] {
    fn read(&self, start: usize, len: usize) -> Vec<u8> {
        let end = start.saturating_add(len).min(self.len());
        self.get(start..end).unwrap_or_default().to_vec()
    }
}

/// An image that is read part by part.
pub struct Image<'a, S: Source + ?Sized> {
    source: &'a S,
    /// Its index.
    pub index: Index,
    parts: usize,
}

impl<'a, S: Source + ?Sized> Image<'a, S> {
    /// Reads the index; `None` where there is no image.
    ///
    /// # Errors
    /// The index is of no format that is known here.
    pub fn open(source: &'a S) -> Result<Option<Self>, String> {
        let head = source.read(0, 8);
        let len = <[u8; 8]>::try_from(head).map_err(|_| "there is no head")?;
        let len = usize::try_from(u64::from_le_bytes(len)).map_err(|error| error.to_string())?;
        if len == 0 {
            return Ok(None);
        }
        let index: Index = serde_json::from_slice(&source.read(HEAD_BYTES, len))
            .map_err(|error| format!("the index: {error}"))?;
        if index.format != FORMAT {
            return Err(format!("format {}, not {FORMAT}", index.format));
        }
        let parts = HEAD_BYTES + len;
        Ok(Some(Self {
            source,
            index,
            parts,
        }))
    }

    /// What a tool does.
    ///
    /// # Errors
    /// There is no such tool, or its plan can't be read.
    pub fn plan(&self, name: &str) -> Result<Option<Plan>, String> {
        let Some(entry) = self.index.tools.iter().find(|entry| entry.name == name) else {
            return Ok(None);
        };
        let plan = serde_json::from_slice(&self.part(entry.plan));
        plan.map(Some)
            .map_err(|error| format!("the plan of `{name}`: {error}"))
    }

    /// What a tool tells of itself.
    ///
    /// # Errors
    /// It can't be read.
    pub fn listing(&self, entry: &Entry) -> Result<Listing, String> {
        serde_json::from_slice(&self.part(entry.listing))
            .map_err(|error| format!("what `{}` tells of itself: {error}", entry.name))
    }

    fn part(&self, (start, len): (usize, usize)) -> Vec<u8> {
        self.source.read(self.parts.saturating_add(start), len)
    }
}
