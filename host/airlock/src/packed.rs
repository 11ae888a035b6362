//! What travels in the binary: see `build.rs`.

include!(concat!(env!("OUT_DIR"), "/packed.rs"));
