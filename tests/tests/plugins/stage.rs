//! A server with one plugin, installed from its built component, and what the
//! plugin is to work on: the demo's invoices, a folder to write to, and an HTTP
//! service that asks for a key.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use airlock::client::Request;
use airlock::harness::Server;
use airlock_tests::ledger::Ledger;
use airlock_tests::{airlock, component, root};
use axum::Router;
use axum::extract::Path as PathOf;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::Value;

/// What the service asks for; no plugin may ever see it.
pub(crate) const KEY: &str = "key-4b1d-not-for-plugins";

/// Advisories that are taken where there are any: as many as an input may hold.
const ADVISORIES: usize = 300;

/// The lock file of a project, and advisories of which two apply to it.
const LOCK: &str = r#"version = 4

[[package]]
name = "alpha"
version = "1.2.3"
source = "registry+https://example.com/index"

[[package]]
name = "beta"
version = "0.4.0"
source = "registry+https://example.com/index"
"#;
const FEED: &str = r#"{"id":"T-1","package":"alpha","cvss":"CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N","patched":[">= 1.2.4"]}
{"id":"T-2","package":"beta","cvss":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H","patched":[]}
{"id":"T-3","package":"beta","informational":"unmaintained","patched":[]}
{"id":"T-4","package":"alpha","patched":[">= 1.2.3"]}
"#;

/// A server with one plugin.
pub(crate) struct Stage {
    pub(crate) plugin: &'static str,
    pub(crate) service: String,
    /// The books of the payments service.
    pub(crate) ledger: Ledger,
    server: Server,
    folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

/// One call, and what must come of it.
pub(crate) struct Case {
    pub(crate) tool: &'static str,
    input: Value,
    key: Option<&'static str>,
    expect: Expect,
}

enum Expect {
    Answer(Box<dyn Fn(&Value) -> bool>),
    /// An error with this code, whose detail has this part.
    Fails(&'static str, &'static str),
}

/// A call whose output the check takes.
pub(crate) fn good(
    tool: &'static str,
    input: Value,
    check: impl Fn(&Value) -> bool + 'static,
) -> Case {
    let expect = Expect::Answer(Box::new(check));
    Case {
        tool,
        input,
        key: None,
        expect,
    }
}

/// A call that fails with this code and says this.
pub(crate) fn bad(
    tool: &'static str,
    input: Value,
    code: &'static str,
    says: &'static str,
) -> Case {
    let expect = Expect::Fails(code, says);
    Case {
        tool,
        input,
        key: None,
        expect,
    }
}

impl Case {
    /// The same under an idempotency key.
    pub(crate) fn under(self, key: &'static str) -> Self {
        let key = Some(key);
        Self { key, ..self }
    }

    pub(crate) fn is_good(&self) -> bool {
        matches!(self.expect, Expect::Answer(_))
    }
}

impl Stage {
    /// Installs the plugin, with no grant.
    pub(crate) fn new(plugin: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        lay_out(folder.path());
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let ledger = Ledger::default();
        let service = serve(&runtime, &ledger);
        let server =
            Server::start(&airlock(), &folder.path().join("data"), &[]).expect("the server starts");
        for name in ["contracts-key", "payments-key"] {
            let path = format!("/v1/secrets/{name}");
            let secret = Request::bytes("PUT", path, "application/octet-stream", KEY.into());
            server.api().ok(&secret).expect("the secret is stored");
        }
        let stage = Self {
            plugin,
            service,
            ledger,
            server,
            folder,
            _runtime: runtime,
        };
        stage.add(plugin);
        stage
    }

    /// Installs another plugin beside it.
    pub(crate) fn add(&self, plugin: &str) {
        let file = component_of(plugin).display().to_string();
        self.airlock(&["plugin", "add", plugin, &file]);
    }

    /// The server.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub(crate) fn airlock(&self, args: &[&str]) -> String {
        let output = Command::new(airlock())
            .args(args)
            .env("AIRLOCK_DATA", self.path("data"))
            .env_remove("AIRLOCK_TOKEN")
            .output()
            .expect("it starts");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {out}{err}");
        out
    }

    /// Runs a line as a person types it.
    pub(crate) fn shell(&self, line: &str) {
        let binaries = airlock().parent().expect("a folder").to_path_buf();
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(binaries).chain(std::env::split_paths(&paths));
        let output = Command::new("sh")
            .args(["-c", line])
            .env("PATH", std::env::join_paths(paths).expect("paths"))
            .env("AIRLOCK_DATA", self.path("data"))
            .env_remove("AIRLOCK_TOKEN")
            .output()
            .expect("it starts");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {err}");
    }

    /// Applies a policy file.
    pub(crate) fn apply(&self, policy: &str) {
        let file = self.path("policy.toml");
        fs::write(&file, policy).expect("the policy is written");
        self.airlock(&["apply", &file.display().to_string(), "--yes"]);
    }

    /// The policy that the plugin's README names, with the places of this stage
    /// put in for its examples.
    pub(crate) fn least_grants(&self) -> String {
        self.least_grants_of(self.plugin)
    }

    /// The same of another plugin.
    pub(crate) fn least_grants_of(&self, plugin: &str) -> String {
        let text = policy_in_readme(plugin);
        assert!(!text.contains(".limits]"), "not the default limits: {text}");
        let source = format!("\"plugins/{plugin}.wasm\"");
        assert!(text.contains(&source), "no {source}: {text}");
        let own = |path: PathBuf| path.display().to_string();
        text.replace(&source, &format!("{:?}", component_of(plugin)))
            .replace("/srv/invoices", &own(self.path("invoices")))
            .replace("/srv/reports", &own(self.path("reports")))
            .replace("/srv/project", &own(self.path("project")))
            .replace("https://api.example.com", &self.service)
            // The service is on loopback.
            .replace("[\"GET\"]", "[\"GET\"], allow_private = true")
            .replace("[\"POST\"]", "[\"POST\"], allow_private = true")
    }

    /// The scope of a want, with the places of this stage put in for what the
    /// administrator has to choose.
    pub(crate) fn chosen(&self, scope: &str) -> String {
        let own = |name: &str| self.path(name).display().to_string();
        scope
            .replace("/path/to/another/folder", &own("reports"))
            .replace("/path/to/folder", &own("invoices"))
            .replace("/path/to/tables", &own("invoices"))
            .replace("name-of-a-secret", "contracts-key")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a call answers: status and body.
    fn call(&self, tool: &str, input: &Value, key: Option<&str>) -> (u16, Value) {
        let path = format!("/v1/tools/{}/{tool}", self.plugin);
        let mut request = Request::json("POST", path, input);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let reply = self.server.api().send(&request);
        let reply = reply.expect("the server answers");
        let text = String::from_utf8_lossy(&reply.body);
        assert!(!text.contains(KEY), "the key got out: {text}");
        let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
        (reply.status, body)
    }

    /// Makes the calls and judges what comes of them.
    pub(crate) fn check(&self, cases: &[Case]) {
        for case in cases {
            let (status, body) = self.call(case.tool, &case.input, case.key);
            let held = match &case.expect {
                Expect::Answer(check) => status == 200 && check(&body["output"]),
                Expect::Fails(code, says) => {
                    let detail = body["detail"].as_str().unwrap_or_default();
                    status >= 400 && body["code"] == *code && detail.contains(says)
                }
            };
            let input: String = case.input.to_string().chars().take(300).collect();
            assert!(
                held,
                "{}/{} {input}: {status} {body:#}",
                self.plugin, case.tool
            );
        }
    }

    /// The call is denied for want of a rule of the capability, and says so.
    pub(crate) fn denied(&self, tool: &str, input: &Value, capability: &str) {
        let (status, body) = self.call(tool, input, None);
        let named = |denial: &Value| {
            denial["capability"] == capability && denial["rule"].as_str() != Some("")
        };
        let denials = body["denials"].as_array();
        assert!(
            status == 403
                && body["code"] == "denied"
                && denials.is_some_and(|denials| denials.iter().any(named)),
            "{}/{tool} {input}: {status} {body:#}",
            self.plugin
        );
    }

    /// The names of the plugin's tools.
    pub(crate) fn tools(&self) -> Vec<String> {
        let tools = self.server.api().get("/v1/tools").expect("the tools");
        let list = tools.as_array().or(tools["tools"].as_array());
        let names = list.into_iter().flatten().map(|tool| tool["name"].as_str());
        names.map(|name| name.expect("a name").to_owned()).collect()
    }

    /// What is granted to the plugin.
    pub(crate) fn granted(&self) -> Value {
        let path = format!("/v1/plugins/{}/grants", self.plugin);
        self.server.api().get(&path).expect("the grants")["grants"].clone()
    }

    /// What the plugin says it wants.
    pub(crate) fn wants(&self) -> Vec<Value> {
        let path = format!("/v1/plugins/{}", self.plugin);
        let detail = self.server.api().get(&path).expect("the plugin");
        detail["wants"].as_array().expect("a list").clone()
    }
}

fn component_of(plugin: &str) -> PathBuf {
    component(&format!("airlock-plugin-{plugin}"))
}

fn lay_out(folder: &Path) {
    let invoices = folder.join("invoices");
    let project = folder.join("project");
    for made in [&invoices, &folder.join("reports"), &project] {
        fs::create_dir(made).expect("a folder");
    }
    fs::write(project.join("Cargo.lock"), LOCK).expect("written");
    fs::write(project.join("notes.txt"), "no lock file").expect("written");
    for entry in fs::read_dir(root().join("demo/invoices")).expect("the demo's invoices") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), invoices.join(entry.file_name())).expect("a copy");
    }
}

