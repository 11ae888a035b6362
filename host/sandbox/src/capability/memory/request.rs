//! What a tool or an agent asks, as JSON. Pure.

use std::collections::BTreeMap;

use airlock_memory::limits::SEARCH_NAMESPACES_MAX;
use airlock_memory::{Expect, NewDocument};
use serde::Deserialize;
use serde::de::{Error, IgnoredAny};

use super::{Action, Op};

/// Documents of a list, and hits of a search, unless it says how many.
const LIST_LIMIT: usize = 100;
const SEARCH_LIMIT: usize = 10;
/// A request, bytes.
pub(super) const REQUEST_BYTES_MAX: usize = 1 << 20;

/// One request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// A document.
    Get {
        /// Where.
        namespace: String,
        /// Which.
        id: String,
    },
    /// Writes a document, whole. Its JSON is read apart, as it was written.
    #[serde(skip_deserializing)]
    Put {
        /// Where.
        namespace: String,
        /// The document.
        document: Box<NewDocument>,
        /// What has to be there before.
        #[serde(default)]
        expect: Expect,
    },
    /// Removes a document.
    Delete {
        /// Where.
        namespace: String,
        /// Which.
        id: String,
        /// What has to be there before.
        #[serde(default)]
        expect: Expect,
    },
    /// What there is, in the order of ids.
    List {
        /// Where.
        namespace: String,
        /// What the ids begin with.
        #[serde(default)]
        prefix: String,
        /// Behind this id.
        #[serde(default)]
        after: Option<String>,
        /// Documents, at most.
        #[serde(default = "list_limit")]
        limit: usize,
    },
    /// Looks for documents.
    Search {
        /// Where.
        namespaces: Vec<String>,
        /// Words.
        #[serde(default)]
        text: Option<String>,
        /// An embedding.
        #[serde(default)]
        vector: Option<Vec<f32>>,
        /// All of these labels.
        #[serde(default)]
        labels: BTreeMap<String, String>,
        /// Written at this moment or later, milliseconds since 1970.
        #[serde(default)]
        from_ms: Option<u64>,
        /// Written before this moment.
        #[serde(default)]
        to_ms: Option<u64>,
        /// Answers, at most.
        #[serde(default = "search_limit")]
        limit: usize,
    },
}

/// [`Request::Put`] by itself: what a tagged enum reads in two steps, the document's
/// value can't be, as it is kept as it was written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    #[serde(rename = "op")]
    _op: IgnoredAny,
    namespace: String,
    document: Box<NewDocument>,
    #[serde(default)]
    expect: Expect,
}

/// What is asked, whatever else is in the request.
#[derive(Deserialize)]
struct Asked {
    op: String,
}

/// All operations.
const OPS: [&str; 5] = ["get", "put", "delete", "list", "search"];

fn list_limit() -> usize {
    LIST_LIMIT
}

fn search_limit() -> usize {
    SEARCH_LIMIT
}

fn parse(text: &str) -> Result<Request, serde_json::Error> {
    let Asked { op } = serde_json::from_str(text)?;
    match op.as_str() {
        "put" => {
            let put: Put = serde_json::from_str(text)?;
            Ok(Request::Put {
                namespace: put.namespace,
                document: put.document,
                expect: put.expect,
            })
        }
        op if !OPS.contains(&op) => Err(serde_json::Error::unknown_variant(op, &OPS)),
        _ => serde_json::from_str(text),
    }
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.len() > REQUEST_BYTES_MAX {
            let bytes = text.len();
            return Err(format!(
                "the request has {bytes} bytes, at most {REQUEST_BYTES_MAX} are allowed"
            ));
        }
        let request = parse(text).map_err(|error| format!("the request: {error}"))?;
        match &request {
            Self::Search { namespaces, .. } if namespaces.len() > SEARCH_NAMESPACES_MAX => {
                Err(format!(
                    "the request has {} namespaces, at most {SEARCH_NAMESPACES_MAX} are allowed",
                    namespaces.len()
                ))
            }
            _ => Ok(request),
        }
    }

    /// Whether it changes something.
    #[must_use]
    pub fn writes(&self) -> bool {
        matches!(self, Self::Put { .. } | Self::Delete { .. })
    }

    /// What has to be allowed for it: one operation for each namespace, in order.
    #[must_use]
    pub fn ops(&self) -> Vec<Op> {
        let (action, namespaces, id) = match self {
            Self::Get { namespace, id } => (Action::Get, vec![namespace], Some(id)),
            Self::Put {
                namespace,
                document,
                ..
            } => (Action::Put, vec![namespace], Some(&document.id)),
            Self::Delete { namespace, id, .. } => (Action::Delete, vec![namespace], Some(id)),
            Self::List { namespace, .. } => (Action::List, vec![namespace], None),
            Self::Search { namespaces, .. } => (Action::Search, namespaces.iter().collect(), None),
        };
        let op = |namespace: &String| Op {
            action,
            namespace: namespace.clone(),
            id: id.cloned(),
        };
        namespaces.into_iter().map(op).collect()
    }
}
