//! The stand-in for the host under `cargo test`: what `testing::Host` was given
//! works, everything else is denied, as in a sandbox without grants.

use std::time::{Duration, Instant};

use super::native_agent::{self, Awaits};
use crate::http::{Request, Response, Target};
use crate::log::Level;
use crate::testing::{self, LogRecord, ProgressReport, World};
use crate::{Denial, Error};

/// What an agent does in place of having a capability.
const CALLS: &str = "call a tool that has it";

fn world<T>(look: impl FnOnce(&mut World) -> T) -> T {
    testing::with_world(look)
}

fn deny(capability: &str, operation: String, rule: &str) -> Denial {
    let denial = Denial {
        capability: capability.to_owned(),
        operation,
        rule: rule.to_owned(),
    };
    world(|world| world.last_denial = Some(denial.clone()));
    denial
}

pub(crate) fn last_denial() -> Option<Denial> {
    world(|world| world.last_denial.clone())
}

pub(crate) fn placeholder(name: &str) -> Result<String, Denial> {
    native_agent::has_no("secrets", CALLS);
    if world(|world| world.secrets.contains(name)) {
        return Ok(testing::placeholder_of(name));
    }
    Err(deny(
        "secrets",
        format!("use {name}"),
        "give it in the test with `testing::Host::secret`",
    ))
}

pub(crate) fn log(level: Level, message: &str, fields: &[(String, String)]) {
    native_agent::has_no("log", "use `agent::log`");
    let record = LogRecord {
        level,
        message: message.to_owned(),
        fields: fields.to_vec(),
    };
    world(|world| world.logs.push(record));
}

pub(crate) fn progress(done: f64, total: Option<f64>, message: &str) {
    native_agent::has_no("progress", "use `agent::progress`");
    let report = ProgressReport {
        done,
        total,
        message: message.to_owned(),
    };
    world(|world| world.progress.push(report));
}

#[allow(clippy::unnecessary_wraps, reason = "the host's side can fail")]
pub(crate) fn config_get(key: &str) -> Result<Option<String>, Error> {
    native_agent::has_no("config", "take it as input");
    Ok(world(|world| world.config.get(key).cloned()))
}

#[allow(clippy::unnecessary_wraps, reason = "the host's side can fail")]
pub(crate) fn config_all() -> Result<Vec<(String, String)>, Error> {
    native_agent::has_no("config", "take it as input");
    Ok(world(|world| world.config.clone().into_iter().collect()))
}

pub(crate) fn memory(request: &str) -> Result<String, Error> {
    native_agent::has_no("memory", "use `agent::memory`");
    let memory = world(|world| world.memory.clone());
    memory.ask(request).inspect_err(|error| {
        if let Error::Denied(denial) = error {
            world(|world| world.last_denial = Some(denial.clone()));
        }
    })
}

/// What a future waits for.
pub(crate) enum Source {
    /// A moment of the machine's clock.
    Moment(Instant),
    /// An answer to an agent under test.
    Answer(Awaits),
}

pub(crate) fn timer(delay: Duration) -> Source {
    native_agent::timer(delay).unwrap_or_else(|| Source::Moment(Instant::now() + delay))
}

pub(crate) fn is_ready(source: &Source) -> bool {
    match source {
        Source::Moment(moment) => *moment <= Instant::now(),
        Source::Answer(awaits) => native_agent::is_ready(awaits),
    }
}

/// Waits until one of the sources is ready; gives the ready ones' indices.
pub(crate) fn wait_any(sources: &[&Source]) -> Vec<usize> {
    if let Some(ready) = native_agent::wait_any(sources) {
        return ready;
    }
    let moments = sources.iter().filter_map(|source| match source {
        Source::Moment(moment) => Some(*moment),
        Source::Answer(_) => None,
    });
    let first = moments.min();
    // A tool that an agent under test calls waits for its own things alone.
    let first = first.expect("the future waits for nothing that the host could report");
    std::thread::sleep(first.saturating_duration_since(Instant::now()));
    (0..sources.len())
        .filter(|&index| is_ready(sources[index]))
        .collect()
}

