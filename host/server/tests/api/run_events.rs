//! A run's journal, told as it grows.

use std::time::Duration;

use airlock_fake_models::{Damage, FakeModels, Reply, Script, What};
use airlock_runtime::Role;
use airlock_sandbox::testing::built;
use airlock_server::ServerConfig;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::server::Server;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(180);

/// A stream of events as it is read.
struct Stream {
    status: u16,
    headers: HeaderMap,
    body: Incoming,
    text: String,
}

impl Stream {
    async fn open(server: &Server, token: &str, target: &str, last: Option<&str>) -> Self {
        let mut request = Request::get(target)
            .header("host", server.address.to_string())
            .header("authorization", format!("Bearer {token}"))
            .header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let stream = TcpStream::connect(server.address).await.expect("connects");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("a connection");
        tokio::spawn(connection);
        let request = request.body(Empty::<Bytes>::new()).expect("a request");
        let response = sender.send_request(request).await.expect("a response");
        let (parts, body) = response.into_parts();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
            text: String::new(),
        }
    }

    /// Reads until `is_it`, or to the end; gives whether there is more.
    async fn until(&mut self, is_it: impl Fn(&str) -> bool) -> bool {
        let read = async {
            while !is_it(&self.text) {
                let Some(frame) = self.body.frame().await else {
                    return false;
                };
                let data = frame.expect("a frame").into_data().expect("data");
                self.text += std::str::from_utf8(&data).expect("utf-8");
            }
            true
        };
        let read = tokio::time::timeout(PATIENCE, read).await;
        read.unwrap_or_else(|_| panic!("nothing more comes after {}", self.text))
    }

    /// Ids and data of the records so far.
    fn records(&self) -> Vec<(u64, Value)> {
        let blocks = self.text.split("\n\n");
        let records = blocks.filter(|block| block.contains("event: record"));
        let record = |block: &str| {
            let field = |name: &str| {
                let mut lines = block.lines();
                lines.find_map(|line| line.strip_prefix(name).map(str::to_owned))
            };
            let id = field("id: ").expect("an id").parse().expect("a number");
            let data = field("data: ").expect("data");
            (id, serde_json::from_str(&data).expect("JSON"))
        };
        records.map(record).collect()
    }
}

/// With the agent `prober`.
async fn with_agent(config: ServerConfig) -> Server {
    let server = Server::start_with(config).await;
    server.install("prober", built("agent_prober")).await;
    server
}

async fn start(server: &Server, token: &str, steps: Value) -> String {
    let body = json!({ "agent": "prober", "input": { "steps": steps } }).to_string();
    let run = server.with(token, "POST", "/v1/runs", body).await;
    assert_eq!(run.status, 201, "{run:?}");
    run.json()["id"].as_str().expect("an id").to_owned()
}

