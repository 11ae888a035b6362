//! A place where hosts die and others go on with their runs, and what people and
//! the outside do for those.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Writes of a host are stopped here and there; its runs go on in the next.
pub(super) struct Place {
    dir: tempfile::TempDir,
    disk: Disk,
    host: Option<Host>,
    /// Hosts that died.
    pub(super) deaths: u64,
    /// Calls whose outcome was lost, so that a person had to look.
    pub(super) lost: u64,
}

/// What belongs to a run while hosts die.
struct Affair {
    root: String,
    /// How often each effect was had before, by its key.
    before: BTreeMap<String, u64>,
    /// Signals that nobody has sent yet.
    signals: BTreeSet<String>,
    /// What a reader saw of the journals.
    seen: BTreeMap<String, Vec<Value>>,
}

impl Place {
    pub(super) async fn new() -> Self {
        let (dir, disk) = place();
        let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
        Self {
            dir,
            disk,
            host: Some(host),
            deaths: 0,
            lost: 0,
        }
    }

    /// Ends a run while write `n` from now fails, and once more in the next host;
    /// gives whether this one died.
    pub(super) async fn cancels(&mut self, id: &str, n: u64) -> bool {
        let host = self.host();
        host.store.inject(Fault::Write { n });
        // Whether it was kept shows after a restart.
        let _ = host.runtime.cancel_run(&host.who, id, "enough").await;
        let over = |run: &RunDetail| run.end.is_some() || host.runtime.ready().is_err();
        host.until(id, over).await;
        let died = host.runtime.ready().is_err();
        self.again().await;
        let host = self.host();
        let twice = host.runtime.cancel_run(&host.who, id, "enough").await;
        let code = twice.map_or_else(|error| error.code(), |()| "ok");
        assert!(["ok", "run-ended"].contains(&code), "write {n}: {code}");
        died
    }

    pub(super) fn host(&self) -> &Host {
        self.host.as_ref().expect("a host")
    }

    /// Another host goes on.
    pub(super) async fn again(&mut self) {
        self.host = None;
        self.host = Some(Host::again(self.dir.path(), &self.disk).await);
    }

    /// Brings a run to its end, with those that it starts and that go on from it;
    /// the host dies at write `fault` after its start. Each [`add_as`] of the steps
    /// has its effect once; their names are to be different ones.
    pub(super) async fn run(
        &mut self,
        steps: Value,
        members: Value,
        signals: &[String],
        fault: Option<u64>,
    ) -> String {
        let mut before = BTreeMap::new();
        for key in effects(&steps) {
            let twice = before.insert(key.clone(), self.host().counted(&key).await);
            assert_eq!(twice, None, "{key} is there twice");
        }
        let root = self.host().start_with(steps, members).await;
        let mut affair = Affair {
            root,
            before,
            signals: signals.iter().cloned().collect(),
            seen: BTreeMap::new(),
        };
        if let Some(n) = fault {
            self.host().store.inject(Fault::Write { n });
        }
        while !self.serve(&mut affair).await {
            self.again().await;
            self.deaths += 1;
            for (id, seen) in &affair.seen {
                let kept = records(self.host(), id);
                assert!(kept.starts_with(seen), "what was seen is gone: {seen:?}");
            }
        }
        // A fault that was not met meets nobody else.
        self.again().await;
        for (key, before) in affair.before {
            let had = self.host().counted(&key).await - before;
            assert_eq!(had, 1, "{key} is had once, fault {fault:?}");
        }
        affair.root
    }

