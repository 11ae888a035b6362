//! The agent: rules and tools first, the model for the rest.

use std::collections::BTreeSet;

use airlock_patterns::{answer_tokens, at_most, size, wrong};
use airlock_sdk::agent::{self, Outcome};
use airlock_sdk::prelude::*;

use crate::check::Rule;
use crate::quote::Material;
use crate::{Criterion, Input, Judged, Judgement, Verdict, judge};

const ROLE: &str = "careful";
const ROUNDS: u32 = 2;
const ROUNDS_MAX: u32 = 5;
const CRITERIA_MAX: usize = 50;
const ID_BYTES_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 4 << 10;
const OUTCOME_BYTES_MAX: usize = 256 << 10;
const ADVICE_BYTES_MAX: usize = 8 << 10;

pub(crate) async fn run(_goal: String, input: Input) -> Result<Outcome, Error> {
    let rules = read(&input)?;
    let tokens = answer_tokens(input.answer_tokens_max)?;
    let total = Some(input.criteria.len() as f64);
    agent::progress(0.0, total, "rules and tools");
    let checked = rules
        .iter()
        .zip(&input.criteria)
        .map(async |(rule, criterion)| match rule {
            Some(rule) => Some(rule.judge(&criterion.id, &input.outcome).await),
            None => None,
        });
    let checked = agent::join_all(checked).await;
    let in_words = input.criteria.iter().zip(&checked);
    let in_words = in_words.filter(|(_, checked)| checked.is_none());
    let in_words: Vec<&Criterion> = in_words.map(|(criterion, _)| criterion).collect();
    let done = input.criteria.len() - in_words.len();
    let (judged, advice) = match in_words.as_slice() {
        [] => (Vec::new(), String::new()),
        in_words => {
            agent::progress(done as f64, total, "what is in words");
            let role = input.role.as_deref().unwrap_or(ROLE);
            let rounds = input.rounds.unwrap_or(ROUNDS);
            let material = Material::of(&input.outcome);
            judge::judge((role, tokens), rounds, in_words, &material).await?
        }
    };
    let mut judged = judged.into_iter();
    let criteria = checked
        .into_iter()
        .filter_map(|one| one.or_else(|| judged.next()));
    Outcome::done(&judgement(criteria.collect(), &advice))
}

/// Checks the input; gives the rule of each criterion that has one.
fn read(input: &Input) -> Result<Vec<Option<Rule>>, Error> {
    if input.criteria.is_empty() || input.criteria.len() > CRITERIA_MAX {
        return wrong(format!("criteria: 1 to {CRITERIA_MAX}"));
    }
    if input.rounds.is_some_and(|rounds| rounds > ROUNDS_MAX) {
        return wrong(format!("rounds: 0 to {ROUNDS_MAX}"));
    }
    at_most("outcome", size(&input.outcome), OUTCOME_BYTES_MAX)?;
    let mut ids = BTreeSet::new();
    let mut rules = Vec::new();
    for (at, criterion) in input.criteria.iter().enumerate() {
        let place = format!("criteria[{at}]");
        if criterion.id.is_empty() || criterion.id.len() > ID_BYTES_MAX {
            return wrong(format!("{place}.id: 1 to {ID_BYTES_MAX} bytes"));
        }
        if !ids.insert(&criterion.id) {
            return wrong(format!("{place}.id: `{}` is there twice", criterion.id));
        }
        if criterion.text.trim().is_empty() || criterion.text.len() > TEXT_BYTES_MAX {
            return wrong(format!("{place}.text: 1 to {TEXT_BYTES_MAX} bytes"));
        }
        let rule = criterion.check.as_ref();
        let read = |check| Rule::read(check, &input.outcome, &format!("{place}.check"));
        rules.push(rule.map(read).transpose()?);
    }
    Ok(rules)
}

/// The worst of all counts; rules that fail give their advice themselves.
fn judgement(criteria: Vec<Judged>, advice: &str) -> Judgement {
    let verdicts = criteria.iter().map(|one| one.verdict);
    let verdict = verdicts.max().unwrap_or(Verdict::Unsure);
    let failed = criteria.iter();
    let failed = failed.filter(|one| one.verdict == Verdict::Fail && one.by != "model");
    let mut lines: Vec<String> = failed
        .map(|one| format!("{}: {}", one.id, one.reason))
        .collect();
    lines.extend((!advice.is_empty()).then(|| advice.to_owned()));
    Judgement {
        verdict,
        criteria,
        advice: airlock_sdk::prompt::cut_end(&lines.join("\n"), ADVICE_BYTES_MAX),
    }
}

airlock_sdk::agent! {
    description: "Judges an outcome against criteria: by rules and tools where they can tell, else by a language model that has to quote the outcome. Says pass, fail or unsure for each, and what would have to change.",
    input: Input,
    run: run,
    wants: [
        want!(models, r#"{ role = "careful" }"#, "To judge criteria that are in words alone; another role where the input names one."),
    ],
}
