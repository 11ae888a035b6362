//! `airlock schedules`.

use anyhow::Result;
use serde_json::{Value, json};

use super::Session;
use super::plugins::list_of;
use super::runs::parse;
use crate::cli::{ScheduleAdd, Schedules};
use crate::client::{Request, encode};
use crate::exit::{Failure, Misuse};
use crate::output::{cell, table, time};

pub(super) fn run(session: &Session, command: Schedules) -> Result<()> {
    match command {
        Schedules::List => {
            let answer = session.api.get("/v1/schedules")?;
            session.format.show(&answer, list_text)
        }
        Schedules::Show { name } => {
            let schedule = session.api.get(&path(&name))?;
            session.format.show(&schedule, text)
        }
        Schedules::Add(args) => add(session, &args),
        Schedules::Remove { name } => {
            session.api.ok(&Request::new("DELETE", path(&name)))?;
            session
                .format
                .show(&json!({ "removed": name }), |_| format!("removed {name}"))
        }
        Schedules::Pause { name } => act(session, &name, "pause"),
        Schedules::Resume { name } => act(session, &name, "resume"),
    }
}

fn path(name: &str) -> String {
    format!("/v1/schedules/{}", encode(name))
}

fn act(session: &Session, name: &str, action: &str) -> Result<()> {
    let path = format!("{}/{action}", path(name));
    let schedule: Value = session.api.value(&Request::new("POST", path))?;
    session.format.show(&schedule, text)
}

fn add(session: &Session, args: &ScheduleAdd) -> Result<()> {
    let mut body = json!({
        "name": args.name, "cron": args.cron, "zone": args.zone, "catch_up": args.catch_up,
        "overlap": args.overlap,
    });
    if let Some(most) = args.catch_up_max {
        body["catch_up_max"] = json!(most);
    }
    if let Some(agent) = &args.agent {
        body["start"] = json!({
            "agent": agent, "goal": args.goal, "input": parse(&args.input, "the input")?,
            "autonomy": args.autonomy,
        });
        if let Some(budget) = args.budget.json() {
            body["start"]["budget"] = budget;
        }
    }
    if let (None, Some(_)) = (&args.agent, args.budget.json()) {
        return Err(no_run());
    }
    if let Some(run) = &args.signal {
        let payload = parse(&args.payload, "the payload")?;
        body["signal"] = json!({ "run": run, "name": args.signal_name, "payload": payload });
    }
    let (method, path) = match args.replace {
        true => ("PUT", path(&args.name)),
        false => ("POST", "/v1/schedules".to_owned()),
    };
    let made: Result<Value> = session.api.value(&Request::json(method, &path, &body));
    let made = made.map_err(|error| whose(error, args));
    session.format.show(&made?, text)
}

/// What is said of a budget beside a signal.
pub(super) fn no_run() -> anyhow::Error {
    Misuse("a budget is for runs that are started: give --agent".to_owned()).into()
}

/// One that can't be replaced is somebody else's.
fn whose(mut error: anyhow::Error, args: &ScheduleAdd) -> anyhow::Error {
    let there = error.downcast_mut::<Failure>().filter(|_| args.replace);
    if let Some(failure) = there.filter(|failure| failure.code == "schedule-exists") {
        let detail = format!("the name `{}` is taken, choose another one", args.name);
        failure.problem["detail"] = Value::from(detail);
    }
    error
}

fn list_text(answer: &Value) -> String {
    let schedules = list_of(answer, "schedules");
    let items = schedules.as_array().into_iter().flatten();
    let lines: Vec<Vec<String>> = items
        .map(|schedule| {
            vec![
                cell(schedule, "name"),
                cell(schedule, "cron"),
                cell(schedule, "zone"),
                what(schedule),
                next(schedule),
                last(schedule),
            ]
        })
        .collect();
    table(&["NAME", "CRON", "ZONE", "DOES", "NEXT", "LAST"], &lines)
}

fn text(schedule: &Value) -> String {
    let mut text = format!(
        "{}: {} {} in {}, as {}\n",
        cell(schedule, "name"),
        what(schedule),
        cell(schedule, "cron"),
        cell(schedule, "zone"),
        cell(schedule, "by"),
    );
    text.push_str(&format!(
        "missed: {} · overlap: {}\n",
        cell(schedule, "catch_up"),
        cell(schedule, "overlap")
    ));
    for next_ms in schedule["next_ms"].as_array().into_iter().flatten() {
        text.push_str(&format!(
            "next  {}\n",
            time(next_ms.as_u64().unwrap_or_default())
        ));
    }
    if schedule["paused"] == true {
        text.push_str("paused\n");
    }
    if schedule["revoked"] == true {
        text.push_str("does nothing: the token that made it was revoked\n");
    }
    text.push_str(&format!("last  {}", last(schedule)));
    text
}

/// What it does, in short.
fn what(schedule: &Value) -> String {
    match schedule.get("signal") {
        Some(signal) => format!("signal {} to {}", cell(signal, "name"), cell(signal, "run")),
        None => format!("run {}", cell(&schedule["start"], "agent")),
    }
}

fn next(schedule: &Value) -> String {
    match schedule["next_ms"][0].as_u64() {
        Some(ms) => time(ms),
        None if schedule["paused"] == true => "paused".to_owned(),
        None if schedule["revoked"] == true => "revoked".to_owned(),
        None => "-".to_owned(),
    }
}

/// What came of the latest due time.
fn last(schedule: &Value) -> String {
    let Some(last) = schedule.get("last") else {
        return "-".to_owned();
    };
    let due = last["due_ms"].as_u64().map(time).unwrap_or_default();
    let told = ["run", "detail"]
        .iter()
        .find_map(|name| last[*name].as_str());
    format!("{due} {} {}", cell(last, "what"), told.unwrap_or_default())
        .trim_end()
        .to_owned()
}