async fn signal(server: &Server, run: &str, name: &str) {
    let target = format!("/v1/runs/{run}/signals/{name}");
    let answer = server.admin("POST", &target, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn events(run: &str) -> String {
    format!("/v1/runs/{run}/events")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_is_told_once_in_order_until_the_run_has_ended() {
    let server = with_agent(ServerConfig::default()).await;
    let steps = json!([
        { "repeat": { "times": 20, "steps": [{ "tell": { "text": "a\nb" } }] } },
        { "signal": { "name": "go" } },
        { "sleep": { "ms": 1 } },
    ]);
    let run = start(&server, &server.admin, steps).await;
    let mut live = Stream::open(&server, &server.admin, &events(&run), None).await;
    assert_eq!(
        (live.status, &live.headers["content-type"]),
        (200, &"text/event-stream".parse().expect("a value"))
    );
    assert!(
        live.until(|text| text.contains("\"kind\":\"signal\""))
            .await
    );
    let so_far = live.records().len() as u64;
    let mut resumed = Stream::open(
        &server,
        &server.admin,
        &events(&run),
        Some(&(so_far - 2).to_string()),
    )
    .await;
    signal(&server, &run, "go").await;
    assert!(!live.until(|_| false).await && !resumed.until(|_| false).await);

    let page = server
        .admin("GET", &format!("{}?limit=1000", events(&run)), "")
        .await;
    let all: Vec<(u64, Value)> = page.json()["events"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|record| (record["seq"].as_u64().expect("a number"), record.clone()))
        .collect();
    assert!(all.len() > 80, "{}", all.len());
    assert_eq!(live.records(), all);
    assert_eq!(live.records().last().expect("one").1["event"], "ended");
    assert_eq!(resumed.records(), all[so_far as usize - 1..]);

    let last = (all.len() - 1).to_string();
    let over = Stream::open(&server, &server.admin, &events(&run), Some(&last)).await;
    assert_eq!(over.status, 204, "nothing is left, and nothing will come");
    let mut from = format!("{}?from={last}", events(&run));
    let mut end = Stream::open(&server, &server.admin, &from, None).await;
    assert!(!end.until(|_| false).await);
    assert_eq!(end.records(), all[all.len() - 1..]);
    from.push('9');
    let beyond = Stream::open(&server, &server.admin, &from, None).await;
    assert_eq!(beyond.status, 422);
    for id in ["-1", "x", "18446744073709551615"] {
        let bad = Stream::open(&server, &server.admin, &events(&run), Some(id)).await;
        assert_eq!(bad.status, 400, "{id}");
    }
    let none = Stream::open(&server, &server.admin, &events("run_none"), None).await;
    assert_eq!(none.status, 404);
    server.stopped().await;
}

/// What a model says is told as it comes to those who ask for it, and is no record.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_model_says_is_told_as_it_comes() {
    let damage = Damage {
        stall_after: Some(3),
        ..Damage::default()
    };
    let stalled = What::Answer(Reply {
        text: "It is going to rain tomorrow, or not.".to_owned(),
        damage,
        ..Reply::default()
    });
    let models = FakeModels::start(Script::of([stalled, What::text("It is.")]));
    let models = models.await.expect("a server");
    let dir = tempfile::tempdir().expect("a directory");
    let config = format!(
        "currency = 'USD'\nproviders.own = {{ kind = 'openai-compatible', base_url = '{}' }}\n\
         models.small = {{ provider = 'own', id = 'small', context_tokens = 4000, \
         output_tokens_max = 100, prices = {{ input = '0', output = '0' }} }}\n\
         roles.fast = {{ models = ['small'], retries = 0 }}\n",
        models.base_url()
    );
    std::fs::write(dir.path().join("models.toml"), config).expect("written");
    let server = Server::start_in(dir, ServerConfig::default()).await;
    server.install("prober", built("agent_prober")).await;
    server
        .grant(
            "prober",
            json!({ "models": [{ "role": "fast" }] }),
            json!({}),
        )
        .await;
    let asks = json!({ "chat": { "role": "fast", "turns": ["Will it rain?"] } });
    let run = start(&server, &server.admin, json!([asks])).await;
    let live = format!("{}?deltas=true", events(&run));
    let mut first = Stream::open(&server, &server.admin, &live, None).await;
    let begun = |text: &str| text.contains("event: delta\ndata: {\"id\":0,\"delta\":\"text\"");
    assert!(first.until(begun).await);
    let mut late = Stream::open(&server, &server.admin, &live, None).await;
    assert!(late.until(begun).await, "from the answer's beginning");
    for stream in [&first, &late] {
        let started = r#"{"id":0,"delta":"started","model":"small"}"#;
        assert!(stream.text.contains(started), "{}", stream.text);
        assert!(!stream.text.contains("answered"), "{}", stream.text);
    }
    let refused = server.admin("GET", &live, "").await;
    assert_eq!(refused.verdict(), "400 bad-query");
    let cancel = format!("/v1/runs/{run}/cancel");
    server.admin("POST", &cancel, r#"{"why":"enough"}"#).await;
    assert!(!first.until(|_| false).await && !late.until(|_| false).await);
    let other = start(&server, &server.admin, json!([asks])).await;
    let mut plain = Stream::open(&server, &server.admin, &events(&other), None).await;
    assert!(!plain.until(|_| false).await);
    assert!(plain.text.contains("It is.") && !plain.text.contains("event: delta"));
    server.stopped().await;
}

/// Each way a stream ends before its run, and what keeps it alive until then.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_stays_and_ends_with_its_token_and_its_server() {
    let mut server = with_agent(ServerConfig {
        events_keep_alive: Duration::from_millis(20),
        ..ServerConfig::default()
    })
    .await;
    let owner = server.token("owner", &[Role::Caller], None).await;
    let other = server.token("other", &[Role::Caller], None).await;
    let run = start(&server, &owner, json!([{ "signal": { "name": "go" } }])).await;
    let hidden = Stream::open(&server, &other, &events(&run), None).await;
    assert_eq!(hidden.status, 404, "the run of another");
    let mut own = Stream::open(&server, &owner, &events(&run), None).await;
    let mut admin = Stream::open(&server, &server.admin, &events(&run), None).await;
    assert!(
        own.until(|text| text.matches("\n: the run goes on").count() > 2)
            .await
    );
    assert!(
        admin
            .until(|text| text.contains("\n: the run goes on"))
            .await
    );

    let id = owner.split('_').nth(1).expect("its id");
    let revoked = server
        .admin("DELETE", &format!("/v1/tokens/{id}"), "")
        .await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    assert!(!own.until(|_| false).await, "it ends");
    let problem = own.text.split("event: problem\n").nth(1).expect("why");
    assert!(problem.contains("\"unauthenticated\""), "{problem}");
    let before = admin.text.len();
    assert!(
        admin.until(|text| text.len() > before).await,
        "others go on"
    );

    server.stop();
    assert!(!admin.until(|_| false).await, "it ends");
    assert!(!admin.text.contains("problem"), "{}", admin.text);
    server.stopped().await;
}

/// The journal is what is followed, not the run in memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_not_in_memory_is_followed() {
    let server = with_agent(ServerConfig::default()).await;
    let steps = json!([{ "signal": { "name": "go" } }]);
    let run = start(&server, &server.admin, steps).await;
    let mut before = Stream::open(&server, &server.admin, &events(&run), None).await;
    assert!(
        before
            .until(|text| text.contains("\"kind\":\"signal\""))
            .await
    );
    let dir = server.stopped().await;

    let server = Server::start_in(dir, ServerConfig::default()).await;
    let mut after = Stream::open(&server, &server.admin, &events(&run), None).await;
    assert!(
        after
            .until(|text| text.contains("\"kind\":\"signal\""))
            .await
    );
    server.runtime.take_up_runs().await.expect("they are read");
    signal(&server, &run, "go").await;
    assert!(!after.until(|_| false).await);
    assert_eq!(after.records().last().expect("one").1["event"], "ended");
    server.stopped().await;
}
