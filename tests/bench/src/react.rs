//! The shipped agent `react` doing steps with a model and a tool, beside LangGraph's
//! ReAct agent with its SQLite checkpointer doing the same with the same model
//! server: what each adds to the bare time of the requests.
//!
//! What is not the same work: the peer's tool is a function in its process, ours is
//! a call of a sandboxed component; the peer asks for whole answers, ours come as
//! streams, as does the bare request that is taken off both. Whether the peer's
//! checkpoints are synced is printed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use airlock::client::Request as Call;
use airlock_fake_models::{Call as ModelCall, FakeModels, Reply, Script, What};
use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::Bench;
use crate::models::{bare, config};
use crate::round::median;
use crate::runs::host::Host;

/// Turns of a model in a run: calls of the tool, and the end.
const STEPS: usize = 20;

const REQUIREMENTS: &str = include_str!("../langgraph/requirements.txt");
const AGENT: &str = include_str!("../langgraph/agent.py");

/// What the model says, run after run; the last turn of each is `end`.
fn script(runs: usize, tool: &str, end: &Reply) -> Script {
    let turn = |step: usize| Reply {
        calls: vec![ModelCall {
            id: format!("call_{step}"),
            name: tool.to_owned(),
            arguments: json!({ "message": format!("step {step}") }).to_string(),
        }],
        ..Reply::default()
    };
    let run = || (1..STEPS).map(turn).chain([end.clone()]);
    Script::of((0..runs).flat_map(|_| run()).map(What::Answer))
}

fn finish() -> Reply {
    Reply {
        calls: vec![ModelCall {
            id: "call_end".to_owned(),
            name: "finish".to_owned(),
            arguments: json!({ "result": "done" }).to_string(),
        }],
        ..Reply::default()
    }
}

fn done() -> Reply {
    Reply {
        text: "done".to_owned(),
        ..Reply::default()
    }
}

/// Beside the builds, so that it is installed once.
fn folder() -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program")?;
    let target = own.parent().and_then(Path::parent);
    Ok(target
        .context("the build's folder")?
        .join("bench-peers/langgraph"))
}

/// The Python that has the peer; `None`, with a line that says why, where it can't
/// be had.
fn python(bench: &Bench) -> Result<Option<PathBuf>> {
    let folder = folder()?;
    let (python, marker) = (folder.join("venv/bin/python"), folder.join("installed.txt"));
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("agent.py"), AGENT)?;
    if std::fs::read_to_string(&marker).is_ok_and(|had| had == REQUIREMENTS) {
        return Ok(Some(python));
    }
    if bench.quick {
        println!("langgraph: left out: it is not installed, and the quick form installs nothing");
        return Ok(None);
    }
    std::fs::write(folder.join("requirements.txt"), REQUIREMENTS)?;
    let run = |command: &mut Command| {
        let status = command.current_dir(&folder).stdout(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let made = run(Command::new("python3").args(["-m", "venv", "venv"]));
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "-q", "-r", "requirements.txt"]);
    if !made || !run(&mut pip) {
        println!("langgraph: left out: Python or its packages can't be had");
        return Ok(None);
    }
    std::fs::write(marker, REQUIREMENTS)?;
    Ok(Some(python))
}

/// How long each run of the peer takes; the first, in which it loads, is left out.
fn peer(python: &Path, base: &str, runs: usize) -> Result<Vec<Duration>> {
    let data = tempfile::tempdir()?;
    let output = Command::new(python)
        .arg(folder()?.join("agent.py"))
        .arg(base)
        .arg((runs + 1).to_string())
        .arg(data.path().join("checkpoints.sqlite"))
        .env("LANGSMITH_TRACING", "false")
        .output()
        .context("starting the peer")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "langgraph: {errors}");
    let text = String::from_utf8(output.stdout)?;
    let mut times = Vec::new();
    let (settings, lines) = text.split_once('\n').context("its settings")?;
    println!("langgraph: {settings}");
    for line in lines.lines().skip(1) {
        let (seconds, messages) = line.split_once(' ').context("its line")?;
        let messages: usize = messages.parse()?;
        // A question, 19 calls with their results, and the end.
        anyhow::ensure!(messages == 2 * STEPS, "{messages} messages");
        times.push(Duration::from_secs_f64(seconds.parse()?));
    }
    anyhow::ensure!(times.len() == runs, "langgraph: {} runs", times.len());
    Ok(times)
}

/// The shipped agent and what it may use.
fn install(host: &Host, bench: &Bench) -> Result<()> {
    let api = host.api();
    let bytes = std::fs::read(bench.component("airlock-plugin-react"))?;
    airlock::commands::install(&api, "react", bytes, None)?;
    let granted = json!({
        "grants": { "tools": [{ "tool": "echo/echo" }], "models": [{ "role": "fast" }] },
        "limits": { "cpu": "10min", "rate": "1000000/s" },
    });
    api.ok(&Call::json("PUT", "/v1/plugins/react/grants", &granted))?;
    Ok(())
}

async fn own(host: &Host, runs: usize) -> Result<Vec<Duration>> {
    let mut client = host.connect().await?;
    let input: Value = json!({ "context": "Echo each step." });
    let mut times = Vec::new();
    for run in 0..=runs {
        let (time, id) = client.once_of("react", &input).await?;
        host.check(&[id]).await?;
        if run > 0 {
            times.push(time);
        }
    }
    Ok(times)
}

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let runs = bench.times(500);
    let client = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let start = |tool, end: &Reply| {
        let script = script(runs + 1, tool, end);
        client.block_on(FakeModels::start(script))
    };
    let data = tempfile::tempdir()?;
    let models = start("echo__echo", &finish())?;
    let at = data.path().join("data");
    std::fs::create_dir_all(&at)?;
    std::fs::write(at.join("models.toml"), config(&models.base_url()))?;
    let host = Host::new(bench, &at)?;
    install(&host, bench)?;
    let ours = median(client.block_on(own(&host, runs))?);
    drop(host.stop()?);
    drop(models);
    let models = start("echo", &done())?;
    let floor = Instant::now();
    client.block_on(bare(&models.base_url(), STEPS * (runs + 1)))?;
    let floor = floor.elapsed() / (STEPS * (runs + 1)) as u32;
    let step = |time: Duration| (time / STEPS as u32).saturating_sub(floor).as_secs_f64() * 1e3;
    println!(
        "{STEPS} steps: a bare request {:.2} ms; react adds {:.2} ms a step",
        floor.as_secs_f64() * 1e3,
        step(ours)
    );
    let Some(python) = python(bench)? else {
        return Ok(());
    };
    drop(models);
    let models = start("echo", &done())?;
    let theirs = median(peer(&python, &models.base_url(), runs)?);
    println!(
        "langgraph with its SQLite checkpointer adds {:.2} ms a step: {:.1}x what react adds (target 5x)",
        step(theirs),
        step(theirs) / step(ours).max(0.001)
    );
    Ok(())
}
