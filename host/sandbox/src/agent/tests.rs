use std::sync::Arc;
use std::sync::Mutex;

use airlock_journal::store::BoxFuture;
use bytes::Bytes;

use super::{
    AgentEnd, AgentHost, AgentTask, AgentTool, Answer, Memory, Note, Request, RequestId, Stopped,
};
use crate::grants::EffectClass;
use crate::inspect::{InstallError, Kind};
use crate::limits::{Limits, Span};
use crate::testing::{self, TestSandbox, built};

/// When the run of a test began and stands, milliseconds since 1970.
const NOW_MS: u64 = 1_800_000_000_123;

/// A host whose every answer is there at once: the request as JSON.
#[derive(Default)]
struct Echo {
    requests: Mutex<Vec<Request>>,
    notes: Mutex<Vec<Note>>,
    /// What the agent set.
    set: Mutex<Vec<(String, Option<String>)>>,
    /// What it let go of.
    detached: Mutex<Vec<RequestId>>,
    /// CPU time as it was told, microseconds.
    spent: Mutex<Vec<u64>>,
    /// Answers are never there.
    silent: bool,
    /// Ends the attempt at the request of this number.
    stop_at: Option<usize>,
}

impl AgentHost for Echo {
    fn request(&self, request: Request) -> Result<RequestId, Stopped> {
        let mut requests = self.requests.lock().expect("no panic");
        if Some(requests.len()) == self.stop_at {
            return Err(Stopped);
        }
        requests.push(request);
        Ok(requests.len() as u64 - 1)
    }
    fn poll(&self, ids: Vec<RequestId>, _: bool) -> BoxFuture<'_, Result<Vec<RequestId>, Stopped>> {
        Box::pin(async { Ok(ids) })
    }
    fn answer(&self, id: RequestId) -> Option<Answer> {
        if self.silent {
            return None;
        }
        let requests = self.requests.lock().expect("no panic");
        Some(match &requests[usize::try_from(id).expect("small")] {
            Request::Timer { .. } => Ok("null".to_owned()),
            request => Ok(serde_json::to_string(request).expect("JSON")),
        })
    }
    fn cancel(&self, _: RequestId) -> Result<(), Stopped> {
        Ok(())
    }
    fn detach(&self, id: RequestId) -> Result<(), Stopped> {
        self.detached.lock().expect("no panic").push(id);
        Ok(())
    }
    fn tools(&self) -> Result<Vec<AgentTool>, Stopped> {
        Ok(vec![AgentTool {
            name: "files/list".to_owned(),
            description: "Lists.".to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: None,
            class: EffectClass::ReadOnly,
        }])
    }
    fn set_state(&self, key: &str, value: Option<&str>) -> Result<(), Stopped> {
        let mut set = self.set.lock().expect("no panic");
        set.push((key.to_owned(), value.map(str::to_owned)));
        Ok(())
    }
    fn is_told(&self, _: RequestId) -> bool {
        !self.silent
    }
    fn is_live(&self) -> bool {
        true
    }
    fn spent(&self, cpu_us: u64) {
        self.spent.lock().expect("no panic").push(cpu_us);
    }
    fn note(&self, note: Note) -> Result<(), Stopped> {
        self.notes.lock().expect("no panic").push(note);
        Ok(())
    }
    fn now_ms(&self) -> u64 {
        NOW_MS
    }
    fn started_ms(&self) -> u64 {
        NOW_MS
    }
    fn random(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

async fn run(test: &TestSandbox, host: &Arc<Echo>, steps: &str) -> AgentEnd {
    let digest = test.components.add(built("agent_prober"));
    let task = AgentTask {
        goal: "test".to_owned(),
        input: format!(r#"{{"steps":[{steps}]}}"#),
        state: serde_json::from_str::<Memory>(r#"{"kept":"[1]"}"#).expect("a state"),
        before: std::time::Duration::ZERO,
    };
    let limits = Limits {
        cpu: Span(std::time::Duration::from_millis(500)),
        ..Limits::default()
    };
    let host = Arc::clone(host) as Arc<dyn AgentHost>;
    let ran = test
        .sandbox
        .run_agent(&digest, host, Arc::new(limits), task);
    ran.await.expect("it loads").end
}

fn results(end: &AgentEnd) -> serde_json::Value {
    let AgentEnd::Done(output) = end else {
        panic!("{end:?}")
    };
    let output: serde_json::Value = serde_json::from_str(output).expect("JSON");
    output["results"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_known_by_its_contract() {
    let test = testing::sandbox();
    let manifest = test.sandbox.inspect(built("agent_prober")).await;
    let manifest = manifest.expect("an agent");
    assert_eq!(manifest.kind, Kind::Agent);
    assert_eq!(manifest.contract.as_deref(), Some(super::CONTRACT));
    assert_eq!(manifest.tools, []);
    let agent = manifest.agent.as_ref().expect("what it is for");
    assert_eq!(agent.description, "Does what its input says.");
    assert_eq!(agent.input_schema["type"], "object");
    assert!(manifest.capabilities.is_empty(), "{manifest:?}");
}

impl Echo {
    fn refused_sockets(&self) -> usize {
        let notes = self.notes.lock().expect("no panic");
        let refused = |note: &&Note| match note {
            Note::Log { message, .. } => message.starts_with("denied: sockets: "),
            _ => false,
        };
        notes.iter().filter(refused).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_sees_what_its_host_says_and_nothing_else() {
    let test = testing::sandbox();
    let (first, second) = (Arc::<Echo>::default(), Arc::<Echo>::default());
    let look = r#"{"look":{}}"#;
    let seen = results(&run(&test, &first, look).await);
    assert_eq!(seen[0]["now_ms"], NOW_MS);
    for (what, expect) in [("args", 0), ("vars", 0)] {
        assert_eq!(seen[0][what], expect, "{what}");
    }
    assert_eq!(seen[0]["file"], false);
    assert_eq!(seen[0]["sockets"], 0);
    assert_eq!(first.refused_sockets(), 4);
    let again = results(&run(&test, &second, look).await);
    assert_eq!(seen, again, "the order of a hash map too");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_sees_its_state_and_tools_and_sets_within_bounds() {
    let test = testing::sandbox();
    let host = Arc::<Echo>::default();
    let steps = r#"{"get":{"key":"kept"}},{"set":{"key":"kept","value":2}},{"get":{"key":"kept"}},
        {"set":{"key":"kept","value":null}},{"get":{"key":"kept"}},{"tools":{}}"#;
    let seen = results(&run(&test, &host, steps).await);
    assert_eq!(seen[0], serde_json::json!({ "ok": [1] }));
    assert_eq!(seen[2], serde_json::json!({ "ok": 2 }));
    assert_eq!(seen[4], serde_json::json!({ "ok": null }));
    let tool = serde_json::json!([["files/list", "ReadOnly", "object"]]);
    assert_eq!(seen[5], tool);
    let kept = |value: Option<&str>| ("kept".to_owned(), value.map(str::to_owned));
    assert_eq!(
        *host.set.lock().expect("no panic"),
        [kept(Some("2")), kept(None)]
    );
    let spent = host.spent.lock().expect("no panic").clone();
    assert!(
        spent.len() >= 2 && spent.is_sorted() && spent[0] > 0,
        "{spent:?}"
    );

    let long = format!(
        r#"{{"set":{{"key":"k","value":"{}"}}}}"#,
        "x".repeat(65_536)
    );
    let AgentEnd::Failed(error) = run(&test, &host, &long).await else {
        panic!("it may not set that")
    };
    assert_eq!(
        error.to_string(),
        "limit state reached (a value: 65536 bytes)"
    );
    assert_eq!(
        host.set.lock().expect("no panic").len(),
        2,
        "it was not told"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_ends_with_a_word_on_each_handle() {
    let test = testing::sandbox();
    let call = r#"{"tool":"a/b","input":{}}"#;
    let forget = format!(r#"{{"forget":{call}}}"#);
    let awaits = format!(r#"{{"call":{call}}}"#);
    // A host that never answers, the steps, the end.
    for (silent, steps, expect) in [
        (false, awaits.clone(), None),
        (true, forget.clone(), Some(AgentEnd::OpenHandles(vec![0]))),
        (
            true,
            format!(r#"{forget},{{"finish":{{"output":7}}}}"#),
            Some(AgentEnd::Done("7".to_owned())),
        ),
    ] {
        let host = Arc::new(Echo {
            silent,
            ..Echo::default()
        });
        let end = run(&test, &host, &steps).await;
        match expect {
            Some(expect) => assert_eq!(end, expect, "{steps}"),
            None => assert!(matches!(end, AgentEnd::Done(_)), "{steps}: {end:?}"),
        }
        let finished = steps.contains("finish");
        let detached = host.detached.lock().expect("no panic").clone();
        assert_eq!(
            detached.contains(&0),
            finished || !silent,
            "{steps}: {detached:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_notes_reach_the_host_in_order() {
    let test = testing::sandbox();
    let host = Arc::<Echo>::default();
    let steps = r#"{"call":{"tool":"a/b","input":{"x":1}}}, {"std-sleep":{"ms":5}},
        {"tell":{"text":"half\u001b[31m"}}, {"join":[{"signal":{"name":"go"}},
        {"ask":{"text":"ok?","choices":["yes","no"]}}]}"#;
    results(&run(&test, &host, steps).await);
    let expect = [
        Request::Call {
            tool: "a/b".to_owned(),
            input: r#"{"x":1}"#.to_owned(),
        },
        Request::Timer { due_ms: NOW_MS + 5 },
        Request::Signal {
            name: "go".to_owned(),
        },
        Request::Ask {
            text: "ok?".to_owned(),
            choices: vec!["yes".to_owned(), "no".to_owned()],
            payload: None,
            due_ms: None,
        },
    ];
    assert_eq!(*host.requests.lock().expect("no panic"), expect);
    let notes = serde_json::to_string(&*host.notes.lock().expect("no panic")).expect("JSON");
    for kind in ["\"stdout\"", "\"info\"", "progress", "plan"] {
        assert!(notes.contains(kind), "{kind}: {notes}");
    }
    assert!(!notes.contains("\\u001b[31m"), "{notes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_an_attempt_is_told_apart() {
    let test = testing::sandbox();
    let cases = [
        (
            r#"{"fail":{"text":"no"}}"#,
            r#"Permanent { message: "no" }"#,
        ),
        (
            r#"{"escalate":{"text":"look"}}"#,
            r#"Escalate { message: "look" }"#,
        ),
        (r#"{"panic":{}}"#, "aborted"),
        (r#"{"spin":{}}"#, r#"Limit { limit: "cpu""#),
        (
            r#"{"call":{"tool":"a/b","input":{}}}, {"call":{"tool":"a/b","input":{}}}"#,
            "Stopped",
        ),
        (
            r#"{"continue-as-new":{"steps":[]}}"#,
            r#"ContinueAsNew("{\"steps\":[]}")"#,
        ),
    ];
    for (steps, expect) in cases {
        let host = Arc::new(Echo {
            stop_at: Some(1),
            ..Echo::default()
        });
        let end = format!("{:?}", run(&test, &host, steps).await);
        assert!(end.contains(expect), "{steps}: {end}");
    }
}

/// `cpu` bounds what is computed from one answer to the next, whether an answer takes its
/// time or is there at once.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_there_at_once_were_waited_for() {
    let test = testing::sandbox();
    let burn = r#"{"burn":{"rounds":20000000}}"#;
    let call = r#"{"call":{"tool":"a/b","input":{}}}"#;
    let host = Arc::new(Echo::default());
    let steps = format!(r#"{{"repeat":{{"times":100,"steps":[{burn},{call}]}}}}"#);
    let end = run(&test, &host, &steps).await;
    assert!(matches!(end, AgentEnd::Done(_)), "{end:?}");
    let spent = host.spent.lock().expect("no panic").last().copied();
    assert!(spent > Some(500_000), "{spent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_may_import_nothing_that_has_effects() {
    let test = testing::sandbox();
    let cases = [
        "wasi:http/outgoing-handler@0.2.0",
        "wasi:keyvalue/store@0.2.0-draft",
        "airlock:tool/host@1.0.0",
        "wasi:config/store@0.2.0-draft",
    ];
    for import in cases {
        let refused = test.sandbox.inspect(importing(import)).await;
        let Err(InstallError::UnknownImports(unknown)) = refused else {
            panic!("{import}: {refused:?}")
        };
        assert_eq!(unknown[0].name, import);
    }
    let newer = "wasi:sockets/tcp@0.3.0";
    let refused = test.sandbox.inspect(importing(newer)).await;
    assert!(
        matches!(&refused, Err(InstallError::Wasi03(names)) if names.contains(&newer.to_owned())),
        "{refused:?}"
    );
}

/// An agent, by its export, that imports a function of `interface`.
fn importing(interface: &str) -> Bytes {
    let text = format!(
        r#"(component
            (import "{interface}" (instance (export "f" (func))))
            (component $empty)
            (instance $agent (instantiate $empty))
            (export "airlock:agent/agent@0.1.0" (instance $agent)))"#
    );
    wat::parse_str(text).expect("a component").into()
}
