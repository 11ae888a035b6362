//! Tests of tools under plain `cargo test`: a stand-in for the host, and calls
//! with JSON as the host makes them.
//!
//! Nothing is granted by default, as in a sandbox: a bucket, a secret or an
//! answer to a request must be given first. Files are the machine's own; give a
//! tool the path of a temporary directory.
//!
//! ```
//! use airlock_sdk::testing::{Host, placeholder_of};
//! use airlock_sdk::{http, kv, secrets};
//!
//! let host = Host::new().kv("seen").secret("key").http(|request| {
//!     assert_eq!(request.headers[0].1, placeholder_of("key"));
//!     Ok(http::Response::new(200).with_body("hello"))
//! });
//! host.run(|| {
//!     let key = secrets::placeholder("key").unwrap();
//!     let reply = http::get("https://api.example.com/").header("x-key", key).send().unwrap();
//!     kv::Bucket::open("seen").unwrap().set("last", &reply.body).unwrap();
//! });
//! assert_eq!(host.value("seen", "last").as_deref(), Some(&b"hello"[..]));
//! ```
//!
//! Agents are run by [`agent()`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::Value;

use crate::http::{Request, Response};
use crate::log::Level;
use crate::{Context, Denial, Error, Plugin, Want};

mod agent;
mod bounds;
pub(crate) mod chats;
pub(crate) mod memory;
pub(crate) mod models;
mod people;
mod result;
pub(crate) mod run;
pub(crate) mod script;
mod signals;
pub(crate) mod step;

pub use agent::{AgentHost, agent, check_agent, not_approved};
pub use memory::Memory;
pub use models::{ModelRequest, Says};
pub use people::{Answer, Question};
pub use result::{AgentRun, Child, End, Note};

pub(crate) type Values = BTreeMap<String, Vec<u8>>;
type Handler = Box<dyn Fn(&Request) -> Result<Response, Error>>;

/// A log record that a tool wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Its severity.
    pub level: Level,
    /// Its text.
    pub message: String,
    /// Its named values.
    pub fields: Vec<(String, String)>,
}

/// A report of progress.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgressReport {
    /// How much is done, in the tool's units.
    pub done: f64,
    /// Of how much, where known.
    pub total: Option<f64>,
    /// What is going on.
    pub message: String,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) kv: BTreeMap<String, Values>,
    pub(crate) http: Option<Handler>,
    pub(crate) secrets: BTreeSet<String>,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) logs: Vec<LogRecord>,
    pub(crate) progress: Vec<ProgressReport>,
    pub(crate) last_denial: Option<Denial>,
    pub(crate) memory: Memory,
}

thread_local! {
    /// Each test has a thread of its own, and so a host of its own.
    static CURRENT: RefCell<Rc<RefCell<World>>> = RefCell::default();
}

pub(crate) fn with_world<T>(look: impl FnOnce(&mut World) -> T) -> T {
    let world = CURRENT.with_borrow(Rc::clone);
    look(&mut world.borrow_mut())
}

/// A stand-in for the host: what it is given works inside [`Host::run`].
#[derive(Default)]
pub struct Host {
    world: Rc<RefCell<World>>,
}

impl Host {
    /// A host that grants nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Grants an empty bucket.
    #[must_use]
    pub fn kv(self, bucket: &str) -> Self {
        self.world
            .borrow_mut()
            .kv
            .insert(bucket.to_owned(), Values::new());
        self
    }

    /// Answers requests. Return [`Error::denied`] for what should not be granted.
    #[must_use]
    pub fn http(self, answer: impl Fn(&Request) -> Result<Response, Error> + 'static) -> Self {
        self.world.borrow_mut().http = Some(Box::new(answer));
        self
    }

    /// Grants a secret; see [`placeholder_of`].
    #[must_use]
    pub fn secret(self, name: &str) -> Self {
        self.world.borrow_mut().secrets.insert(name.to_owned());
        self
    }

    /// Grants what a memory grants.
    #[must_use]
    pub fn memory(self, memory: &Memory) -> Self {
        self.world.borrow_mut().memory = memory.clone();
        self
    }

