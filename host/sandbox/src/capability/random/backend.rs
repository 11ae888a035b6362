//! Random bytes of one call.

use std::cell::RefCell;

use super::{Op, Random};
use crate::gate::{Gate, LimitReached, Permit};
use crate::limits::ByteSize;

/// The operating system's bytes, some at a time: each request is a system call.
/// No byte is handed out twice.
struct Pool {
    bytes: [u8; 256],
    used: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool::EMPTY) };
}

impl Pool {
    const EMPTY: Self = Self {
        bytes: [0; 256],
        used: 256,
    };

    fn number(&mut self) -> Result<u64, getrandom::Error> {
        if self.used == self.bytes.len() {
            getrandom::fill(&mut self.bytes)?;
            self.used = 0;
        }
        let mut number = [0; 8];
        let taken = &mut self.bytes[self.used..self.used + number.len()];
        number.copy_from_slice(taken);
        taken.fill(0);
        self.used += number.len();
        Ok(u64::from_le_bytes(number))
    }
}

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

    /// A seed for what needs no secrecy, e.g. hash maps.
    pub(super) fn seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        self.spend(16)?;
        let seed = POOL.with_borrow_mut(|pool| Ok((pool.number()?, pool.number()?)));
        seed.map_err(|error: getrandom::Error| wasmtime::Error::msg(error))
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
