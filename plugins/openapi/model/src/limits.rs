//! How large a document, and what is made of it, may be. What is over one of these
//! is refused with the number, or left out of a schema and told.

/// Bytes of a file.
pub const FILE_BYTES_MAX: usize = 16 << 20;
/// Values of a file, those that aliases repeat counted.
pub const NODES_MAX: usize = 1_000_000;
/// Bytes of a text that count as one value more.
pub const TEXT_BYTES_A_NODE: usize = 64;
/// Bytes of a member's name.
pub const NAME_BYTES_MAX: usize = 4 << 10;
/// Lists and maps inside one another, those that aliases repeat counted.
pub const DEPTH_MAX: usize = 100;
/// Problems that are told at once.
pub const PROBLEMS_MAX: usize = 20;
/// Operations of one plugin: as many as the contract lets it have tools.
pub const OPERATIONS_MAX: usize = 256;
/// Parameters of one operation.
pub const PARAMETERS_MAX: usize = 100;
/// JSON types of one body that a caller may choose from.
pub const MEDIA_MAX: usize = 16;
/// Members of a form.
pub const FIELDS_MAX: usize = 1_000;
/// Schemas that one is put together of, as far as files are looked for in them.
pub const PARTS_MAX: usize = 32;
/// References one after the other.
pub const REFERENCES_MAX: usize = 32;
/// Bytes of one schema, as the contract says.
pub const SCHEMA_BYTES_MAX: usize = 64 << 10;
/// Nesting of one schema, as the host takes it.
pub const SCHEMA_DEPTH_MAX: usize = 60;
/// Values of one schema with all that it refers to.
pub const SCHEMA_NODES_MAX: usize = 30_000;
/// Bytes of a tool's description, as the contract says.
pub const DESCRIPTION_BYTES_MAX: usize = 8 << 10;
/// Bytes of a tool's title, as the contract says.
pub const TITLE_BYTES_MAX: usize = 128;
/// Characters of a tool's name, as the contract says.
pub const NAME_CHARS_MAX: usize = 64;
/// Bytes of what a component is given of its tools.
pub const IMAGE_BYTES_MAX: usize = 4 << 20;
/// Bytes of a URL, as the host takes it.
pub const URL_BYTES_MAX: usize = 8 << 10;
/// Bytes of a response that are read.
pub const RESPONSE_BYTES_MAX: usize = 900 << 10;
/// Characters of a server's words in an error.
pub const EXCERPT_CHARS_MAX: usize = 600;
/// Bytes of a body that such words are looked for in.
pub const EXCERPT_BYTES_MAX: usize = 16 << 10;
