//! An Airlock server with the agent of the benchmarks and the tool it calls, and
//! its runs over HTTP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use airlock::client::{Api, Request as Call};
use airlock::commands::install;
use airlock::harness::Server;
use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::Bench;
use crate::http::{address_of, ready, unlimited};
use crate::load::{Connection, Request};

/// Connections that start runs.
const LANES: usize = 16;

/// How often a run is looked at that has not ended, where many run.
pub(super) const LOOK: Duration = Duration::from_millis(2);

/// A record that no journal has.
const BEYOND: u64 = 1 << 40;

/// How long a run may take before it is looked at whether it is stuck.
const STUCK: Duration = Duration::from_secs(10);

/// The longest that any wait of the benchmarks may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// How long a server may take to stop in order.
const STOP: Duration = Duration::from_secs(120);

/// The server.
pub(crate) struct Host {
    server: Server,
    address: SocketAddr,
    data: PathBuf,
}

impl Host {
    /// A new one over an empty directory.
    pub(crate) fn new(bench: &Bench, data: &Path) -> Result<Self> {
        let host = Self::start(bench, data)?;
        let api = host.server.api();
        for (name, package) in [("echo", "airlock-plugin-echo"), ("bench", "agent-bench")] {
            let bytes = std::fs::read(bench.component(package))
                .with_context(|| format!("reading the component of {package}"))?;
            install(&api, name, bytes, None)?;
        }
        unlimited(&host.server, "echo")?;
        let granted = json!({
            "grants": { "tools": [{ "tool": "echo/echo" }], "models": [{ "role": "fast" }] },
            "limits": { "cpu": "10min", "rate": "1000000/s" },
        });
        api.ok(&Call::json("PUT", "/v1/plugins/bench/grants", &granted))?;
        Ok(host)
    }

    /// One that goes on with what is in the directory.
    pub(super) fn start(bench: &Bench, data: &Path) -> Result<Self> {
        let server = Server::start(&bench.airlock, data, &[])?;
        ready(&server)?;
        Ok(Self {
            address: address_of(&server)?,
            server,
            data: data.to_owned(),
        })
    }

    /// Its API, as its administrator.
    pub(crate) fn api(&self) -> Api {
        self.server.api()
    }

    /// Stops in order; the directory can be read then.
    pub(crate) fn stop(self) -> Result<PathBuf> {
        self.server.stop(STOP)?;
        Ok(self.data)
    }

    /// Killed without warning.
    pub(super) fn kill(self) -> Result<PathBuf> {
        self.server.kill()?;
        Ok(self.data)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    pub(crate) async fn connect(&self) -> Result<Client<'_>> {
        let connection = Connection::open(self.address).await?;
        Ok(Client {
            host: self,
            connection,
        })
    }

    /// Starts `count` runs and returns their ids.
    pub(super) async fn start_runs(&self, count: usize, input: &Value) -> Result<Vec<String>> {
        let lanes = count.clamp(1, LANES);
        let lane = |lane: usize| async move {
            let mut client = self.connect().await?;
            let mut ids = Vec::new();
            for _ in (lane..count).step_by(lanes) {
                ids.push(client.start(input).await?);
            }
            anyhow::Ok(ids)
        };
        let ids = futures_util::future::try_join_all((0..lanes).map(lane)).await?;
        Ok(ids.concat())
    }

    /// How long `count` runs take from the first start to the last end, at once,
    /// and their ids.
    pub(crate) async fn batch(
        &self,
        count: usize,
        input: &Value,
    ) -> Result<(Duration, Vec<String>)> {
        let begun = Instant::now();
        let ids = self.start_runs(count, input).await?;
        let mut client = self.connect().await?;
        for id in &ids {
            client.ended(id, LOOK).await?;
        }
        Ok((begun.elapsed(), ids))
    }

    /// Whether they ended as they should.
    pub(crate) async fn check(&self, ids: &[String]) -> Result<()> {
        let mut client = self.connect().await?;
        for id in ids {
            let run = client.get(&format!("/v1/runs/{id}")).await?;
            let state = &run["end"]["state"];
            anyhow::ensure!(state == "succeeded", "the run {id} ended as {run}");
        }
        Ok(())
    }
}

/// A connection to it.
pub(crate) struct Client<'a> {
    host: &'a Host,
    connection: Connection,
}

