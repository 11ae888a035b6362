//! Runs as a service and the people around it see them: started with one token,
//! decided with another, since nobody approves the calls of their own run.

use std::time::{Duration, Instant};

use airlock::client::{Api, Remote, Request};
use airlock::harness::Server;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// How long what must come is waited for, on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whoever starts runs, and whoever decides about them.
pub struct Desk {
    /// For whoever starts runs: an administrator.
    pub api: Api,
    /// For whoever decides.
    pub approver: Api,
    /// The approver's token, which outlives the server.
    pub token: String,
}

impl Desk {
    /// Makes a token for an approver.
    ///
    /// # Errors
    /// The server refuses.
    pub fn new(server: &Server) -> Result<Self> {
        let body = json!({ "principal": "approver", "roles": ["approver", "viewer"] });
        let made: Value = server
            .api()
            .value(&Request::json("POST", "/v1/tokens", &body))
            .context("making a token")?;
        let token = made["token"].as_str().context("no token in the reply")?;
        Ok(Self::over(server, token))
    }

    /// The same people at a server that was started again.
    pub fn over(server: &Server, token: &str) -> Self {
        Self {
            api: server.api(),
            approver: Api::Remote(Remote::new(server.base(), token)),
            token: token.to_owned(),
        }
    }

    /// Starts a run and gives its id.
    ///
    /// # Errors
    /// The server refuses.
    pub fn start(&self, agent: &str, input: &Value) -> Result<String> {
        let body = json!({ "agent": agent, "goal": "as the input says", "input": input });
        let run: Value = self
            .api
            .value(&Request::json("POST", "/v1/runs", &body))
            .with_context(|| format!("starting a run of {agent}"))?;
        Ok(run["id"].as_str().context("no id in the reply")?.to_owned())
    }

    /// The run.
    ///
    /// # Errors
    /// There is none, or the server does not answer.
    pub fn show(&self, id: &str) -> Result<Value> {
        self.api.get(&format!("/v1/runs/{id}"))
    }

    /// The run's journal so far, all of it.
    ///
    /// # Errors
    /// There is no such run, or the server does not answer.
    pub fn events(&self, id: &str) -> Result<Vec<Value>> {
        let mut events: Vec<Value> = Vec::new();
        loop {
            let from = events.len();
            let path = format!("/v1/runs/{id}/events?limit=1000&from={from}");
            let page = self.api.get(&path)?;
            let page = page["events"].as_array().context("no events")?.clone();
            if page.is_empty() {
                return Ok(events);
            }
            events.extend(page);
        }
    }

    /// Questions of the run that wait for a person.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn questions(&self, id: &str) -> Result<Vec<Value>> {
        let list = self.approver.get("/v1/approvals")?;
        let list = list["approvals"].as_array().context("no list")?;
        let of_it = list.iter().filter(|question| question["run"] == id);
        let ids = of_it.filter_map(|question| question["id"].as_str());
        // Listings leave large payloads out. One that was decided meanwhile is gone.
        let whole = ids.filter_map(|id| self.approver.get(&format!("/v1/approvals/{id}")).ok());
        Ok(whole.collect())
    }

    /// Decides a question.
    ///
    /// # Errors
    /// It was decided already, or the choice is none of its own.
    pub fn decide(&self, question: &Value, decision: &str) -> Result<()> {
        let id = question["id"]
            .as_str()
            .context("a question without an id")?;
        let path = format!("/v1/approvals/{id}");
        let body = json!({ "decision": decision, "note": "seen" });
        self.approver
            .ok(&Request::json("POST", path, &body))
            .map(drop)
            .with_context(|| format!("deciding {question}"))
    }

    /// Waits until `look` gives something.
    ///
    /// # Errors
    /// It gives nothing for [`PATIENCE`], or fails.
    pub fn until<T>(
        &self,
        id: &str,
        mut look: impl FnMut(&Value) -> Result<Option<T>>,
    ) -> Result<T> {
        let begun = Instant::now();
        loop {
            let run = self.show(id)?;
            if let Some(found) = look(&run)? {
                return Ok(found);
            }
            if begun.elapsed() > PATIENCE {
                bail!("nothing came of it: {run:#}");
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits for the run's end and gives it.
    ///
    /// # Errors
    /// It does not end, or stands still before.
    pub fn end(&self, id: &str) -> Result<Value> {
        self.until(id, |run| match run.get("end") {
            None if run.get("blocked").is_some() => bail!("blocked: {run:#}"),
            end => Ok(end.cloned()),
        })
    }

    /// Waits for `count` questions of the run.
    ///
    /// # Errors
    /// They are not asked, or the run ends without.
    pub fn asked(&self, id: &str, count: usize) -> Result<Vec<Value>> {
        self.until(id, |run| {
            let questions = self.questions(id)?;
            if questions.len() < count && run.get("end").is_some() {
                bail!("it ended with {} questions: {run:#}", questions.len());
            }
            Ok((questions.len() >= count).then_some(questions))
        })
    }
}
