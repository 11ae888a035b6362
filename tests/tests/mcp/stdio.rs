//! `airlock mcp` and the client of the protocol's own Rust SDK.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use airlock::client::Request;
use airlock_tests::airlock;
use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult,
    ElicitationAction, Implementation, JsonObject,
};
use rmcp::service::{NotificationContext, RequestContext, RoleClient, RunningService};
use rmcp::{ClientHandler, ErrorData, ServiceExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::{add, grant, server};

/// How long what must come is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client that decides what it is asked, and counts changes of the list.
#[derive(Clone)]
struct Person {
    decision: &'static str,
    asked: Arc<Mutex<Vec<String>>>,
    changes: watch::Sender<u32>,
}

impl Person {
    fn new(decision: &'static str) -> Self {
        Self {
            decision,
            asked: Arc::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl ClientHandler for Person {
    fn get_info(&self) -> ClientConfig {
        let capabilities = ClientCapabilities::builder().enable_elicitation().build();
        ClientConfig::new(capabilities, Implementation::new("test", "1"))
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let asked = serde_json::to_value(&request).unwrap_or_default();
        let message = asked["message"].as_str().unwrap_or_default().to_owned();
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(message);
        let content = json!({ "decision": self.decision });
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(content))
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}

/// `airlock mcp`, and a client of it.
struct Session {
    child: Child,
    client: RunningService<RoleClient, Person>,
}

impl Session {
    async fn start(person: Person, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(airlock())
            .arg("mcp")
            .args(arguments)
            .env_remove("AIRLOCK_TOKEN")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("starts");
        let input = child.stdin.take().expect("an input");
        let output = child.stdout.take().expect("an output");
        let begun = tokio::time::timeout(PATIENCE, person.serve((output, input))).await;
        let client = begun.expect("it answers").expect("a session");
        Self { child, client }
    }

    async fn call(&self, name: &'static str, arguments: Value) -> Value {
        let arguments: JsonObject = serde_json::from_value(arguments).expect("an object");
        let params = CallToolRequestParams::new(name).with_arguments(arguments);
        let called = tokio::time::timeout(PATIENCE, self.client.call_tool(params)).await;
        let result = called.expect("it answers").expect("a result");
        serde_json::to_value(result).expect("JSON")
    }

    async fn names(&self) -> Vec<String> {
        let tools = self.client.list_all_tools().await.expect("a list");
        tools
            .into_iter()
            .map(|tool| tool.name.into_owned())
            .collect()
    }

    /// Ends the input; the command ends well.
    async fn end(mut self) {
        self.client.cancel().await.expect("ends");
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended.expect("it ends").expect("a status");
        assert!(status.success(), "{status}");
    }
}

fn data(dir: &Path) -> String {
    dir.join("data").to_string_lossy().into_owned()
}

/// Without a server: this process opens the data directory.
#[tokio::test(flavor = "multi_thread")]
async fn it_speaks_for_itself_where_no_server_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = data(dir.path());
    {
        let server = server(Path::new(&data));
        add(&server.api(), "fixture", "mcp-fixture");
        server.stop(PATIENCE).expect("stops");
    }
    // A token that is given is no more than that token, whoever owns the data.
    let scoped = |plugin: &str| {
        let made = Command::new(airlock())
            .args([
                "token", "create", "agent", "--role", "caller", "--plugin", plugin,
            ])
            .args(["--json", "--data", &data])
            .env_remove("AIRLOCK_TOKEN")
            .output();
        async move {
            let made = made.await.expect("runs");
            let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
            made["token"].as_str().expect("a token").to_owned()
        }
    };
    for (plugin, sees) in [("fixture", true), ("another", false)] {
        let token = scoped(plugin).await;
        let environment = [("AIRLOCK_TOKEN", token.as_str())];
        let arguments = ["--data", &data];
        let session = Session::start(Person::new("deny"), &arguments, &environment).await;
        let names = session.names().await;
        let seen = names.iter().any(|name| name == "fixture__test_simple_text");
        assert_eq!(seen, sees, "{plugin}: {names:?}");
        session.end().await;
    }
    let refused = Command::new(airlock())
        .args(["mcp", "--data", &data])
        .env("AIRLOCK_TOKEN", "airlock_no_token")
        .stdin(Stdio::null())
        .output()
        .await
        .expect("runs");
    assert!(!refused.status.success(), "{refused:?}");
    let session = Session::start(Person::new("deny"), &["--data", &data], &[]).await;
    let names = session.names().await;
    assert!(
        names.iter().any(|name| name == "fixture__test_simple_text"),
        "{names:?}"
    );
    let result = session.call("fixture__test_simple_text", json!({})).await;
    let text = "This is a simple text response for testing.";
    assert_eq!(result["content"][0]["text"], text, "{result}");
    session.end().await;
    // It let go of the data.
    server(Path::new(&data)).stop(PATIENCE).expect("stops");
}

/// With a server: calls, changes, a question for the person, a restart.
#[tokio::test(flavor = "multi_thread")]
async fn it_passes_on_what_the_server_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = data(dir.path());
    let first = server(Path::new(&data));
    let api = first.api();
    for (plugin, package) in [("keeper", "keeper"), ("prober", "agent-prober")] {
        add(&api, plugin, package);
    }
    grant(
        &api,
        "keeper",
        json!({ "kv": [{ "bucket": "kept", "bytes": "1MiB" }] }),
    );
    let rule = json!({ "tool": "keeper/add", "approval": "always" });
    grant(&api, "prober", json!({ "tools": [rule] }));
    let made: Value = api
        .value(&Request::json(
            "POST",
            "/v1/tokens",
            &json!({ "principal": "person", "roles": ["caller", "approver"] }),
        ))
        .expect("a token");
    let token = made["token"].as_str().expect("a token");

    let person = Person::new("approve");
    let (asked, mut changes) = (Arc::clone(&person.asked), person.changes.subscribe());
    let own = [("AIRLOCK_TOKEN", token)];
    let session = Session::start(person, &["--data", &data], &own).await;
    let added = session.call("keeper__add", json!({})).await;
    assert_eq!(added["structuredContent"]["count"], 1, "{added}");

    // A run of somebody else, whose question this token may decide.
    let steps = json!([{ "call": { "tool": "keeper/add", "input": {} } }]);
    let start = json!({ "agent": "prober", "input": { "steps": steps } });
    let run: Value = api
        .value(&Request::json("POST", "/v1/runs", &start))
        .expect("a run");
    let waited = session
        .call(
            "airlock__run_wait",
            json!({ "run": run["id"], "wait_seconds": 60 }),
        )
        .await;
    assert_eq!(
        waited["structuredContent"]["status"], "succeeded",
        "{waited}"
    );
    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(
        asked.len() == 1 && asked[0].contains("keeper/add"),
        "{asked:?}"
    );

    add(&api, "fixture", "mcp-fixture");
    let told = tokio::time::timeout(PATIENCE, changes.wait_for(|changes| *changes > 0)).await;
    told.expect("it is told").expect("a client");

    let address = first.base().trim_start_matches("http://").to_owned();
    first.kill().expect("killed");
    let again = Again::start(&data, &address).await;
    let added = session.call("keeper__add", json!({})).await;
    // What a plugin keeps is each principal's own.
    let count = &added["structuredContent"]["count"];
    assert_eq!(*count, 2, "the session goes on: {added}");
    session.end().await;
    drop(again);
}

/// A server that was started anew where it was.
struct Again {
    _child: Child,
}

impl Again {
    async fn start(data: &str, address: &str) -> Self {
        let child = Command::new(airlock())
            .args(["serve", "--data", data, "--listen", address])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("starts");
        let ready = async {
            while TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let ready = tokio::time::timeout(PATIENCE, ready).await;
        ready.expect("it listens");
        Self { _child: child }
    }
}
