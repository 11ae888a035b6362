//! `wasi:random/random`, `insecure` and `insecure-seed`.

use wasmtime::component::{HasData, Linker};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use super::CallRandom;
use crate::state::CallState;

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    random::add_to_linker::<_, Bytes>(linker, view)?;
    insecure::add_to_linker::<_, Bytes>(linker, view)?;
    insecure_seed::add_to_linker::<_, Bytes>(linker, view)
}

fn view(state: &mut CallState) -> RandomView<'_> {
    RandomView(state.rooms.random())
}

struct Bytes;
struct RandomView<'a>(&'a mut CallRandom);
impl HasData for Bytes {
    type Data<'a> = RandomView<'a>;
}

impl random::Host for RandomView<'_> {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.0.bytes(len)
    }
    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.0.number()
    }
}

impl insecure::Host for RandomView<'_> {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.0.bytes(len)
    }
    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.0.number()
    }
}

impl insecure_seed::Host for RandomView<'_> {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        self.0.seed()
    }
}