/// A random number below 512; always 0 in an agent under test.
pub(crate) fn jitter() -> u64 {
    use std::hash::BuildHasher;
    match native_agent::is_running() {
        true => 0,
        false => std::hash::RandomState::new().hash_one(()) % 512,
    }
}

#[allow(clippy::unused_async, reason = "the host's side waits")]
pub(crate) async fn send(request: &Request, _target: &Target) -> Result<Response, Error> {
    native_agent::has_no("http", CALLS);
    let Some(handler) = world(|world| world.http.take()) else {
        let rule = "answer it in the test with `testing::Host::http`";
        return Err(Error::Denied(deny("http", request.operation(), rule)));
    };
    // The handler is away while it runs, so that it may use the SDK itself.
    let answer = handler(request);
    world(|world| world.http = Some(handler));
    let answer = answer.inspect_err(|error| {
        if let Error::Denied(denial) = error {
            world(|world| world.last_denial = Some(denial.clone()));
        }
    })?;
    let mut response = Response {
        body: Vec::new(),
        ..answer.clone()
    };
    request.take(&mut response, &answer.body)?;
    Ok(response)
}

/// A bucket in the test's memory.
pub(crate) struct Bucket(String);

impl Bucket {
    pub(crate) fn open(name: &str) -> Result<Self, Error> {
        native_agent::has_no("kv", "use `agent::state`, or call a tool that has it");
        if world(|world| world.kv.contains_key(name)) {
            return Ok(Self(name.to_owned()));
        }
        let rule = "give it in the test with `testing::Host::kv`";
        Err(Error::Denied(deny("kv", format!("open {name}"), rule)))
    }

    fn values<T>(&self, look: impl FnOnce(&mut testing::Values) -> T) -> T {
        world(|world| look(world.kv.entry(self.0.clone()).or_default()))
    }

    pub(crate) fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.values(|values| values.get(key).cloned()))
    }

    pub(crate) fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.values(|values| values.insert(key.to_owned(), value.to_vec()));
        Ok(())
    }

    pub(crate) fn delete(&self, key: &str) -> Result<(), Error> {
        self.values(|values| values.remove(key));
        Ok(())
    }

    pub(crate) fn exists(&self, key: &str) -> Result<bool, Error> {
        Ok(self.values(|values| values.contains_key(key)))
    }

    /// Two keys a page, so that tests meet the paging.
    pub(crate) fn list(
        &self,
        cursor: Option<String>,
    ) -> Result<(Vec<String>, Option<String>), Error> {
        let from = cursor.unwrap_or_default();
        let mut keys: Vec<String> = self.values(|values| {
            values
                .range(from..)
                .take(3)
                .map(|(key, _)| key.clone())
                .collect()
        });
        let next = (keys.len() == 3).then(|| keys.pop()).flatten();
        Ok((keys, next))
    }

    pub(crate) fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        let current = self.get(key)?.unwrap_or_else(|| b"0".to_vec());
        let number = std::str::from_utf8(&current)
            .ok()
            .and_then(|text| text.parse::<i64>().ok());
        let sum = number.and_then(|number| number.checked_add(delta));
        let sum = sum.ok_or_else(|| {
            Error::Permanent(format!("increment: {key} is no number, or it overflows"))
        })?;
        self.set(key, sum.to_string().as_bytes())?;
        Ok(sum)
    }

    pub(crate) fn swap(
        &self,
        key: &str,
        decide: &mut dyn FnMut(Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Error>,
    ) -> Result<bool, Error> {
        let current = self.get(key)?;
        let Some(new) = decide(current.clone())? else {
            return Ok(false);
        };
        // `decide` may have written as well, as another call would.
        if self.get(key)? != current {
            return Ok(false);
        }
        self.set(key, &new)?;
        Ok(true)
    }
}
