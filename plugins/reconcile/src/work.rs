//! The agent: what it asks for, in order.

use std::collections::BTreeMap;
use std::time::Duration;

use airlock_sdk::agent::{self, Decision, Outcome, PlanTask, Request, TaskState};
use airlock_sdk::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::compare::{self, Found};
use crate::{Escalated, Input, Reconciled};

/// Calls that are under way side by side.
const SIDE_BY_SIDE: usize = 16;

/// Files that are put before a person one by one; more are one question.
const QUESTIONS_MAX: usize = 16;

const PATIENCE_HOURS: u32 = 72;

const LEAVE_OUT: &str = "leave out";
const READ_AGAIN: &str = "read again";

const STEPS: [&str; 5] = [
    "Read the invoices",
    "Fetch their contracts",
    "Compare them",
    "Write the report",
    "Settle what can't be read",
];

/// Publishes the plan with the steps before `at` done.
fn at_step(at: usize) {
    let tasks: Vec<PlanTask> = STEPS
        .iter()
        .enumerate()
        .map(|(index, step)| PlanTask {
            title: (*step).to_owned(),
            state: match index.cmp(&at) {
                std::cmp::Ordering::Less => TaskState::Done,
                std::cmp::Ordering::Equal => TaskState::Doing,
                std::cmp::Ordering::Greater => TaskState::Todo,
            },
        })
        .collect();
    agent::plan(&tasks);
}

pub(crate) async fn run(_goal: String, input: Input) -> Result<Outcome, Error> {
    let mut settled: BTreeMap<String, Escalated> = BTreeMap::new();
    loop {
        at_step(0);
        let read = read(&input, &settled).await?;
        let questions = ask(&input, &read.unread);
        at_step(1);
        let contracts = fetch(&input, &read.paths).await?;
        at_step(2);
        let found = compare(&read.paths, &contracts).await?;
        at_step(3);
        let unread: Vec<Escalated> = settled.values().chain(&read.unread).cloned().collect();
        let markdown = compare::markdown(&found, read.lines, &unread);
        let written = write(&input, &markdown).await?;
        at_step(4);
        if settle(read.unread, questions, &mut settled).await {
            continue;
        }
        at_step(STEPS.len());
        return Outcome::done(&Reconciled {
            files: read.paths.len(),
            lines: read.lines,
            contracts: contracts.len(),
            disagree: found.disagree,
            twice: found.twice,
            report: written.is_none().then_some(input.report),
            not_written: written,
            escalated: settled.into_values().collect(),
        });
    }
}

/// Calls a tool with each input, some of them side by side; the answers in order.
async fn call_each<T: DeserializeOwned + 'static>(
    tool: &str,
    inputs: &[Value],
) -> Vec<Result<T, Error>> {
    let mut answers = Vec::new();
    for some in inputs.chunks(SIDE_BY_SIDE) {
        let asked: Vec<Request<T>> = some.iter().map(|input| agent::call(tool, input)).collect();
        for request in asked {
            answers.push(request.await);
        }
    }
    answers
}

/// The folder, sorted into what is a table of invoice lines and what is not.
struct Read {
    paths: Vec<String>,
    lines: usize,
    unread: Vec<Escalated>,
}

#[derive(Deserialize)]
struct Listing {
    entries: Vec<Entry>,
    cut: bool,
}

#[derive(Deserialize)]
struct Entry {
    path: String,
    kind: String,
}

#[derive(Deserialize)]
struct Described {
    tables: BTreeMap<String, Table>,
}

#[derive(Deserialize)]
struct Table {
    row_count: usize,
}

async fn read(input: &Input, settled: &BTreeMap<String, Escalated>) -> Result<Read, Error> {
    let listing: Listing = agent::call("files/list", &json!({ "path": input.invoices })).await?;
    if listing.cut {
        return Err(Error::escalate(format!(
            "{}: more files than one run takes",
            input.invoices
        )));
    }
    let files = listing
        .entries
        .into_iter()
        .filter(|entry| entry.kind != "folder");
    let files: Vec<String> = files
        .map(|entry| entry.path)
        .filter(|path| !settled.contains_key(path))
        .collect();
    let of_one = |path: &String| json!({ "tables": { "invoices": compare::invoices(std::slice::from_ref(path)) } });
    let inputs: Vec<Value> = files.iter().map(of_one).collect();
    let described = call_each::<Described>("table/describe", &inputs).await;
    let mut read = Read {
        paths: Vec::new(),
        lines: 0,
        unread: Vec::new(),
    };
    for (path, described) in files.into_iter().zip(described) {
        match described {
            Ok(described) => {
                read.lines += described
                    .tables
                    .values()
                    .map(|table| table.row_count)
                    .sum::<usize>();
                read.paths.push(path);
            }
            Err(Error::InvalidInput(problem)) => read.unread.push(unread(path, problem)),
            Err(error @ Error::Limit { .. }) => read.unread.push(unread(path, error.to_string())),
            Err(error) => return Err(error.context(path)),
        }
    }
    Ok(read)
}

fn unread(path: String, problem: String) -> Escalated {
    Escalated {
        path,
        problem,
        decision: None,
        note: None,
    }
}