/// Serves the demo's contracts, all or one, to whoever has the key.
fn serve(runtime: &tokio::runtime::Runtime, ledger: &Ledger) -> String {
    let answer = |headers: &HeaderMap, found: Option<Value>| {
        let known = headers.get("x-api-key").is_some_and(|key| key == KEY);
        match found {
            _ if !known => StatusCode::UNAUTHORIZED.into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
            Some(found) => {
                ([("content-type", "application/json")], found.to_string()).into_response()
            }
        }
    };
    let all = move |headers: HeaderMap| async move { answer(&headers, Some(contracts())) };
    let one = move |PathOf(id): PathOf<String>, headers: HeaderMap| async move {
        let contracts = contracts();
        let mut list = contracts.as_array().into_iter().flatten();
        let found = list.find(|contract| contract["contract_id"] == *id);
        answer(&headers, found.cloned())
    };
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let router = Router::new()
        .route("/v1/contracts", get(all))
        .route("/v1/contracts/{id}", get(one))
        .route("/advisories.jsonl", get(|| async { FEED }))
        .route(
            "/v1/articles",
            post(|body: String| async { (StatusCode::CREATED, body) }),
        )
        .merge(ledger.router(KEY));
    runtime.spawn(async move { axum::serve(listener, router).await });
    base
}

