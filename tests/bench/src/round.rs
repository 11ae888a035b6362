//! Interleaved rounds and their medians.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Does its work as often as it is told.
pub(crate) type Contender<'a> = &'a mut dyn FnMut(usize) -> Result<()>;

/// A contender that repeats `work`.
pub(crate) fn each(mut work: impl FnMut() -> Result<()>) -> impl FnMut(usize) -> Result<()> {
    move |times| (0..times).try_for_each(|_| work())
}

/// Runs each contender `per_round` times a round, `rounds` rounds, in turn, and
/// returns the median time of one repetition for each.
pub(crate) fn interleave(
    rounds: usize,
    per_round: usize,
    contenders: &mut [Contender<'_>],
) -> Result<Vec<Duration>> {
    let mut times = vec![Vec::with_capacity(rounds); contenders.len()];
    for _ in 0..rounds {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            let start = Instant::now();
            contender(per_round)?;
            times.push(start.elapsed() / per_round as u32);
        }
    }
    Ok(times.into_iter().map(median).collect())
}

/// The median.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Microseconds with one decimal.
pub(crate) fn us(time: Duration) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6)
}

/// `a` as a multiple of `b`.
pub(crate) fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}
