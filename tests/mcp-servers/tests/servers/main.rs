//! The way to MCP servers, with real ones: by `rmcp`, over a program's pipes and over
//! HTTP; and with one that misbehaves.

mod confined;
mod hostile;
mod npm;
mod raw;
mod real;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use airlock_mcp_client::{
    Call, Client, Confinement, Fault, Host, Link, Mask, Output, Progress, Server, Surroundings,
    Tool, confinement,
};
use tokio::sync::watch;
use tokio::time::Instant;
use zeroize::Zeroizing;

const PROGRAM: &str = env!("CARGO_BIN_EXE_airlock-mcp-servers");

struct Secrets;

impl Host for Secrets {
    fn secret(&self, name: &str) -> Option<Zeroizing<String>> {
        (name == "token").then(|| Zeroizing::new("s3cret".to_owned()))
    }

    fn may_reach(
        &self,
        peer: SocketAddr,
        _: Option<SocketAddr>,
        allow_private: bool,
    ) -> Result<(), String> {
        match allow_private && peer.port() != 1 {
            true => Ok(()),
            false => Err(format!("{peer} is not to be reached")),
        }
    }

    fn mask(&self, values: &[&str]) -> Option<Mask> {
        let value = (*values.first()?).to_owned();
        let mask = move |text: &[u8]| {
            let text = std::str::from_utf8(text).ok()?;
            let found = text.contains(&value);
            let stars = "*".repeat(value.len());
            found.then(|| text.replace(&value, &stars).into_bytes())
        };
        Some(Arc::new(mask))
    }
}

fn around(dir: &Path) -> Surroundings {
    let tls = airlock_tls::client(None).expect("TLS");
    Surroundings {
        host: Arc::new(Secrets),
        client: Client::new(Arc::new(tls)),
        launcher: PathBuf::from(PROGRAM),
        launcher_args: vec!["launch".into()],
        dir: dir.join("own"),
        patience: Duration::from_secs(3),
    }
}

fn program(args: &[&str]) -> Server {
    Server {
        command: Some(PROGRAM.to_owned()),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        ..Server::default()
    }
}

/// Whether programs can be started here; says so where not.
fn can_start() -> bool {
    let can = confinement() == Confinement::Network;
    if !can {
        println!("skipped: the kernel has no Landlock ({:?})", confinement());
    }
    can
}

struct Connected {
    link: Link,
    tools: Vec<Tool>,
}

async fn connect(server: &Server, around: &Surroundings) -> Result<Connected, Fault> {
    let link = Link::open(server, around).await?;
    let tools = link.tools(server).await?;
    Ok(Connected { link, tools })
}

impl Connected {
    async fn call(&self, tool: &str, arguments: &str) -> Result<Output, Fault> {
        self.told(
            tool,
            arguments,
            Duration::from_secs(5),
            watch::Sender::new(None),
        )
        .await
    }

    async fn told(
        &self,
        tool: &str,
        arguments: &str,
        wait: Duration,
        progress: watch::Sender<Option<Progress>>,
    ) -> Result<Output, Fault> {
        let tool = self
            .tools
            .iter()
            .find(|found| found.name == tool)
            .expect("a tool");
        let call = Call {
            tool,
            arguments,
            idempotency_key: None,
            progress: Arc::new(move |told| drop(progress.send_replace(Some(told)))),
            until: Instant::now() + wait,
            output_bytes_max: 2_000,
        };
        self.link.call(call).await
    }

    async fn text(&self, tool: &str, arguments: &str) -> String {
        shown(self.call(tool, arguments).await)
    }
}

fn shown(result: Result<Output, Fault>) -> String {
    match result {
        Ok(Output::Structured(text) | Output::Content(text)) => text,
        Ok(Output::Failed(text)) => format!("failed: {text}"),
        Err(Fault::NotSent(why)) => format!("not sent: {why}"),
        Err(Fault::Lost(why)) => format!("lost: {why}"),
        Err(Fault::Broken(why)) => format!("broken: {why}"),
        Err(fault @ Fault::Refused { .. }) => fault.to_string(),
    }
}

#[test]
fn it_says_which_servers_there_are() {
    let table = [
        (&["--help"][..], 0, "hostile CASE"),
        (&["-h"], 0, "good-http"),
        (&["help"], 0, "launch ORDER"),
        (&[], 2, "Usage: airlock-mcp-servers SERVER"),
        (&["godo"], 2, "there is no server `godo`"),
        (&["hostile"], 2, "hostile CASE"),
    ];
    for (args, code, says) in table {
        let command = std::process::Command::new(PROGRAM).args(args).output();
        let ran = command.expect("it starts");
        assert_eq!(ran.status.code(), Some(code), "{args:?}");
        let said = if code == 0 { ran.stdout } else { ran.stderr };
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains(says), "{args:?}: {said}");
    }
}
