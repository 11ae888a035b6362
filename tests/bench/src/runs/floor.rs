//! What no host can do without: a synced append for what is durable, a bare call
//! of wasmtime for what is sandboxed.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use airlock_bench_baseline::Baseline;
use anyhow::{Context, Result};

use crate::Bench;

/// About a record of a journal.
const RECORD: [u8; 200] = [b'r'; 200];

/// Appends and calls in a round.
const TIMES: u32 = 200;

/// Measures it.
pub(super) struct Floor {
    file: File,
    bare: Baseline,
}

/// Its figures.
pub(super) struct Figures {
    pub(super) append: Duration,
    pub(super) call: Duration,
}

impl Floor {
    /// With a file in `folder`, so that it is on the disk of the data directory.
    pub(super) fn new(bench: &Bench, folder: &Path) -> Result<Self> {
        let component = std::fs::read(bench.component("airlock-plugin-echo"))?;
        let bare = Baseline::new(&component).map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let file = tempfile::tempfile_in(folder).context("the file of the floor")?;
        Ok(Self { file, bare })
    }

    /// One synced append and one bare call, in the mean of some.
    pub(super) fn round(&mut self) -> Result<Figures> {
        let begun = Instant::now();
        for _ in 0..TIMES {
            self.file.write_all(&RECORD)?;
            self.file.sync_data()?;
        }
        let append = begun.elapsed() / TIMES;
        let begun = Instant::now();
        for _ in 0..TIMES {
            let output = self.bare.call("echo", "{\"step\":1}");
            let output = output.map_err(|error| anyhow::anyhow!("{error:#}"))?;
            anyhow::ensure!(output == "{\"step\":1}", "a wrong answer {output}");
        }
        let call = begun.elapsed() / TIMES;
        Ok(Figures { append, call })
    }
}
