//! The router against a model server that really speaks the protocols.

mod again;
mod answers;
mod bounds;
mod faults;
mod harness;
mod redaction;
mod tls;
mod told;
