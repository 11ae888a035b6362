//! One run of an agent, as the server tells of it.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::stage::{LOOK_EVERY, PATIENCE, Stage};

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

    /// What is known of it.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn show(&self) -> Result<Value> {
        let text = self.stage.get(&format!("/v1/runs/{}", self.id))?;
        Ok(serde_json::from_str(&text)?)
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
        self.stage.get(&format!("/v1/runs/{}/export", self.id))
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

    /// Waits until it has ended, or it or one of its children waits for a person.
    ///
    /// # Errors
    /// It does neither for long.
    pub fn settle(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let shown = self.show()?;
            if shown.get("end").is_some() || shown.get("blocked").is_some() {
                return Ok(());
            }
            let own = |question: &Value| {
                let children = shown["children"].as_array().into_iter().flatten();
                let mut own = std::iter::once(&shown["id"]).chain(children);
                own.any(|id| *id == question["run"])
            };
            // The question is there a moment before its run waits.
            let waits = shown["status"] != "running";
            if waits && self.stage.questions()?.iter().any(own) {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "it goes on and on: {shown:#}");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits for its end, whatever it waits for.
    ///
    /// # Errors
    /// It does not come.
    pub fn follow(&self) -> Result<()> {
        let begun = Instant::now();
        while self.show()?.get("end").is_none() {
            ensure!(
                begun.elapsed() < PATIENCE,
                "it does not end: {:#}",
                self.show()?
            );
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// The questions that wait for a person.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn questions(&self) -> Result<Vec<Value>> {
        let all = self.stage.questions()?.into_iter();
        Ok(all.filter(|question| question["run"] == *self.id).collect())
    }

    /// So many of its questions, once they wait.
    ///
    /// # Errors
    /// There are not as many for long.
    pub fn asked(&self, count: usize) -> Result<Vec<Value>> {
        let begun = Instant::now();
        loop {
            let questions = self.questions()?;
            if questions.len() == count {
                return Ok(questions);
            }
            ensure!(begun.elapsed() < PATIENCE, "not {count}: {questions:#?}");
            std::thread::sleep(LOOK_EVERY);
        }
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
