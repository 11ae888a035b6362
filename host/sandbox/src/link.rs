//! The one linker: the inert interfaces, and what the rooms of the registry
//! link.
//!
//! What must stay true: interfaces are linked one by one; what is not linked
//! in a room or as inert does not instantiate.

use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::state::CallState;
use crate::{capability, inert};

/// The linker of everything a guest may import.
///
/// # Errors
/// A name that is linked twice.
pub fn linker(engine: &Engine) -> wasmtime::Result<Linker<CallState>> {
    let mut linker = Linker::new(engine);
    inert::link(&mut linker)?;
    capability::link_rooms(&mut linker)?;
    Ok(linker)
}
