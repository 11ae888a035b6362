//! What a tool does when it is called: one operation of a document, compiled. The
//! component reads nothing else of the document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The member of an input that says which of several JSON types the body is.
pub(crate) const CONTENT_TYPE: &str = "content_type";

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// In upper case.
    pub method: String,
    /// The server: scheme, host, port and the beginning of the path, without a
    /// slash at its end.
    pub base: String,
    /// The path behind it.
    pub path: Vec<Part>,
    /// Its parameters, in the order in which they are sent.
    pub parameters: Vec<Parameter>,
    /// Its body, where it takes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// What `Accept` says.
    pub accept: String,
    /// The secret that it is sent with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Headers of the response that are given back, in lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
}

impl Plan {
    /// Whether the method asks for no change.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS")
    }

    /// Whether the method may be repeated (RFC 9110, 9.2.2).
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.is_safe() || matches!(self.method.as_str(), "PUT" | "DELETE")
    }
}

/// A part of a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Part {
    /// As it is sent.
    Literal(String),
    /// The parameter of that number.
    Parameter(usize),
}

/// One parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name in the tool's input.
    pub input: String,
    /// Its name on the wire.
    pub name: String,
    /// Where it is sent.
    pub place: Place,
    /// How it is written.
    pub style: Style,
    /// Whether each item of a list or a map is written with a name of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub explode: bool,
    /// Whether it must be given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Whether some reserved characters are sent as they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reserved: bool,
    /// What it may be; anything, where none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<Kind>,
}

/// Where a parameter is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are OpenAPI's")]
pub enum Place {
    Path,
    Query,
    Header,
    Cookie,
}

impl Place {
    /// Its name in a document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Cookie => "cookie",
        }
    }
}

/// How a value is written (RFC 6570, and OpenAPI's additions).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are OpenAPI's")]
pub enum Style {
    Simple,
    Label,
    Matrix,
    #[default]
    Form,
    Space,
    Pipe,
    Deep,
    /// As JSON, since the document gives `content`.
    Json,
}

/// A type of JSON Schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the standard's")]
pub enum Kind {
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
}

/// The body of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Body {
    /// Whether it must be given.
    pub required: bool,
    /// Whether it can be null, which is sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nullable: bool,
    /// Its media type, as `Content-Type` says it.
    pub media: String,
    /// Those that a caller may choose instead, by `content_type`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// How it is written.
    pub form: Form,
    /// How the members of a form are written, where not as usual.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Field>,
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// JSON, as the caller wrote it.
    Json,
    /// `application/x-www-form-urlencoded`.
    Urlencoded,
    /// `multipart/form-data`.
    Multipart,
    /// A text.
    Text,
    /// Bytes, in base64 in the tool's input.
    Bytes,
}

/// How a member of a form is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// As a parameter of a query; by its kind where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub style: Option<Style>,
    /// Whether each item has a name of its own; for `form` it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explode: Option<bool>,
    /// Its media type, in a multipart body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<String>,
    /// Bytes, in base64 in the tool's input.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub binary: bool,
}

/// A secret, and where it is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Auth {
    /// The secret's name.
    pub secret: String,
    /// Where.
    pub carrier: Carrier,
}

/// Where a secret is sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carrier {
    /// `Authorization: Bearer …`.
    Bearer,
    /// `Authorization: Basic …`; the secret is `user:password`.
    Basic,
    /// The value of this header.
    Header(String),
    /// This value of the query.
    Query(String),
    /// This cookie.
    Cookie(String),
}

impl Carrier {
    /// In words, for an administrator.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Bearer => "a bearer token, sent as `Authorization: Bearer`".to_owned(),
            Self::Basic => "`user:password`, sent as `Authorization: Basic`".to_owned(),
            Self::Header(name) if name.eq_ignore_ascii_case("authorization") => format!(
                "the whole value of the header `{name}`, with its scheme, e.g. `Bearer TOKEN`"
            ),
            Self::Header(name) => format!("a key, sent as the header `{name}`"),
            Self::Query(name) => format!("a key, sent as `{name}` in the query"),
            Self::Cookie(name) => format!("a key, sent as the cookie `{name}`"),
        }
    }
}
