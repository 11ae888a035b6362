//! The data of one call's store. Rooms see their own part of it and the table,
//! never the whole.

use wasmtime::component::ResourceTable;

use crate::call::guard::Guard;
use crate::capability::RoomStates;
use crate::gate::Gate;
use crate::inert;

/// Data of the store of one call. It is dropped in this order: a room learns that
/// the call is over before the guest's resources go, so that a body that is then
/// cut short is not taken for a whole one.
pub struct CallState {
    /// One state per room, see the registry.
    pub rooms: RoomStates,
    /// Resources of the guest.
    pub table: ResourceTable,
    /// The gate of this call.
    pub gate: Gate,
    /// What reaches nothing, see [`inert`].
    pub inert: inert::State,
    /// What the engine asks about memory, tables, instances and time.
    pub(crate) guard: Guard,
}
