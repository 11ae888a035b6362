//! Random bytes of one call.

use super::{Op, Random};
use crate::gate::{Gate, LimitReached, Permit};
use crate::limits::ByteSize;

/// The randomness one call may still use.
pub struct CallRandom {
    gate: Gate,
    permit: Option<Permit<Random>>,
    bytes_left: u64,
    bytes_max: u64,
}

impl CallRandom {
    /// Randomness of a call that may get `bytes_max` in all.
    pub fn new(gate: Gate, bytes_max: u64) -> Self {
        Self {
            gate,
            permit: None,
            bytes_left: bytes_max,
            bytes_max,
        }
    }

    /// `len` random bytes.
    pub(super) fn bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.spend(len)?;
        let _held = self.gate.budget().reserve(len)?;
        let mut bytes = vec![0; usize::try_from(len)?];
        getrandom::fill(&mut bytes).map_err(wasmtime::Error::msg)?;
        Ok(bytes)
    }

    /// 8 random bytes as a number.
    pub(super) fn number(&mut self) -> wasmtime::Result<u64> {
        self.spend(8)?;
        getrandom::u64().map_err(wasmtime::Error::msg)
    }

    fn spend(&mut self, bytes: u64) -> wasmtime::Result<()> {
        let left = self.bytes_left.checked_sub(bytes).ok_or(LimitReached {
            limit: "random",
            value: ByteSize(self.bytes_max).to_string(),
        })?;
        let permit = match self.permit.take() {
            Some(permit) => permit.recheck().map(|()| permit)?,
            None => self.gate.permit::<Random>(Op)?,
        };
        permit.count_in(bytes);
        self.permit = Some(permit);
        self.bytes_left = left;
        Ok(())
    }
}
