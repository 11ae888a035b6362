//! A component that works with handles, which JSON can't carry.

#![expect(
    unsafe_code,
    reason = "bindings are generated: canonical ABI exports are unsafe by nature"
)]
#![expect(missing_docs, reason = "generated bindings carry none")]

wit_bindgen::generate!({ path: "wit", world: "handles" });

use std::cell::Cell;

use exports::samples::handles::counters;

struct Handles;

export!(Handles);

impl counters::Guest for Handles {
    type Counter = Counter;
}

struct Counter(Cell<u32>);

impl counters::GuestCounter for Counter {
    fn new(start: u32) -> Self {
        Self(Cell::new(start))
    }

    fn next(&self) -> u32 {
        self.0.replace(self.0.get() + 1)
    }
}