    /// What a person and the outside do for a run, until all of it has ended or the
    /// host has died. `false`: it died.
    async fn serve(&mut self, affair: &mut Affair) -> bool {
        let begun = std::time::Instant::now();
        loop {
            let host = self.host();
            if host.runtime.ready().is_err() {
                return false;
            }
            let family = host.family(&affair.root);
            for run in &family {
                let id = &run.run.id;
                affair.seen.insert(id.clone(), records(host, id));
            }
            if family.iter().all(|run| run.end.is_some()) {
                return true;
            }
            assert!(begun.elapsed() < PATIENCE, "{family:?}");
            affair.signal(host, &family).await;
            let query = ApprovalsQuery::default();
            let open = host.runtime.approvals(&host.who, &query);
            for question in open.map_or_else(|_| Vec::new(), |page| page.approvals) {
                // Fails where the host dies, or another question came.
                let _ = decide(host, "other", &question.id, &question.choices[0]).await;
            }
            let mut lost = 0;
            for run in family.iter().filter(|run| run.blocked.is_some()) {
                look(host, run, &affair.before).await;
                lost += 1;
            }
            self.lost += lost;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
}

impl Affair {
    /// Sends each signal once: to a child when it waits for it, to the run itself
    /// as soon as may be.
    async fn signal(&mut self, host: &Host, family: &[RunDetail]) {
        for name in self.signals.clone() {
            let waits = |run: &&RunDetail| {
                let mut open = run.waits_for.iter();
                open.any(|open| open.request["name"] == *name)
            };
            let own = !name.starts_with(CHILDS);
            let whom = family.iter().find(waits).map(|run| run.run.id.clone());
            let whom = whom.or_else(|| own.then(|| host.last(&self.root)));
            let Some(whom) = whom else { continue };
            let payload = json!(name);
            let sent = host.runtime.signal_run(&host.who, &whom, &name, &payload);
            if sent.await.is_ok() {
                self.signals.remove(&name);
            }
        }
    }
}

/// What the name of a signal begins with that a child waits for.
pub(super) const CHILDS: char = 'c';

impl Host {
    /// A run, those that go on from it and those that they started.
    pub(super) fn family(&self, root: &str) -> Vec<RunDetail> {
        let (mut all, mut next) = (Vec::new(), vec![root.to_owned()]);
        while let Some(id) = next.pop() {
            let run = self.run(&id);
            next.extend(run.children.iter().cloned());
            if let Some(End::Continued { run }) = &run.end {
                next.push(run.clone());
            }
            all.push(run);
        }
        all
    }

    /// The run that a run goes on as now.
    pub(super) fn last(&self, root: &str) -> String {
        let mut last = root.to_owned();
        while let Some(End::Continued { run }) = self.run(&last).end {
            last = run;
        }
        last
    }
}

/// An effect that may not be repeated, with a count of its own.
pub(super) fn add_as(name: &str) -> Value {
    json!({ "call": { "tool": "keeper/add", "input": { "name": name } } })
}

/// The key of the count of an effect.
fn key(input: &Value) -> String {
    let name = input["name"].as_str().expect("an effect with a name");
    format!("added.{name}")
}

/// The keys of all effects in some steps.
fn effects(steps: &Value) -> Vec<String> {
    let inner: Vec<&Value> = match steps {
        Value::Array(all) => all.iter().collect(),
        Value::Object(members) => members.values().collect(),
        _ => Vec::new(),
    };
    let own = (steps["tool"] == "keeper/add").then(|| key(&steps["input"]));
    own.into_iter()
        .chain(inner.into_iter().flat_map(effects))
        .collect()
}

/// The run's journal, as a reader sees it.
pub(super) fn records(host: &Host, id: &str) -> Vec<Value> {
    let page = host.runtime.run_events(&host.who, id, 0, 1_000);
    let events = json!(page.expect("reads").events);
    events.as_array().expect("a list").clone()
}

/// A person looks whether the call happened, and says so.
async fn look(host: &Host, run: &RunDetail, before: &BTreeMap<String, u64>) {
    let Some(airlock_runtime::Block::UnknownOutcome { id: request, .. }) = run.blocked else {
        panic!("only a lost outcome blocks: {run:?}")
    };
    let mut open = run.waits_for.iter();
    let asked = open.find(|open| open.id == request).expect("it is open");
    let input = asked.request["input"].as_str().expect("a call");
    let key = key(&serde_json::from_str(input).expect("JSON"));
    let Some(count) = host.counted_if(&key).await else {
        return;
    };
    let outcome = match count > before[&key] {
        true => Outcome::Record(json!({ "count": 0 })),
        false => Outcome::Retry,
    };
    let resume = Resume {
        request: Some(request),
        outcome: Some(outcome),
        ..Resume::default()
    };
    // Fails where the host dies.
    let _ = host
        .runtime
        .resume_run(&host.who, &run.run.id, resume)
        .await;
}
