//! A runtime over a real store, and the runs that it is given: each makes calls
//! whose effect lies in the store beside the journal, under a name of its own.

use std::path::Path;
use std::sync::Arc;

use airlock_journal::SqliteStore;
use airlock_runtime::{
    Principal, RunDetail, RunsQuery, Runtime, RuntimeConfig, StartRun, ToolCall,
};
use bytes::Bytes;
use serde_json::{Value, json};

/// Calls of each run that may not be repeated.
pub const CALLS: usize = 4;

/// Whatever went wrong.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

pub struct Host {
    pub runtime: Arc<Runtime>,
    pub who: Arc<Principal>,
}

impl Host {
    /// Opens the store in `journal`; what else a host keeps is in `data`.
    pub async fn open(journal: &Path, data: &Path, keys: &Path) -> Result<Self, Failure> {
        let config = RuntimeConfig {
            compiler: std::path::PathBuf::new(),
            compiler_args: Vec::new(),
            guest_workers: Some(1),
            ..RuntimeConfig::new(data, keys)
        };
        let store = SqliteStore::open(journal)?;
        let runtime = Runtime::with_store(config, store).await?;
        let who = Arc::new(Principal::local_admin("crash"));
        Ok(Self { runtime, who })
    }

    /// Starts run number `number`.
    pub async fn start(&self, number: u64) -> Result<String, Failure> {
        let put = |call: usize| {
            let input = json!({ "key": format!("{number}-{call}"), "value": "v" });
            json!({ "call": { "tool": "keeper/put", "input": input } })
        };
        let steps = json!([
            put(0), { "tell": { "text": "half" } },
            { "join": [put(1), { "sleep": { "ms": 2 } }, put(2)] },
            { "select": [{ "sleep": { "ms": 1 } }, { "sleep": { "ms": 3_600_000 } }] }, put(3),
        ]);
        let request =
            json!({ "agent": "prober", "goal": number.to_string(), "input": { "steps": steps } });
        let request: StartRun = serde_json::from_value(request)?;
        Ok(self.runtime.start_run(&self.who, request).await?.id)
    }

    pub fn run(&self, id: &str) -> Result<RunDetail, Failure> {
        Ok(self.runtime.run_detail(&self.who, id)?)
    }

    /// All runs, with how many records each has.
    pub async fn runs(&self) -> Result<Vec<RunDetail>, Failure> {
        let query = RunsQuery {
            limit: Some(1_000),
            ..RunsQuery::default()
        };
        let page = self.runtime.runs(&self.who, query).await?;
        page.runs.iter().map(|run| self.run(&run.id)).collect()
    }

    /// What `key` holds.
    pub async fn kept(&self, key: &str) -> Result<Option<String>, Failure> {
        let call = ToolCall {
            log: false,
            plugin: "keeper".to_owned(),
            tool: "get".to_owned(),
            input: Bytes::from(json!({ "key": key }).to_string()),
            timeout: None,
            idempotency_key: None,
            stage: None,
        };
        let reply = self.runtime.call(&self.who, call).await?;
        let reply: Value = serde_json::from_slice(&reply.body)?;
        Ok(reply["output"]["value"].as_str().map(str::to_owned))
    }
}
