//! What a model judges: criteria in words alone.

use std::collections::BTreeMap;

use airlock_sdk::agent::{Chat, Unusable};
use airlock_sdk::prelude::*;
use airlock_sdk::prompt::{self, cut_end, fill};

use crate::quote::Material;
use crate::{Criterion, Judged, Verdict};

const SYSTEM: &str = include_str!("../prompts/v1/system.md");
const ASK: &str = include_str!("../prompts/v1/ask.md");
const AGAIN: &str = include_str!("../prompts/v1/again.md");

/// How often a judgement that has not its form is asked for again, each round.
const REPAIRS: u32 = 2;
const TEXT_BYTES_MAX: usize = 2_000;
const QUOTES_MAX: usize = 20;

/// What a model answers with.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Answer {
    /// Each criterion once.
    criteria: Vec<One>,
    /// What would have to change; empty where all are met.
    advice: String,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct One {
    /// The criterion's id.
    id: String,
    verdict: Verdict,
    /// One or two sentences.
    reason: String,
    /// Places of the outcome, word for word.
    evidence: Vec<String>,
}

/// Has them judged by a role, in answers of so many tokens; gives the judgements in their order, and the advice.
pub(crate) async fn judge(
    (role, tokens): (&str, u32),
    rounds: u32,
    criteria: &[&Criterion],
    material: &Material,
) -> Result<(Vec<Judged>, String), Error> {
    let chat = Chat::new(role).max_tokens(tokens).system(SYSTEM.trim());
    let mut chat = chat.output::<Answer>();
    let lines = criteria
        .iter()
        .map(|one| format!("- `{}`: {}", one.id, one.text));
    let lines = lines.collect::<Vec<String>>().join("\n");
    let outcome = prompt::data(material.shown(), 1);
    chat.user(&fill(ASK, &[("criteria", &lines), ("outcome", &outcome)]));
    let mut last = (Vec::new(), String::new());
    for round in 0..=rounds {
        let answer: Answer = match chat.ask_repaired(REPAIRS).await {
            Ok(reply) => reply.parse()?,
            Err(Unusable::Asking(error)) => return Err(error.context("asking the model")),
            Err(unusable) => return Ok((unjudged(criteria, &unusable.to_string()), last.1)),
        };
        let (judged, problems) = held(criteria, &answer, material);
        last = (judged, cut_end(&answer.advice, TEXT_BYTES_MAX));
        if problems.is_empty() || round == rounds {
            break;
        }
        chat.user(&fill(AGAIN, &[("problems", &problems.join("\n"))]));
    }
    Ok(last)
}

fn unjudged(criteria: &[&Criterion], why: &str) -> Vec<Judged> {
    criteria.iter().map(|one| unsure(&one.id, why)).collect()
}

fn unsure(id: &str, why: &str) -> Judged {
    Judged {
        id: id.to_owned(),
        verdict: Verdict::Unsure,
        reason: cut_end(why, TEXT_BYTES_MAX),
        evidence: Vec::new(),
        by: "model",
    }
}

/// Holds an answer against the outcome: what stands, and what does not and why.
fn held(
    criteria: &[&Criterion],
    answer: &Answer,
    material: &Material,
) -> (Vec<Judged>, Vec<String>) {
    let mut problems = Vec::new();
    let mut by_id: BTreeMap<&str, Vec<&One>> = BTreeMap::new();
    for one in &answer.criteria {
        if !criteria.iter().any(|criterion| criterion.id == one.id) {
            let id = cut_end(&one.id, 100);
            problems.push(format!("- there is no criterion `{id}`"));
        }
        by_id.entry(&one.id).or_default().push(one);
    }
    let judged = criteria.iter().map(|criterion| {
        let all = by_id.get(criterion.id.as_str());
        let problem = match all.map_or(&[][..], Vec::as_slice) {
            [one] => match problem(one, material) {
                None => return stands(one),
                Some(problem) => problem,
            },
            [] => "it is not judged".to_owned(),
            _ => "it is judged more than once".to_owned(),
        };
        problems.push(format!("- `{}`: {problem}", criterion.id));
        unsure(
            &criterion.id,
            &format!("the model's judgement does not stand: {problem}"),
        )
    });
    (judged.collect(), problems)
}

/// Why a judgement does not stand.
fn problem(one: &One, material: &Material) -> Option<String> {
    if let Some(made_up) = one.evidence.iter().find(|quote| !material.has(quote)) {
        let quote = cut_end(made_up, 200);
        return Some(format!(
            "the quote \"{quote}\" is not in the outcome, or says too little by itself"
        ));
    }
    let rests_on_nothing = one.verdict == Verdict::Pass && one.evidence.is_empty();
    rests_on_nothing.then(|| "it passes without a quote of the outcome".to_owned())
}

fn stands(one: &One) -> Judged {
    let quotes = one.evidence.iter().take(QUOTES_MAX);
    Judged {
        id: one.id.clone(),
        verdict: one.verdict,
        reason: cut_end(&one.reason, TEXT_BYTES_MAX),
        evidence: quotes.map(|quote| cut_end(quote, TEXT_BYTES_MAX)).collect(),
        by: "model",
    }
}
