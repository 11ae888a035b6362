//! The demo: an agent reconciles a folder of invoices against the contracts of a
//! local HTTP service, with plugins that may touch just that. The server is killed
//! in the middle and started again, and the run goes on. Then it shows what the
//! plugins are refused. Everything goes over the HTTP API of a real server.

mod contracts;
mod page;
mod refusals;
mod run;
mod work;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use airlock::harness::Server;
use anyhow::{Context, Result};
use clap::Parser;

use crate::page::Page;

/// Plugins that the demo uses, by name and package.
const PLUGINS: [(&str, &str); 6] = [
    ("files", "airlock-plugin-files"),
    ("fetch", "airlock-plugin-fetch"),
    ("table", "airlock-plugin-table"),
    ("report", "airlock-plugin-report"),
    ("javascript", "airlock-plugin-javascript"),
    ("reconcile", "airlock-plugin-reconcile"),
];

#[derive(Debug, Parser)]
struct Options {
    /// The `airlock` binary.
    #[arg(long)]
    airlock: PathBuf,
    /// Folder of the built components.
    #[arg(long)]
    components: PathBuf,
    /// Keep the data and the report in this folder.
    #[arg(long)]
    keep: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let start = Instant::now();
    let scratch = tempfile::tempdir().context("making a folder for the demo")?;
    let folder = options
        .keep
        .clone()
        .unwrap_or_else(|| scratch.path().to_path_buf());
    let mut stage = Stage::set_up(&options, &folder)?;
    let mut page = Page::default();
    page.title(
        "Airlock: an agent reconciles invoices with contracts, and a crash does not stop it",
    );
    work::install(&stage, &mut page)?;
    run::reconcile(&mut stage, &mut page)?;
    work::show_usage(&stage, &mut page)?;
    refusals::show(&stage, &mut page)?;
    work::verify_audit(&stage, &mut page)?;
    page.end(start.elapsed(), options.keep.as_deref());
    let server = stage.server.take().context("the server is down")?;
    let stopped = server.stop(Duration::from_secs(30))?;
    anyhow::ensure!(stopped.success(), "the server ended with {stopped}");
    Ok(())
}

/// Everything the demo runs on.
pub(crate) struct Stage {
    server: Option<Server>,
    airlock: PathBuf,
    data: PathBuf,
    pub(crate) contracts: contracts::Service,
    pub(crate) invoices: PathBuf,
    pub(crate) out: PathBuf,
    pub(crate) components: PathBuf,
}

impl Stage {
    fn set_up(options: &Options, folder: &Path) -> Result<Self> {
        let demo = airlock_tests::root().join("demo");
        let out = folder.join("out");
        std::fs::create_dir_all(&out).with_context(|| format!("making {}", out.display()))?;
        let contracts = contracts::Service::start(&demo.join("contracts.json"))?;
        let data = folder.join("data");
        let server = Server::start(&options.airlock, &data, &[])?;
        Ok(Self {
            server: Some(server),
            airlock: options.airlock.clone(),
            data,
            contracts,
            invoices: demo.join("invoices"),
            out,
            components: options.components.clone(),
        })
    }

    /// The server, which runs but for the moment between its death and its start.
    pub(crate) fn server(&self) -> Result<&Server> {
        self.server.as_ref().context("the server is down")
    }

    /// Kills the server with SIGKILL and starts it again over its data; the id of
    /// the process that died.
    pub(crate) fn crash(&mut self) -> Result<u32> {
        let server = self.server.take().context("the server is down")?;
        let pid = server.pid();
        server.kill()?;
        self.server = Some(Server::start(&self.airlock, &self.data, &[])?);
        Ok(pid)
    }

    /// The policy: who may do what. An administrator would write this file.
    pub(crate) fn policy(&self) -> String {
        format!(
            r#"[plugins.files.grants]
files = [
    {{ host = "{invoices}", guest = "/invoices", access = "read" }},
    {{ host = "{out}", guest = "/out", access = "read-write", bytes = "10MiB" }},
]
effects = {{ list = "read-only", read = "read-only", search = "read-only", write = "plain" }}

[plugins.table.grants]
files = [{{ host = "{invoices}", guest = "/invoices", access = "read" }}]
effects = {{ describe = "read-only", query = "read-only" }}

[plugins.table.limits]
cpu = "5s"

[plugins.fetch.grants]
http = [{{ url = "{contracts}/v1/contracts/*", methods = ["GET"], allow_private = true }}]
effects = {{ get = "read-only" }}

[plugins.report.grants]
effects = {{ render = "read-only" }}

[plugins.reconcile.grants]
tools = [
    {{ tool = "files/list" }},
    {{ tool = "files/write", approval = "always" }},
    {{ tool = "fetch/get" }},
    {{ tool = "table/*" }},
    {{ tool = "report/render" }},
]

[plugins.javascript.limits]
cpu = "300ms"
"#,
            invoices = self.invoices.display(),
            out = self.out.display(),
            contracts = self.contracts.base(),
        )
    }
}
