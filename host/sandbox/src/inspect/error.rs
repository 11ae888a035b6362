//! Why a component is not installed. Each refusal has a stable code for scripts
//! and a text that names what was found, where, and what would be accepted.

use std::fmt;

use crate::limits::ByteSize;

/// Why a component is not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Not a WebAssembly component at all, or a broken one.
    #[error("not a valid component: {reason}")]
    Invalid {
        /// What is wrong, with the offset where known.
        reason: String,
    },
    /// A core module.
    #[error(
        "this is a core WebAssembly module, not a component; build for `wasm32-wasip2`, or wrap \
         it with `wasm-tools component new`"
    )]
    CoreModule,
    /// WebAssembly text.
    #[error(
        "this is WebAssembly text, not a binary component; turn it into one with `wasm-tools parse`"
    )]
    Text,
    /// More bytes than may be installed.
    #[error("the component has {found}; the limit `component_bytes` is {max}")]
    TooLarge {
        /// Its size.
        found: ByteSize,
        /// The limit.
        max: ByteSize,
    },
    /// Imports that nothing here serves.
    #[error("the component imports what Airlock does not offer: {}", Joined(.0, "; "))]
    UnknownImports(Vec<UnknownImport>),
    /// An import of an interface of WASI 0.3.
    #[error(
        "the component needs WASI 0.3 ({}), which Airlock does not run; build it for WASI 0.2 \
         (`wasm32-wasip2`)", Joined(.0, ", ")
    )]
    Wasi03(Vec<String>),
    /// Known interfaces, but not what the component expects in them.
    #[error("the component does not fit the interfaces it imports: {reason}")]
    ImportMismatch {
        /// The function or type that does not fit.
        reason: String,
    },
    /// A type that has no JSON form in the signature of an exported function.
    #[error(
        "`{function}` can't be a tool: {path} is {refused}; only plain values can be passed as JSON"
    )]
    RefusedType {
        /// The exported function, `interface#function`.
        function: String,
        /// Where in its signature, e.g. `parameter body.chunks[]`.
        path: String,
        /// What stands there.
        refused: Refused,
    },
    /// An exported function that is `async`.
    #[error("`{function}` can't be a tool: it is async, and Airlock runs WASI 0.2 only")]
    AsyncFunction {
        /// The exported function.
        function: String,
    },
    /// A component model feature that is not enabled.
    #[error("the component uses {feature}, which Airlock does not run: {reason}")]
    Feature {
        /// The feature in words.
        feature: &'static str,
        /// What the validator said.
        reason: String,
    },
    /// A signature with too many types, or nested too deeply.
    #[error("`{function}` can't be a tool: its signature has more than {max} {what}")]
    SignatureTooLarge {
        /// The exported function.
        function: String,
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        max: usize,
    },
    /// Nothing that could be called.
    #[error(
        "the component exports no function; export `airlock:tool/tools` or functions of its own"
    )]
    NoTools,
    /// Another version of the contract, or half of it.
    #[error("the component does not follow the contract: {reason}")]
    Contract {
        /// What is missing or which version was found, and what is accepted.
        reason: String,
    },
    /// More of something than a call could ever get.
    #[error("the component needs {found} {what}; the limit `{limit}` is {max}")]
    Limit {
        /// The limit's name.
        limit: &'static str,
        /// What it counts.
        what: &'static str,
        /// What the component declares.
        found: u64,
        /// The limit's value.
        max: u64,
    },
    /// Compiling it took more than it may.
    #[error("compiling the component reached the limit `{limit}` ({value})")]
    CompileLimit {
        /// The limit's name.
        limit: &'static str,
        /// Its value with its unit.
        value: String,
    },
    /// The compiler refused it.
    #[error("the component does not compile: {reason}")]
    Compile {
        /// What the compiler said.
        reason: String,
    },
    /// Asking the component for its tools failed.
    #[error("asking the component for its tools failed: {reason}")]
    Metadata {
        /// The trap or the limit.
        reason: String,
    },
    /// The component's answer about its tools breaks the contract.
    #[error("what the component says of itself breaks the contract: {0}")]
    MetadataInvalid(String),
    /// The host failed, not the component.
    #[error("{step}")]
    Internal {
        /// What the host was doing.
        step: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl InstallError {
    /// The stable code, kebab-case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "component-invalid",
            Self::CoreModule => "core-module",
            Self::Text => "component-text",
            Self::TooLarge { .. } => "component-too-large",
            Self::UnknownImports(_) => "unknown-import",
            Self::Wasi03(_) => "wasi-03",
            Self::ImportMismatch { .. } => "import-mismatch",
            Self::RefusedType { refused, .. } => refused.code(),
            Self::AsyncFunction { .. } => "async-in-signature",
            Self::Feature { .. } => "component-feature",
            Self::SignatureTooLarge { .. } => "signature-too-large",
            Self::NoTools => "no-tools",
            Self::Contract { .. } => "contract-mismatch",
            Self::Limit { .. } => "limit-exceeded",
            Self::CompileLimit { .. } => "compile-limit",
            Self::Compile { .. } => "compile-failed",
            Self::Metadata { .. } => "metadata-failed",
            Self::MetadataInvalid(_) => "metadata-invalid",
            Self::Internal { .. } => "internal",
        }
    }
}

/// An import that nothing serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownImport {
    /// The import's name, as the component writes it.
    pub name: String,
    /// Versions of the same interface that are accepted; empty when the
    /// interface itself is unknown.
    pub accepted: Vec<String>,
}

impl fmt::Display for UnknownImport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.name)?;
        if self.accepted.is_empty() {
            return Ok(());
        }
        write!(f, " (accepted: {})", self.accepted.join(", "))
    }
}

/// A type that has no JSON form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// `own` or `borrow` of a resource.
    Resource,
    /// A stream.
    Stream,
    /// A future.
    Future,
    /// An error context.
    ErrorContext,
}

impl Refused {
    fn code(self) -> &'static str {
        match self {
            Self::Resource => "resource-in-signature",
            Self::Stream | Self::Future | Self::ErrorContext => "async-in-signature",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resource => "a resource handle",
            Self::Stream => "a stream",
            Self::Future => "a future",
            Self::ErrorContext => "an error context",
        })
    }
}

struct Joined<'a, T>(&'a [T], &'a str);

impl<T: fmt::Display> fmt::Display for Joined<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            let between = if index == 0 { "" } else { self.1 };
            write!(f, "{between}{item}")?;
        }
        Ok(())
    }
}
