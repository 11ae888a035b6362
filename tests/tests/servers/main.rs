//! MCP servers of others as plugins of the real host: installed, granted, called,
//! recorded, changed behind its back, halted, called by agents. Where the kernel has
//! no Landlock, programs are not started, and the tests say so and pass.

mod commands;
mod pins;
mod places;
mod runs;
mod stops;
mod web;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use airlock::client::{Api, Request};
use airlock::harness::Server;
use airlock_mcp_client::{Confinement, confinement};
use airlock_tests::{airlock, mcp_servers};
use serde_json::{Value, json};

/// How long what must come is waited for, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A host, and the server `notes`.
struct Host {
    data: PathBuf,
    server: Option<Server>,
    _folder: tempfile::TempDir,
}

/// Whether programs are started here; says so where not.
fn can_start() -> bool {
    let can = confinement() == Confinement::Network;
    if !can {
        println!("skipped: the kernel has no Landlock that holds the network");
    }
    can
}

fn program() -> String {
    mcp_servers().to_str().expect("UTF-8").to_owned()
}

/// The real server of the tests, as a program.
fn notes() -> Value {
    json!({ "command": program(), "args": ["good"] })
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut host = Self {
            data: folder.path().join("data"),
            server: None,
            _folder: folder,
        };
        host.start();
        host
    }

    /// With `notes` installed; its calls may take five seconds.
    fn with_notes() -> Self {
        let host = Self::new();
        host.install("notes", &json!({ "server": notes() }));
        host.set("notes", json!({ "limits": { "wall": "5s" } }));
        host
    }

    fn start(&mut self) {
        let server = Server::start(&airlock(), &self.data, &[]);
        self.server = Some(server.expect("the server starts"));
    }

    fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill().expect("killed");
        }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    fn api(&self) -> Api {
        self.server().api()
    }

    /// The server's own directory.
    fn own(&self, plugin: &str) -> PathBuf {
        self.data.join("mcp").join(plugin)
    }

    /// A reply's status and body.
    fn ask(&self, method: &'static str, path: &str, body: &Value) -> (u16, Value) {
        let reply = self
            .api()
            .send(&Request::json(method, path, body))
            .expect("a reply");
        let value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
        (reply.status, value)
    }

    fn install(&self, plugin: &str, request: &Value) -> Value {
        let path = format!("/v1/plugins/{plugin}/mcp?wait=true");
        let (status, operation) = self.ask("POST", &path, request);
        assert_eq!(status, 201, "{operation}");
        operation["installed"].clone()
    }

    /// Why it is not installed.
    fn refused(&self, plugin: &str, request: &Value) -> (u16, String) {
        let path = format!("/v1/plugins/{plugin}/mcp?wait=true");
        let (status, problem) = self.ask("POST", &path, request);
        assert!(status >= 400, "{problem}");
        (
            status,
            format!("{} {}", text(&problem, "code"), text(&problem, "detail")),
        )
    }

    fn set(&self, plugin: &str, grants: Value) {
        let path = format!("/v1/plugins/{plugin}/grants");
        let (status, reply) = self.ask("PUT", &path, &grants);
        assert_eq!(status, 200, "{reply}");
    }

    fn call(&self, tool: &str, input: &Value) -> (u16, Value) {
        self.ask("POST", &format!("/v1/tools/{tool}"), input)
    }

    /// What a call of `notes` says: its text, or the code and detail of its end.
    fn says(&self, tool: &str, input: Value) -> String {
        let (status, reply) = self.call(&format!("notes/{tool}"), &input);
        match status {
            200 => match reply["output"]["content"][0]["text"].as_str() {
                Some(text) => text.to_owned(),
                None => reply["output"].to_string(),
            },
            _ => format!("{} {}", text(&reply, "code"), text(&reply, "detail")),
        }
    }

    fn plugin(&self, plugin: &str) -> Value {
        let path = format!("/v1/plugins/{plugin}");
        self.api().get(&path).expect("a plugin")
    }

    /// Records of the audit with this action.
    fn audited(&self, action: &str) -> Vec<Value> {
        let page = self.api().get("/v1/audit?limit=1000").expect("the audit");
        let records = page["records"].as_array().expect("a list").clone();
        let of = records
            .into_iter()
            .filter(|record| record["action"] == action);
        of.collect()
    }
}

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_default().to_owned()
}

/// How often `count` did what it does.
fn counted(own: &Path) -> usize {
    std::fs::read_to_string(own.join("counted")).map_or(0, |all| all.lines().count())
}

fn wait_for(what: &str, is: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Processes whose arguments end with this, by their ids.
fn processes(last: &str) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").expect("processes").flatten();
    let named = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.ends_with(format!("{last}\0").as_bytes())
    };
    named.filter(is).collect()
}
