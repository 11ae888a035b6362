//! The data of one call's store. Rooms see their own part of it and the table,
//! never the whole.

use wasmtime::component::ResourceTable;

use crate::capability::RoomStates;
use crate::gate::Gate;
use crate::inert;

/// Data of the store of one call.
pub struct CallState {
    /// Resources of the guest.
    pub table: ResourceTable,
    /// The gate of this call.
    pub gate: Gate,
    /// One state per room, see the registry.
    pub rooms: RoomStates,
    /// What reaches nothing, see [`inert`].
    pub inert: inert::State,
}
