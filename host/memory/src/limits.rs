//! Bounds on everything a caller can grow. Zero means zero, never "unlimited".

/// Text of a document, bytes. Longer texts are for [`crate::import`], which cuts
/// them into chunks.
pub const TEXT_BYTES_MAX: usize = 256 << 10;
/// JSON value of a document as it is written, bytes.
pub const VALUE_BYTES_MAX: usize = 64 << 10;
/// Id of a document, bytes.
pub const ID_BYTES_MAX: usize = 512;
/// Name of a namespace, bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Labels of a document.
pub const LABELS_MAX: usize = 32;
/// Name of a label, bytes.
pub const LABEL_NAME_BYTES_MAX: usize = 64;
/// Value of a label, bytes.
pub const LABEL_VALUE_BYTES_MAX: usize = 256;
/// Numbers in a vector.
pub const DIMENSION_MAX: usize = 4096;
/// Where a text came from, bytes.
pub const URI_BYTES_MAX: usize = 2048;
/// Headings above a text.
pub const HEADINGS_MAX: usize = 8;
/// One heading, bytes.
pub const HEADING_BYTES_MAX: usize = 256;
/// Each name in a provenance, bytes.
pub const PROVENANCE_BYTES_MAX: usize = 256;

/// Changes in one write.
pub const CHANGES_MAX: usize = 10_000;
/// Bytes in one write, as [`crate::Usage::bytes`] counts them.
pub const WRITE_BYTES_MAX: u64 = 32 << 20;
/// Documents in one page of a list.
pub const PAGE_MAX: usize = 1_000;
/// Documents in one answer of a search.
pub const HITS_MAX: usize = 100;
/// Namespaces in one search.
pub const SEARCH_NAMESPACES_MAX: usize = 16;
/// Text of a search, bytes.
pub const QUERY_BYTES_MAX: usize = 4 << 10;
/// Different words of a search that count; the rest is left out.
pub const QUERY_WORDS_MAX: usize = 32;
/// Phrases of a search; more are an error.
pub const QUERY_PHRASES_MAX: usize = 8;
/// How long one search may take, milliseconds. It takes some of them, unless somebody
/// keeps what makes it slow.
pub const SEARCH_MS_MAX: u64 = 10_000;
/// A snippet, bytes.
pub const SNIPPET_BYTES_MAX: usize = 320;
/// How far into a text a snippet is looked for, bytes.
pub const SNIPPET_SCAN_BYTES_MAX: usize = 32 << 10;
/// Documents that one search reads from the store, at most.
pub const CANDIDATES_MAX: usize = 4_096;

/// What one document counts for besides its contents, bytes.
pub const DOCUMENT_OVERHEAD_BYTES: u64 = 128;

/// How much a namespace may hold. A write that would go beyond is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Documents.
    pub documents_max: u64,
    /// Bytes, as [`crate::Usage::bytes`] counts them.
    pub bytes_max: u64,
}

impl Default for Quota {
    /// 100,000 documents, 256 MiB.
    fn default() -> Self {
        Self {
            documents_max: 100_000,
            bytes_max: 256 << 20,
        }
    }
}