/// Puts what can't be read before a person; the work goes on meanwhile.
fn ask(input: &Input, unread: &[Escalated]) -> Vec<Request<Decision>> {
    let hours = input.patience_hours.unwrap_or(PATIENCE_HOURS);
    let due = Duration::from_secs(u64::from(hours) * 3_600);
    let ask = |text: &str, payload: &Value| {
        agent::ask_about(text, &[LEAVE_OUT, READ_AGAIN], Some(payload), Some(due))
    };
    if unread.len() > QUESTIONS_MAX {
        let paths: Vec<&str> = unread.iter().take(100).map(|file| &*file.path).collect();
        let text = format!("{} of the files can't be read as invoices.", unread.len());
        return vec![ask(&text, &json!({ "files": paths }))];
    }
    let one = |file: &Escalated| {
        let text = "This file can't be read as invoices. The others are being reconciled.";
        ask(text, &json!({ "path": file.path, "problem": file.problem }))
    };
    unread.iter().map(one).collect()
}

/// Waits for the decisions; `true`: something is to be read again.
async fn settle(
    unread: Vec<Escalated>,
    questions: Vec<Request<Decision>>,
    settled: &mut BTreeMap<String, Escalated>,
) -> bool {
    let mut decisions = Vec::new();
    for question in questions {
        decisions.push(question.await.ok());
    }
    let mut again = false;
    for (index, mut file) in unread.into_iter().enumerate() {
        // One question may be about all.
        let decision = decisions.get(index).or(decisions.last()).cloned().flatten();
        if decision
            .as_ref()
            .is_some_and(|decision| decision.choice == READ_AGAIN)
        {
            again = true;
            continue;
        }
        (file.decision, file.note) = match decision {
            Some(decision) => (Some(decision.choice), decision.note),
            None => (None, None),
        };
        settled.insert(file.path.clone(), file);
    }
    again
}

#[derive(Default, Deserialize)]
struct Rows {
    rows: Vec<BTreeMap<String, Value>>,
    row_count: usize,
    #[serde(default)]
    markdown: String,
}

/// The contracts that the invoices name, those that there are.
async fn fetch(input: &Input, paths: &[String]) -> Result<Vec<Value>, Error> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let query = json!({
        "sql": compare::NAMED,
        "tables": { "invoices": compare::invoices(paths) },
        "max_rows": 10_000,
    });
    let named: Rows = agent::call("table/query", &query).await?;
    let ids = named
        .rows
        .iter()
        .filter_map(|row| row.get("contract_id")?.as_str());
    let addresses = ids.filter_map(|id| compare::address(&input.contracts, id));
    let inputs: Vec<Value> = addresses
        .map(|url| json!({ "url": url, "format": "json", "secret_headers": input.secret_headers }))
        .collect();
    let mut contracts = Vec::new();
    for fetched in call_each::<Value>("fetch/get", &inputs).await {
        match fetched {
            Ok(mut document) => contracts.push(document["json"].take()),
            Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error.context("fetching a contract")),
        }
        let done = contracts.len();
        agent::progress(done as f64, Some(inputs.len() as f64), "contracts");
    }
    Ok(contracts)
}

async fn compare(paths: &[String], contracts: &[Value]) -> Result<Found, Error> {
    if paths.is_empty() {
        return Ok(Found::default());
    }
    let tables = json!({
        "invoices": compare::invoices(paths),
        "contracts": compare::contracts(contracts),
    });
    let query = |sql: &str| json!({ "sql": sql, "tables": tables, "markdown": true });
    let disagree: Request<Rows> = agent::call("table/query", &query(compare::DISAGREE));
    let twice: Request<Rows> = agent::call("table/query", &query(compare::TWICE));
    let (disagree, twice) = (disagree.await?, twice.await?);
    Ok(Found {
        disagree: disagree.row_count,
        disagree_table: disagree.markdown,
        twice: twice.row_count,
        twice_table: twice.markdown,
    })
}

#[derive(Deserialize)]
struct Page {
    html: String,
}

/// Writes the report; gives why not where a person or a grant refused.
async fn write(input: &Input, markdown: &str) -> Result<Option<String>, Error> {
    let page = json!({ "markdown": markdown, "title": "Invoices against contracts" });
    let page: Page = agent::call("report/render", &page).await?;
    let file = json!({ "path": input.report, "content": page.html, "mode": "replace" });
    match agent::call::<Value>("files/write", &file).await {
        Ok(_) => Ok(None),
        Err(Error::Denied(denial)) => Ok(Some(denial.rule)),
        Err(error) => Err(error),
    }
}

airlock_sdk::agent! {
    description: "Reconciles a folder of invoices with the contracts they name and writes a report. A file that can't be read is put before a person, the rest is finished.",
    input: Input,
    run: run,
    wants: [
        want!(tools, r#"{ tool = "files/list" }"#, "To see which invoices there are."),
        want!(tools, r#"{ tool = "table/describe" }"#, "To read each file of invoices."),
        want!(tools, r#"{ tool = "table/query" }"#, "To compare the invoices with their contracts."),
        want!(tools, r#"{ tool = "fetch/get" }"#, "To fetch the contracts that the invoices name."),
        want!(tools, r#"{ tool = "report/render" }"#, "To make a page of what was found."),
        want!(tools, r#"{ tool = "files/write", approval = "always" }"#, "To write the report, once a person has seen it."),
    ],
}
