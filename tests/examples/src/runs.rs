//! One run of an agent, as `airlock run --follow --json` and the commands about runs
//! tell of it.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::stage::{Ran, Stage};

/// A run.
pub struct Run<'s> {
    stage: &'s Stage,
    /// Its id.
    pub id: String,
}

/// How a run ended or what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// `succeeded`, `failed`, `escalated`, `cancelled`, `blocked` or `waiting`.
    pub state: String,
    /// The code of a failure.
    pub code: String,
    /// All that is said of the end.
    pub about: String,
}

impl End {
    /// In one word: `done`, `escalated`, `limit`, `waiting`, or the code of a failure.
    #[must_use]
    pub fn word(&self) -> &str {
        match &*self.state {
            "succeeded" => "done",
            "failed" => &self.code,
            other => other,
        }
    }
}

impl<'s> Run<'s> {
    pub(crate) fn named(stage: &'s Stage, id: &str) -> Self {
        let id = id.to_owned();
        Self { stage, id }
    }

    /// The run that a command followed.
    pub(crate) fn of(stage: &'s Stage, ran: &Ran) -> Result<Self> {
        let first = ran.out.lines().next().unwrap_or_default();
        let id = first
            .find("run_")
            .map(|at| &first[at..])
            .map(|text| text.split(['"', ' ', ',']).next().unwrap_or_default());
        let id = id.with_context(|| format!("no run was started: {ran:#?}"))?;
        let id = id.to_owned();
        Ok(Self { stage, id })
    }

    /// What is known of it.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn show(&self) -> Result<Value> {
        self.stage.json(&["runs", "show", &self.id])
    }

    /// How it ended, or that it waits or is blocked.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn end(&self) -> Result<End> {
        let shown = self.show()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let end = &shown["end"];
        let state = match end["state"].as_str() {
            Some(state) => state.to_owned(),
            None => text(&shown["status"]),
        };
        Ok(End {
            state,
            code: text(&end["code"]),
            about: format!("{end:#} {:#}", shown["blocked"]),
        })
    }

    /// What it gave.
    ///
    /// # Errors
    /// It did not succeed.
    pub fn output(&self) -> Result<Value> {
        let shown = self.show()?;
        let output = shown["end"]["output"].as_str();
        let output = output.with_context(|| format!("no output: {shown:#}"))?;
        serde_json::from_str(output).context("the output is no JSON")
    }

    /// Its journal, as it was stored.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn journal(&self) -> Result<String> {
        self.stage.ok(&["runs", "export", &self.id])
    }

    /// Its journal and those of its children, and of theirs.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn journals(&self) -> Result<String> {
        let mut all = self.journal()?;
        let shown = self.show()?;
        let children = shown["children"].as_array();
        for child in children.into_iter().flatten() {
            let id = child.as_str().or(child["run"].as_str());
            let id = id.context("a child has an id")?;
            all += &Run::named(self.stage, id).journals()?;
        }
        Ok(all)
    }

    /// Ends it, where it has not ended.
    ///
    /// # Errors
    /// The command does not start.
    pub fn cancel(&self) -> Result<()> {
        self.stage.airlock(&["runs", "cancel", &self.id]).map(drop)
    }

    /// Goes on following it until it has ended or waits for a person.
    ///
    /// # Errors
    /// The command does not start.
    pub fn follow(&self) -> Result<()> {
        let args = ["runs", "events", &self.id, "--follow"];
        self.stage.airlock(&args).map(drop)
    }

    /// The questions that wait for a person.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn questions(&self) -> Result<Vec<Value>> {
        let list = self.stage.json(&["approvals", "list"])?;
        let list = list.as_array().or(list["approvals"].as_array());
        let ids = list.context("no list")?.iter();
        let ids = ids.filter(|question| question["run"] == *self.id);
        let ids = ids.filter_map(|question| question["id"].as_str());
        ids.map(|id| self.stage.json(&["approvals", "show", id]))
            .collect()
    }

    /// The one question that waits.
    ///
    /// # Errors
    /// There is none, or another one.
    pub fn question(&self) -> Result<Value> {
        let mut questions = self.questions()?;
        match questions.len() {
            1 => Ok(questions.remove(0)),
            _ => bail!("not one question: {questions:#?}; {:#}", self.show()?),
        }
    }
}
