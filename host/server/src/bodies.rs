//! The bodies of requests: whole, within their limits, and bounded in all.
//!
//! What must stay true: a body holds the bytes that came of it and no more; one
//! principal leaves room to the others; what was held is given back when the reply
//! is made, however the request ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;

use crate::reply::Refusal;

/// Components, bytes; the sandbox has the same bound.
pub(crate) const COMPONENT_BYTES_MAX: usize = 64 << 20;
/// Chunks of imported files, bytes: those of one file as JSON.
pub(crate) const CHUNKS_BYTES_MAX: usize = 64 << 20;
/// The largest body of all.
const LARGEST_BYTES: usize = COMPONENT_BYTES_MAX;
/// One principal has this part of the budget, and room for the largest body.
const SHARE: usize = 4;

/// The room for bodies.
pub(crate) struct Bodies {
    bytes_max: usize,
    share_bytes_max: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    bytes: usize,
    /// Who holds how many of them; nobody holds none.
    of: HashMap<String, usize>,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    All,
    Share(usize),
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        let refusal = match full {
            Full::All => {
                let detail = "the host holds as many request bodies as it may";
                Refusal::new(503, "overloaded", detail)
            }
            Full::Share(bytes_max) => {
                let detail = format!(
                    "the request bodies of one principal may have {bytes_max} bytes at a time"
                );
                Refusal::new(429, "too-many-requests", detail)
            }
        };
        refusal.retry_after_s(1)
    }
}

impl Bodies {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        let share = (bytes_max / SHARE).max(LARGEST_BYTES);
        Arc::new(Self {
            bytes_max,
            share_bytes_max: share.min(bytes_max),
            held: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `who` may hold that many more.
    fn fits(&self, held: &Held, who: &str, bytes: usize) -> Result<(), Full> {
        let own = held.of.get(who).copied().unwrap_or_default();
        if own.saturating_add(bytes) > self.share_bytes_max && self.share_bytes_max < self.bytes_max
        {
            return Err(Full::Share(self.share_bytes_max));
        }
        match held.bytes.saturating_add(bytes) > self.bytes_max {
            true => Err(Full::All),
            false => Ok(()),
        }
    }
}

/// What one body holds.
pub(crate) struct Room {
    bodies: Arc<Bodies>,
    who: String,
    bytes: usize,
}

impl Room {
    fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let mut held = self.bodies.lock();
        self.bodies.fits(&held, &self.who, bytes)?;
        held.bytes += bytes;
        *held.of.entry(self.who.clone()).or_default() += bytes;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut held = self.bodies.lock();
        held.bytes -= self.bytes;
        if let Some(own) = held.of.get_mut(&self.who) {
            *own -= self.bytes;
            if *own == 0 {
                held.of.remove(&self.who);
            }
        }
    }
}

/// What a body may be.
pub(crate) struct Terms<'a> {
    /// Whose it is.
    pub(crate) who: &'a str,
    /// Its longest.
    pub(crate) bytes_max: usize,
    /// The plugin whose limit `input` that is; otherwise nobody changes it.
    pub(crate) input_of: Option<&'a str>,
    /// For its first 64 KiB; it has a second more for each 64 KiB.
    pub(crate) patience: Duration,
}

/// The whole body, and the room that it takes.
pub(crate) async fn read(
    bodies: &Arc<Bodies>,
    headers: &HeaderMap,
    body: Body,
    terms: Terms<'_>,
) -> Result<(Bytes, Option<Room>), Refusal> {
    let bytes_max = terms.bytes_max;
    let length = headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length == Some(0) || (bytes_max == 0 && length.is_none()) {
        return Ok((Bytes::new(), None));
    }
    let bytes = length.unwrap_or(bytes_max);
    if bytes > bytes_max {
        return Err(too_large(&terms));
    }
    // One that says that it would not fit is not waited for.
    let announced = length.unwrap_or_default();
    bodies.fits(&bodies.lock(), terms.who, announced)?;
    let mut room = Room {
        bodies: Arc::clone(bodies),
        who: terms.who.to_owned(),
        bytes: 0,
    };
    let patience = terms.patience + Duration::from_secs((bytes >> 16) as u64);
    let collected = tokio::time::timeout(patience, collect(body, &terms, &mut room)).await;
    let slow = |_| Refusal::new(408, "body-timeout", "the body came too slowly");
    Ok((collected.map_err(slow)??, Some(room)))
}

async fn collect(mut body: Body, terms: &Terms<'_>, room: &mut Room) -> Result<Bytes, Refusal> {
    let mut collected = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            tracing::debug!(%error, "a body was not read");
            Refusal::new(400, "body-broken", "the body ended early or is malformed")
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if data.len() > terms.bytes_max - collected.len() {
            return Err(too_large(terms));
        }
        room.grow(data.len())?;
        collected.extend_from_slice(&data);
    }
    // What is held is what was counted.
    collected.shrink_to_fit();
    Ok(collected.into())
}

fn too_large(terms: &Terms<'_>) -> Refusal {
    let bytes_max = terms.bytes_max;
    let detail = match terms.input_of {
        Some(plugin) => format!(
            "the body may have {bytes_max} bytes, the limit `input` of `{plugin}`; an administrator can raise it: airlock grant {plugin} --limit input=…"
        ),
        None => format!("the body may have {bytes_max} bytes, which no setting changes"),
    };
    Refusal::new(413, "body-too-large", detail).with("bytes_max", bytes_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn room(bodies: &Arc<Bodies>, who: &str) -> Room {
        Room {
            bodies: Arc::clone(bodies),
            who: who.to_owned(),
            bytes: 0,
        }
    }

    #[test]
    fn one_principal_leaves_room_to_the_others() {
        let bodies = Bodies::new(512 * MIB);
        let (mut greedy, mut more) = (room(&bodies, "greedy"), room(&bodies, "greedy"));
        assert_eq!(greedy.grow(100 * MIB), Ok(()));
        assert_eq!(more.grow(28 * MIB), Ok(()));
        let full = Full::Share(128 * MIB);
        assert_eq!(more.grow(1), Err(full));
        let mut others: Vec<Room> = ["a", "b", "c"].map(|who| room(&bodies, who)).into();
        for other in &mut others {
            assert_eq!(other.grow(128 * MIB), Ok(()));
        }
        assert_eq!(room(&bodies, "d").grow(1), Err(Full::All));
        drop(greedy);
        assert_eq!(more.grow(100 * MIB), Ok(()));
        drop((more, others));
        let held = bodies.lock();
        assert_eq!((held.bytes, held.of.len()), (0, 0));
    }

    /// Where there is little room in all, the largest body still has some.
    #[test]
    fn a_share_has_room_for_the_largest_body() {
        for (bytes_max, share) in [(512, 128), (100, 64), (64, 64), (8, 8)] {
            let bodies = Bodies::new(bytes_max * MIB);
            assert_eq!(bodies.share_bytes_max, share * MIB, "{bytes_max}");
            let mut one = room(&bodies, "one");
            assert_eq!(one.grow(share * MIB), Ok(()), "{bytes_max}");
            let full = match share == bytes_max {
                true => Full::All,
                false => Full::Share(share * MIB),
            };
            assert_eq!(one.grow(1), Err(full), "{bytes_max}");
        }
    }
}