impl Client<'_> {
    async fn send(&mut self, request: &Request, expect: u16) -> Result<Value> {
        let (status, body) = self.connection.exchange(request).await?;
        let text = String::from_utf8_lossy(body);
        anyhow::ensure!(status == expect, "status {status}: {text}");
        serde_json::from_str(&text).context("the reply's JSON")
    }

    pub(super) async fn get(&mut self, path: &str) -> Result<Value> {
        let (address, token) = (self.host.address, self.host.server.token());
        let request = Request::get(address, path, token, "application/json");
        self.send(&request, 200).await
    }

    async fn post(&mut self, path: &str, body: &Value, expect: u16) -> Result<Value> {
        let (address, token) = (self.host.address, Some(self.host.server.token()));
        let request = Request::post(address, path, token, &body.to_string());
        self.send(&request, expect).await
    }

    /// Starts a run.
    pub(super) async fn start(&mut self, input: &Value) -> Result<String> {
        self.start_of("bench", input).await
    }

    async fn start_of(&mut self, agent: &str, input: &Value) -> Result<String> {
        let run = json!({ "agent": agent, "goal": "Echo.", "input": input });
        let run = self.post("/v1/runs", &run, 201).await?;
        Ok(run["id"].as_str().context("the run's id")?.to_owned())
    }

    /// Gives a run the signal it waits for.
    pub(super) async fn signal(&mut self, id: &str, name: &str) -> Result<()> {
        let path = format!("/v1/runs/{id}/signals/{name}");
        self.post(&path, &json!({ "payload": 1 }), 200).await?;
        Ok(())
    }

    /// Waits until a run has ended. What is asked for is the page of its journal
    /// beyond the last, which costs the server little however long the run is.
    pub(super) async fn ended(&mut self, id: &str, look: Duration) -> Result<()> {
        let path = format!("/v1/runs/{id}/events?from={BEYOND}&limit=1");
        let begun = Instant::now();
        while self.get(&path).await?.get("next").is_some() {
            if begun.elapsed() > STUCK {
                let run = self.get(&format!("/v1/runs/{id}")).await?;
                let late = begun.elapsed() > PATIENCE || run.get("blocked").is_some();
                anyhow::ensure!(!late, "the run {id} does not go on: {run}");
            }
            tokio::time::sleep(look).await;
        }
        Ok(())
    }

    /// Waits until a run has done its steps and waits for its time or its signal.
    pub(super) async fn waiting(&mut self, id: &str) -> Result<()> {
        let (path, begun) = (format!("/v1/runs/{id}"), Instant::now());
        loop {
            let run = self.get(&path).await?;
            let waits_for = run["waits_for"].as_array().map_or(&[][..], Vec::as_slice);
            let asked = waits_for.iter().map(|open| &open["request"]["kind"]);
            if asked
                .into_iter()
                .any(|kind| kind == "signal" || kind == "timer")
            {
                return Ok(());
            }
            let goes_on = run.get("end").is_none() && run.get("blocked").is_none();
            let goes_on = goes_on && begun.elapsed() < PATIENCE;
            anyhow::ensure!(goes_on, "the run {id} does not wait: {run}");
            tokio::time::sleep(LOOK * 50).await;
        }
    }

    /// One run from its start to its end, as a client sees it that follows its
    /// events.
    pub(super) async fn once(&mut self, input: &Value) -> Result<Duration> {
        Ok(self.once_of("bench", input).await?.0)
    }

    /// The same of any agent, with the run's id.
    pub(crate) async fn once_of(
        &mut self,
        agent: &str,
        input: &Value,
    ) -> Result<(Duration, String)> {
        let begun = Instant::now();
        let id = self.start_of(agent, input).await?;
        let (address, token) = (self.host.address, self.host.server.token());
        let path = format!("/v1/runs/{id}/events");
        let events = Request::get(address, &path, token, "text/event-stream");
        let (status, body) = self.connection.exchange(&events).await?;
        let time = begun.elapsed();
        let text = String::from_utf8_lossy(body);
        let ended = status == 200 && text.contains("\"state\":\"succeeded\"");
        anyhow::ensure!(ended, "the run {id} ended as {status}: {text}");
        Ok((time, id))
    }

    /// When a run ended, milliseconds since 1970.
    pub(super) async fn ended_ms(&mut self, id: &str) -> Result<u64> {
        let run = self.get(&format!("/v1/runs/{id}")).await?;
        run["updated_ms"].as_u64().context("when the run ended")
    }

    /// When the first record of a kind was written in each run, milliseconds
    /// since 1970.
    pub(super) async fn times_of(&mut self, ids: &[String], event: &str) -> Result<Vec<u64>> {
        let mut times = Vec::with_capacity(ids.len());
        for id in ids {
            let page = self
                .get(&format!("/v1/runs/{id}/events?limit=1000"))
                .await?;
            let events = page["events"].as_array().context("the run's events")?;
            let record = events.iter().find(|record| record["event"] == event);
            let at_ms = record.and_then(|record| record["at_ms"].as_u64());
            times.push(at_ms.with_context(|| format!("{event} of the run {id}"))?);
        }
        Ok(times)
    }
}
