//! Requests begun in a minute, exactly; told the time.

use std::collections::VecDeque;

const WINDOW_MS: u64 = 60_000;

/// The beginnings of the last minute.
#[derive(Debug)]
pub(crate) struct Rate {
    most: Option<u32>,
    begun_ms: VecDeque<u64>,
}

impl Rate {
    pub(crate) fn new(most: Option<u32>) -> Self {
        Self {
            most,
            begun_ms: VecDeque::new(),
        }
    }

    /// Counts a request, or says in how many milliseconds there is room for one.
    pub(crate) fn begin(&mut self, now_ms: u64) -> Result<(), u64> {
        let Some(most) = self.most else {
            return Ok(());
        };
        while self
            .begun_ms
            .front()
            .is_some_and(|begun| begun + WINDOW_MS <= now_ms)
        {
            self.begun_ms.pop_front();
        }
        match self.begun_ms.front() {
            Some(first) if self.begun_ms.len() >= most as usize => {
                Err((first + WINDOW_MS).saturating_sub(now_ms).max(1))
            }
            _ => {
                self.begun_ms.push_back(now_ms);
                Ok(())
            }
        }
    }
}
