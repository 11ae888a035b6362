//! `wasi:clocks/wall-clock` and `wasi:clocks/monotonic-clock`.

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::subscribe;

use super::CallClocks;
use super::backend::{RESOLUTION, Sleep};
use crate::state::CallState;

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wall_clock::add_to_linker::<_, Timed>(linker, view)?;
    monotonic_clock::add_to_linker::<_, Timed>(linker, view)
}

fn view(state: &mut CallState) -> ClocksView<'_> {
    ClocksView {
        clocks: state.rooms.clocks(),
        table: &mut state.table,
    }
}

struct Timed;
struct ClocksView<'a> {
    clocks: &'a mut CallClocks,
    table: &'a mut ResourceTable,
}
impl HasData for Timed {
    type Data<'a> = ClocksView<'a>;
}

impl ClocksView<'_> {
    fn pollable(&mut self, sleep: Sleep) -> wasmtime::Result<Resource<DynPollable>> {
        let sleep = self.table.push(sleep)?;
        subscribe(self.table, sleep)
    }
}

impl wall_clock::Host for ClocksView<'_> {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let now = self.clocks.wall()?;
        Ok(wall_clock::Datetime {
            seconds: now.as_secs(),
            nanoseconds: now.subsec_nanos(),
        })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime {
            seconds: 0,
            nanoseconds: RESOLUTION.subsec_nanos(),
        })
    }
}

impl monotonic_clock::Host for ClocksView<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.clocks.monotonic_ns()
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(u64::from(RESOLUTION.subsec_nanos()))
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let sleep = self.clocks.sleep_until(when)?;
        self.pollable(sleep)
    }

    fn subscribe_duration(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let sleep = self.clocks.sleep_for(when)?;
        self.pollable(sleep)
    }
}
