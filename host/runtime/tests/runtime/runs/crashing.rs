//! A place where hosts die and others go on with their runs, and what people and
//! the outside do for those.

use std::collections::BTreeSet;

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

/// A run that has ended.
pub(super) struct Ran {
    pub(super) id: String,
    /// How often `keeper/add` had its effect meanwhile.
    pub(super) adds: u64,
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

    pub(super) fn host(&self) -> &Host {
        self.host.as_ref().expect("a host")
    }

    /// Another host goes on.
    pub(super) async fn again(&mut self) {
        self.host = None;
        self.host = Some(Host::again(self.dir.path(), &self.disk).await);
    }

    /// Brings a run to its end; the host dies at write `fault` after its start.
    pub(super) async fn run(
        &mut self,
        steps: Value,
        members: Value,
        signals: &[String],
        fault: Option<u64>,
    ) -> Ran {
        let before = self.host().added().await;
        let id = self.host().start_with(steps, members).await;
        let mut signals = signals.iter().cloned().collect();
        if let Some(n) = fault {
            self.host().store.inject(Fault::Write { n });
        }
        let mut seen = Vec::new();
        while !self.serve(&id, before, &mut signals, &mut seen).await {
            self.again().await;
            self.deaths += 1;
            let kept = records(self.host(), &id);
            assert!(kept.starts_with(&seen), "what was seen is gone: {seen:?}");
        }
        // A fault that was not met meets nobody else.
        self.again().await;
        let adds = self.host().added().await - before;
        Ran { id, adds }
    }

    /// What a person and the outside do for a run, until it has ended or the host
    /// has died. `false`: it died.
    /// `seen` is what a reader saw of its journal.
    async fn serve(
        &mut self,
        id: &str,
        before: u64,
        signals: &mut BTreeSet<String>,
        seen: &mut Vec<Value>,
    ) -> bool {
        let begun = std::time::Instant::now();
        loop {
            let host = self.host();
            if host.runtime.ready().is_err() {
                return false;
            }
            *seen = records(host, id);
            let run = host.run(id);
            if run.end.is_some() {
                return true;
            }
            assert!(begun.elapsed() < PATIENCE, "{run:?}");
            for name in signals.clone() {
                let payload = json!(name);
                let sent = host.runtime.signal_run(&host.who, id, &name, &payload);
                if sent.await.is_ok() {
                    signals.remove(&name);
                }
            }
            for question in host.runtime.approvals(&host.who).unwrap_or_default() {
                // Fails where the host dies, or another question came.
                let _ = decide(host, "other", &question.id, &question.choices[0]).await;
            }
            if run.blocked.is_some() {
                look(host, id, before, &run).await;
                self.lost += 1;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
}

/// The run's journal, as a reader sees it.
fn records(host: &Host, id: &str) -> Vec<Value> {
    let page = host.runtime.run_events(&host.who, id, 0, 1_000);
    let events = json!(page.expect("reads").events);
    events.as_array().expect("a list").clone()
}

/// A person looks whether the call happened, and says so.
async fn look(host: &Host, id: &str, before: u64, run: &RunDetail) {
    let Some(airlock_runtime::Block::UnknownOutcome { id: request, .. }) = run.blocked else {
        panic!("only a lost outcome blocks: {run:?}")
    };
    let Some(added) = host.looked().await else {
        return;
    };
    let outcome = match added > before + answered_adds(host, id) {
        true => Outcome::Record(json!({ "count": 0 })),
        false => Outcome::Retry,
    };
    let resume = Resume {
        request: Some(request),
        outcome: Some(outcome),
        ..Resume::default()
    };
    // Fails where the host dies.
    let _ = host.runtime.resume_run(&host.who, id, resume).await;
}

/// How many calls of `keeper/add` the run knows the end of.
fn answered_adds(host: &Host, id: &str) -> u64 {
    let events = records(host, id);
    let of = |kind: &'static str| events.iter().filter(move |event| event["event"] == kind);
    let adds: Vec<&Value> = of("requested")
        .filter(|event| event["request"]["tool"] == "keeper/add")
        .map(|event| &event["id"])
        .collect();
    of("answered")
        .filter(|event| adds.contains(&&event["id"]))
        .count() as u64
}
