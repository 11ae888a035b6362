//! `airlock memory`: what can be typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum Memory {
    /// List the namespaces with what they hold, or the documents of one.
    #[command(
        after_help = "Examples:\n  airlock memory list\n  airlock memory list --kind shared\n  \
        airlock memory list shared/handbook --prefix travel/"
    )]
    List {
        /// The namespace: `shared/NAME`, `agent/PLUGIN…` or `run/ID`.
        namespace: Option<String>,
        /// Namespaces of this kind alone: `run`, `agent` or `shared`.
        #[arg(long, conflicts_with = "namespace")]
        kind: Option<String>,
        /// Documents alone of which the ids begin so.
        #[arg(long, requires = "namespace", default_value = "")]
        prefix: String,
        /// Most lines.
        #[arg(long, default_value_t = 1_000, value_name = "N")]
        limit: usize,
    },
    /// Show a document.
    #[command(after_help = "Example:\n  airlock memory get shared/handbook travel.md#00001")]
    Get {
        /// The namespace.
        namespace: String,
        /// The document's id.
        id: String,
    },
    /// Write a document of a shared namespace.
    #[command(
        after_help = "Example:\n  airlock memory put shared/handbook rates --text 'CHF 70 a day' --label kind=fact"
    )]
    Put(MemoryPut),
    /// Remove a document, or a namespace with all its documents.
    #[command(
        after_help = "Examples:\n  airlock memory delete shared/handbook rates\n  \
        airlock memory delete shared/handbook --all --why 'out of date'"
    )]
    Delete {
        /// The namespace.
        namespace: String,
        /// The document's id.
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// The namespace with all its documents, from every index.
        #[arg(long, conflicts_with = "id")]
        all: bool,
        /// Only this version of the document.
        #[arg(long, value_name = "VERSION", conflicts_with = "all")]
        expect: Option<u64>,
        /// Why, for the audit.
        #[arg(long, default_value = "")]
        why: String,
    },
    /// Look for documents. Each answer is shown with its source and position.
    #[command(
        after_help = "Examples:\n  airlock memory search 'daily allowance' --namespace shared/handbook\n  \
        airlock memory search 'daily allowance' --namespace shared/handbook --embed near"
    )]
    Search(MemorySearch),
    /// Import a folder: Markdown, text, HTML, CSV and PDF files become documents that
    /// say where they are from.
    ///
    /// The files are read by this process. One that did not change changes nothing.
    /// Ends with 5 where a file was not imported for another reason than its name, its
    /// kind or being a link.
    #[command(
        after_help = "Example:\n  airlock memory import ./handbook --namespace shared/handbook --prune"
    )]
    Import(MemoryImport),
}

#[derive(Debug, Args)]
pub struct MemoryPut {
    /// The namespace, `shared/NAME`.
    pub namespace: String,
    /// The document's id.
    pub id: String,
    /// Its text.
    #[arg(long, required_unless_present_any = ["file", "value"])]
    pub text: Option<String>,
    /// A file that holds its text; `-` for standard input.
    #[arg(long, conflicts_with = "text", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A JSON value that belongs to it.
    #[arg(long, value_name = "JSON")]
    pub value: Option<String>,
    /// A label, NAME=VALUE; may be given again.
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
    /// How long it lives, e.g. 30d.
    #[arg(long, value_name = "TIME")]
    pub ttl: Option<String>,
    /// A role of the host's models that makes its vector.
    #[arg(long, value_name = "ROLE")]
    pub embed: Option<String>,
    /// Only over this version; 0: only where there is none.
    #[arg(long, value_name = "VERSION")]
    pub expect: Option<u64>,
}

#[derive(Debug, Args)]
pub struct MemorySearch {
    /// Words; what stands in double quotes has to be there as it stands.
    pub text: String,
    /// Where; may be given up to 16 times.
    #[arg(
        long = "namespace",
        short = 'n',
        required = true,
        value_name = "NAMESPACE"
    )]
    pub namespaces: Vec<String>,
    /// A role of the host's models: looks for what means the same, too.
    #[arg(long, value_name = "ROLE")]
    pub embed: Option<String>,
    /// A label that has to be there, NAME=VALUE; may be given again.
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
    /// Written at this moment or later (UTC), e.g. 2026-01-31 or 2026-01-31T09:30:00Z.
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Written before this moment.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Most answers, 1 to 100.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub limit: usize,
}

#[derive(Debug, Args)]
pub struct MemoryImport {
    /// The folder.
    pub dir: PathBuf,
    /// Where the documents go, `shared/NAME`.
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    pub namespace: String,
    /// Stands before the path of each file, in ids and sources; ends with `/`, e.g.
    /// `handbook/`.
    #[arg(long, default_value = "")]
    pub prefix: String,
    /// A label of each document, NAME=VALUE; may be given again.
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
    /// Also remove what was imported, under the prefix, of files that are gone.
    #[arg(long)]
    pub prune: bool,
    /// A role of the host's models that makes vectors of the texts that have none.
    #[arg(long, value_name = "ROLE")]
    pub embed: Option<String>,
    /// Takes all vectors away. Without this and a role, a text that was there before
    /// keeps its own.
    #[arg(long, conflicts_with = "embed")]
    pub no_embed: bool,
}