    /// Sets a configuration value.
    #[must_use]
    pub fn config(self, key: &str, value: &str) -> Self {
        self.world
            .borrow_mut()
            .config
            .insert(key.to_owned(), value.to_owned());
        self
    }

    /// Runs something with this host in place of the thread's.
    pub fn run<T>(&self, body: impl FnOnce() -> T) -> T {
        struct Restore(Rc<RefCell<World>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(Rc::clone(&self.0));
            }
        }
        let _restore = Restore(CURRENT.replace(Rc::clone(&self.world)));
        body()
    }

    /// What a bucket holds under a key.
    #[must_use]
    pub fn value(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        self.world.borrow().kv.get(bucket)?.get(key).cloned()
    }

    /// The log records so far.
    #[must_use]
    pub fn logs(&self) -> Vec<LogRecord> {
        self.world.borrow().logs.clone()
    }

    /// The reports of progress so far.
    #[must_use]
    pub fn progress(&self) -> Vec<ProgressReport> {
        self.world.borrow().progress.clone()
    }
}

/// Runs something with one empty bucket granted.
pub fn with_kv<T>(bucket: &str, body: impl FnOnce() -> T) -> T {
    Host::new().kv(bucket).run(body)
}

/// Runs something with its requests answered.
pub fn with_http<T>(
    answer: impl Fn(&Request) -> Result<Response, Error> + 'static,
    body: impl FnOnce() -> T,
) -> T {
    Host::new().http(answer).run(body)
}

/// Runs something with one secret granted.
pub fn with_secret<T>(name: &str, body: impl FnOnce() -> T) -> T {
    Host::new().secret(name).run(body)
}

/// What [`secrets::placeholder`](crate::secrets::placeholder) gives in a test.
#[must_use]
pub fn placeholder_of(secret: &str) -> String {
    format!("airlock-test-placeholder-{secret}")
}

/// A context such as the host gives, for a first attempt.
#[must_use]
pub fn context() -> Context {
    Context::new("test-call".to_owned(), "test-principal".to_owned())
}

/// Calls a tool as the host does, with JSON both ways.
///
/// # Errors
/// Those of the tool, and those of an unknown name or an input that does not fit.
pub fn call(plugin: &Plugin, tool: &str, input: Value) -> Result<Value, Error> {
    let output = plugin.call(tool, &input.to_string(), &context())?;
    serde_json::from_str(&output)
        .map_err(|error| Error::Permanent(format!("output of `{tool}`: {error}")))
}

const SCHEMA_BYTES_MAX: usize = 64 * 1024;

/// Checks what the host checks at install: each input schema is an object's and
/// of a fair size, and each want's scope is TOML. `plugin!` makes it a test.
///
/// # Errors
/// What is wrong, and where.
pub fn check(plugin: &Plugin) -> Result<(), String> {
    for tool in plugin.tools() {
        let named = |problem: String| format!("tool `{}`: {problem}", tool.name());
        check_input_schema(&tool.input_schema()).map_err(named)?;
        let output_bytes = tool.output_schema().map_or(0, |schema| schema.len());
        check_bytes(output_bytes).map_err(named)?;
    }
    check_wants(plugin.wants())
}

/// Whether this can be the schema of an input.
pub(crate) fn check_input_schema(schema: &str) -> Result<(), String> {
    let parsed: Value = serde_json::from_str(schema).map_err(|error| error.to_string())?;
    if parsed["type"] != "object" {
        return Err("its input is not an object: take a struct".to_owned());
    }
    check_bytes(schema.len())
}

fn check_bytes(bytes: usize) -> Result<(), String> {
    match bytes > SCHEMA_BYTES_MAX {
        true => Err(format!("a schema is larger than {SCHEMA_BYTES_MAX} bytes")),
        false => Ok(()),
    }
}

/// Whether each scope is one TOML value.
pub(crate) fn check_wants(wants: &[Want]) -> Result<(), String> {
    for want in wants {
        let line = format!("scope = {}", want.scope);
        let table: toml::Table = toml::from_str(&line).map_err(|error| {
            format!("want `{}`: its scope is not TOML: {error}", want.capability)
        })?;
        if table.len() != 1 {
            return Err(format!(
                "want `{}`: its scope is more than one value",
                want.capability
            ));
        }
    }
    Ok(())
}
