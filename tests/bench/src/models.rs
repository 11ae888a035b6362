//! A request to a language model through the host (gate, redaction, budgets,
//! journal), beside the same request to the same server over bare HTTP, as streams
//! at once. The server is one of ours on loopback: at the pace of a real model,
//! and as fast as it can.

use std::time::{Duration, Instant};

use airlock_fake_models::{Damage, FakeModels, Reply, Script, Step, What};
use anyhow::{Context, Result};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Bench;
use crate::http::cpu_s;
use crate::round::{median, ratio};
use crate::runs::host::Host;

/// Streams at once.
const STREAMS: usize = 50;

/// About 100 tokens.
const ANSWER: &str = "The invoice of May is higher than the contract says: 12 hours were \
    billed at the rate for weekends, which the contract has for Sundays alone, and \
    travel was billed twice. What is right is 1,840.00 EUR instead of 2,275.50 EUR. I \
    would ask the supplier for a corrected invoice, and pay nothing before it has \
    come, since the contract gives thirty days from the day a correct invoice is there.";

const QUESTION: &str = "Compare the invoice with the contract. Say what differs, by how \
    much, and what should be done. Write to nobody: max@example.com is on leave.";

struct Pace {
    what: &'static str,
    /// Before the answer, and between two pieces of it, milliseconds.
    first_ms: u64,
    piece_ms: u64,
    requests: usize,
}

const PACES: [Pace; 2] = [
    Pace {
        what: "a model that begins after 200 ms and says 100 pieces a second",
        first_ms: 200,
        piece_ms: 10,
        requests: 4,
    },
    Pace {
        what: "a model that takes no time",
        first_ms: 0,
        piece_ms: 0,
        requests: 20,
    },
];

fn script(pace: &Pace) -> Script {
    let reply = Reply {
        text: ANSWER.to_owned(),
        damage: Damage {
            delay_ms: pace.first_ms,
            event_ms: pace.piece_ms,
            ..Damage::default()
        },
        ..Reply::default()
    };
    let step = Step {
        again: true,
        ..What::Answer(reply).into()
    };
    Script {
        key: None,
        steps: vec![step],
    }
}

/// The same request again and again, each on a connection of its own, as the server
/// closes them.
pub(crate) async fn bare(base: &str, requests: usize) -> Result<()> {
    let address = base.trim_start_matches("http://");
    let (address, path) = address.split_once('/').context("a base with a path")?;
    let body = json!({
        "model": "small", "stream": true, "stream_options": { "include_usage": true },
        "max_tokens": 500,
        "messages": [{ "role": "user", "content": QUESTION }],
    });
    let body = body.to_string();
    let head = format!(
        "POST /{path}/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\naccept: text/event-stream\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut answer = Vec::new();
    for _ in 0..requests {
        answer.clear();
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.read_to_end(&mut answer).await?;
        let whole = answer.ends_with(b"0\r\n\r\n") && answer.starts_with(b"HTTP/1.1 200");
        anyhow::ensure!(whole, "{}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

async fn all_bare(base: &str, requests: usize) -> Result<Duration> {
    let begun = Instant::now();
    let lanes = (0..STREAMS).map(|_| bare(base, requests));
    futures_util::future::try_join_all(lanes).await?;
    Ok(begun.elapsed())
}

/// One model behind the role `fast`.
pub(crate) fn config(base: &str) -> String {
    format!(
        "currency = 'USD'\nproviders.own = {{ kind = 'openai-compatible', base_url = '{base}' }}\n\
         models.small = {{ provider = 'own', id = 'small', context_tokens = 8000, output_tokens_max = 500, concurrency = 1000, prices = {{ input = '0.1', output = '0.4' }} }}\n\
         roles.fast = {{ models = ['small'] }}\n\
         redaction = {{ patterns = ['key', 'card', 'email', 'phone'], reversible = true }}\n"
    )
}

/// A host whose agent may ask the model.
fn host(bench: &Bench, data: &std::path::Path, base: &str) -> Result<Host> {
    std::fs::create_dir_all(data)?;
    std::fs::write(data.join("models.toml"), config(base))?;
    Host::new(bench, data)
}

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let client = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    for pace in &PACES {
        let requests = if bench.quick { 1 } else { pace.requests };
        let data = tempfile::tempdir()?;
        let server = client.block_on(FakeModels::start(script(pace)))?;
        let base = server.base_url();
        let host = host(bench, &data.path().join("data"), &base)?;
        let input = json!({ "chats": requests, "question": QUESTION });
        let (mut alone, mut through, mut cpu) = (Vec::new(), Vec::new(), 0.0);
        // The first round is not counted: caches are cold.
        for round in 0..=bench.times(100).min(5) {
            let bare = client.block_on(all_bare(&base, requests))?;
            let before = cpu_s(host.pid())?;
            let (time, ids) = client.block_on(host.batch(STREAMS, &input))?;
            client.block_on(host.check(&ids))?;
            if round > 0 {
                cpu += cpu_s(host.pid())? - before;
                alone.push(bare);
                through.push(time);
            }
        }
        let count = (requests * STREAMS * alone.len()) as f64;
        let (alone, through) = (median(alone), median(through));
        let each = |time: Duration| time.as_secs_f64() * 1e3 / requests as f64;
        println!(
            "{}: {STREAMS} streams, bare {:.1} ms a request, through the host {:.1} ms: {:.2}x (target 1.3x); CPU of the host {:.0} µs a request",
            pace.what,
            each(alone),
            each(through),
            ratio(through, alone),
            cpu * 1e6 / count
        );
        drop(host.stop()?);
    }
    Ok(())
}