/// The block under `**Least grants**` of a plugin's README.
fn policy_in_readme(plugin: &str) -> String {
    let file = root().join("plugins").join(plugin).join("README.md");
    let text = fs::read_to_string(&file).expect("a README");
    let (_, after) = text
        .split_once("**Least grants**")
        .unwrap_or_else(|| panic!("{} names no least grants", file.display()));
    let block = after.split("```toml\n").nth(1);
    let block = block.and_then(|block| block.split("```").next());
    block
        .unwrap_or_else(|| panic!("{} shows no policy", file.display()))
        .to_owned()
}

/// The contracts of the demo.
pub(crate) fn contracts() -> Value {
    let text = fs::read_to_string(root().join("demo/contracts.json")).expect("the contracts");
    serde_json::from_str(&text).expect("JSON")
}

/// A file of the demo's invoices.
pub(crate) fn invoices(file: &str) -> String {
    fs::read_to_string(root().join("demo/invoices").join(file)).expect("invoices")
}

/// Some security advisories, one as JSON a line, where the data for tests is
/// beside the repository.
pub(crate) fn advisories() -> Option<String> {
    let file = root().join("../shared/data/rustsec-advisories.jsonl");
    let Ok(text) = fs::read_to_string(&file) else {
        println!("skipped: no advisories beside the repository");
        return None;
    };
    Some(
        text.lines()
            .take(ADVISORIES)
            .fold(String::new(), |all, line| all + line + "\n"),
    )
}
