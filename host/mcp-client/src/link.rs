//! A connection to one server: it is agreed on a version, tools are listed and
//! called.
//!
//! What must stay true: nothing that it says leaves here with a secret in it that the
//! server was given. Messages are masked as they come in, before any of them is read or
//! cut; other words where they become those of a fault. The values are those of when
//! the connection began: nothing else is sent over it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::error::Fault;
use crate::given::Given;
use crate::http::{Asked, Http};
use crate::output::{self, Output};
use crate::stdio::Stdio;
use crate::tool::{self, Tool};
use crate::{Host, Mask, Server, Surroundings, TOOLS_MAX, rpc, text};

/// The version with an `initialize` that is asked for, and those that are understood.
const VERSION: &str = "2025-11-25";
const VERSIONS: [&str; 4] = [VERSION, "2025-06-18", "2025-03-26", "2024-11-05"];
/// The version without one, which a server that knows no other is spoken to in: each
/// request says what it needs by itself.
const MODERN: &str = "2026-07-28";
/// Most pages of a list of tools.
const PAGES_MAX: usize = 64;
/// Bytes of all pages together.
const LIST_BYTES_MAX: usize = 8 << 20;

/// How far a call is, by the server's own account.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Done so far, in units of the tool's own choosing.
    pub done: f64,
    /// All there is to do, where known.
    pub total: Option<f64>,
    /// What is being done, one line, escaped and bounded.
    pub message: String,
}

/// Is told each report.
pub type Tell = Arc<dyn Fn(Progress) + Send + Sync>;

/// A call of a tool.
pub struct Call<'a> {
    /// The tool.
    pub tool: &'a Tool,
    /// Its arguments, a JSON object.
    pub arguments: &'a str,
    /// Equal for all attempts at the same work; the server is told it.
    pub idempotency_key: Option<&'a str>,
    /// Where its progress is told.
    pub progress: Tell,
    /// Until when it is waited for.
    pub until: Instant,
    /// Largest output, bytes.
    pub output_bytes_max: u64,
}

/// A connection to a server that is ready.
pub struct Link {
    line: Line,
    mask: Option<Mask>,
    ids: AtomicU64,
    patience: Duration,
    /// Whether each request says what it needs by itself.
    modern: bool,
}

enum Line {
    Stdio(Stdio),
    Http(Http),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialized {
    protocol_version: String,
    #[serde(default)]
    capabilities: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Discovered {
    supported_versions: Vec<String>,
    #[serde(default)]
    capabilities: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    tools: Vec<Value>,
    next_cursor: Option<String>,
}

impl Link {
    /// Reaches a server and agrees on a version with it.
    ///
    /// # Errors
    /// What kept it from being ready, with the last words of a program.
    pub async fn open(server: &Server, around: &Surroundings) -> Result<Self, Fault> {
        server
            .check()
            .map_err(|error| Fault::NotSent(error.to_string()))?;
        let given = Given::new(server, &around.host);
        let mask = given.mask(&given.values());
        let around = Surroundings {
            host: Arc::new(given),
            ..around.clone()
        };
        let ready = Self::ready(server, &around, mask.clone()).await;
        ready.map_err(|fault| masked(mask.as_ref(), fault))
    }

    async fn ready(
        server: &Server,
        around: &Surroundings,
        mask: Option<Mask>,
    ) -> Result<Self, Fault> {
        let line = match server.is_program() {
            true => Line::Stdio(Stdio::open(server, around, mask.clone()).await?),
            false => Line::Http(Http::new(server, around, mask.clone())?),
        };
        let mut link = Self {
            line,
            mask,
            modern: false,
            ids: AtomicU64::new(1),
            patience: around.patience,
        };
        let mut ready = link.initialize().await;
        if let Err(Fault::Refused { .. }) = &ready {
            // It may know no `initialize` any more; its program may have ended over it.
            if let Line::Stdio(stdio) = &mut link.line {
                *stdio = Stdio::open(server, around, link.mask.clone()).await?;
            }
            ready = link.discover().await.or(ready);
        }
        match ready {
            Ok(()) => Ok(link),
            Err(fault) => Err(link.with_last_words(fault)),
        }
    }

    async fn initialize(&self) -> Result<(), Fault> {
        let until = Instant::now() + self.patience;
        let params = json!({
            "protocolVersion": VERSION,
            "capabilities": {},
            "clientInfo": client_info(),
        });
        let result = self.request("initialize", params, until).await?;
        let read: Initialized = serde_json::from_str(result.get()).map_err(|error| {
            Fault::Broken(format!("its answer to `initialize` is none ({error})"))
        })?;
        if !VERSIONS.contains(&read.protocol_version.as_str()) {
            return Err(Fault::Broken(format!(
                "it speaks version `{}` of the protocol, which is not understood here",
                text::line(&read.protocol_version)
            )));
        }
        has_tools(&read.capabilities)?;
        if let Line::Http(http) = &self.line {
            http.set_version(&read.protocol_version, false);
        }
        self.notify(rpc::notify("notifications/initialized", None))
            .await
    }

    async fn discover(&mut self) -> Result<(), Fault> {
        self.modern = true;
        if let Line::Http(http) = &self.line {
            http.set_version(MODERN, true);
        }
        let until = Instant::now() + self.patience;
        let result = self.request("server/discover", json!({}), until).await?;
        let read: Discovered = serde_json::from_str(result.get()).map_err(|error| {
            Fault::Broken(format!("its answer to `server/discover` is none ({error})"))
        })?;
        if !read
            .supported_versions
            .iter()
            .any(|version| version == MODERN)
        {
            return Err(Fault::Broken(
                "it speaks no version of the protocol that is understood here".to_owned(),
            ));
        }
        has_tools(&read.capabilities)
    }

    /// What a request says of itself in `_meta`.
    fn meta(&self) -> Value {
        match self.modern {
            false => json!({}),
            true => json!({
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": client_info(),
                "io.modelcontextprotocol/clientCapabilities": {},
            }),
        }
    }

    /// All its tools, judged; of those only the `tools` of the server that are named.
    ///
    /// # Errors
    /// [`Fault::Broken`] also where the list can't be taken.
    pub async fn tools(&self, server: &Server) -> Result<Vec<Tool>, Fault> {
        let listed = self
            .pages()
            .await
            .map_err(|fault| self.with_last_words(fault))
            .and_then(|listed| tool::judge(listed, server.tools.as_ref()).map_err(Fault::Broken));
        listed.map_err(|fault| masked(self.mask.as_ref(), fault))
    }

    /// The same, to be pinned: each of the `tools` of the server must be there.
    ///
    /// # Errors
    /// As [`Link::tools`]; besides, the first that is not.
    pub async fn all_tools(&self, server: &Server) -> Result<Vec<Tool>, Fault> {
        let tools = self.tools(server).await?;
        tool::check_all(&tools, server.tools.as_ref()).map_err(Fault::Broken)?;
        Ok(tools)
    }

    async fn pages(&self) -> Result<Vec<Value>, Fault> {
        let until = Instant::now() + self.patience;
        let (mut listed, mut bytes) = (Vec::new(), 0);
        let mut cursors = HashSet::new();
        let mut params = json!({});
        for _ in 0..PAGES_MAX {
            let result = self.request("tools/list", params, until).await?;
            bytes += result.get().len();
            let page: Page = serde_json::from_str(result.get())
                .map_err(|error| Fault::Broken(format!("its list of tools is none ({error})")))?;
            listed.extend(page.tools);
            if listed.len() > TOOLS_MAX || bytes > LIST_BYTES_MAX {
                return Err(Fault::Broken(format!(
                    "it lists more than {TOOLS_MAX} tools, or too large ones"
                )));
            }
            let Some(cursor) = page.next_cursor else {
                return Ok(listed);
            };
            params = json!({ "cursor": cursor });
            if !cursors.insert(cursor) {
                break;
            }
        }
        Err(Fault::Broken("its list of tools does not end".to_owned()))
    }

    /// Calls a tool. Dropping the future takes the call back.
    ///
    /// # Errors
    /// What became of it.
    pub async fn call(&self, call: Call<'_>) -> Result<Output, Fault> {
        let called = self.called(call).await;
        called.map_err(|fault| masked(self.mask.as_ref(), fault))
    }

    async fn called(&self, call: Call<'_>) -> Result<Output, Fault> {
        let id = self.next_id();
        let mut meta = self.meta();
        meta["progressToken"] = Value::from(id);
        if let Some(key) = call.idempotency_key {
            meta["airlock/idempotency-key"] = Value::from(key);
        }
        let line = rpc::call(id, &call.tool.name, &one_line(call.arguments), &meta);
        let progress = Some(call.progress);
        let result = match &self.line {
            Line::Stdio(stdio) => stdio.request(id, line, progress, call.until).await,
            Line::Http(http) => {
                let asked = Asked::new("tools/call", Some(&call.tool.name));
                http.request(id, asked, line, progress, call.until).await
            }
        }?;
        output::read(
            &result,
            call.tool.output_schema.as_ref(),
            call.output_bytes_max,
        )
    }

    /// Ends the connection: a program ends with all its calls, over HTTP no other one
    /// begins.
    pub fn close(&self) {
        match &self.line {
            Line::Stdio(stdio) => stdio.close(),
            Line::Http(http) => http.close(),
        }
    }

    /// Why there is no connection any more.
    #[must_use]
    pub fn closed(&self) -> Option<String> {
        match &self.line {
            Line::Stdio(stdio) => stdio.closed(),
            Line::Http(http) => http.closed(),
        }
    }

    /// Whether the server said that its tools changed, since this was last asked.
    #[must_use]
    pub fn take_changed(&self) -> bool {
        match &self.line {
            Line::Stdio(stdio) => stdio.take_changed(),
            Line::Http(http) => http.take_changed(),
        }
    }

    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    async fn request(
        &self,
        method: &str,
        mut params: Value,
        until: Instant,
    ) -> Result<Box<RawValue>, Fault> {
        let id = self.next_id();
        if self.modern {
            params["_meta"] = self.meta();
        }
        let line = rpc::request(id, method, &params);
        match &self.line {
            Line::Stdio(stdio) => stdio.request(id, line, None, until).await,
            Line::Http(http) => {
                let asked = Asked::new(method, None);
                http.request(id, asked, line, None, until).await
            }
        }
    }

    async fn notify(&self, line: String) -> Result<(), Fault> {
        match &self.line {
            Line::Stdio(stdio) => {
                let told = timeout(self.patience, stdio.notify(line)).await;
                told.unwrap_or_else(|_| Err(Fault::NotSent("it does not read".to_owned())))
            }
            Line::Http(http) => http.notify(line).await,
        }
    }

    fn with_last_words(&self, fault: Fault) -> Fault {
        let Line::Stdio(stdio) = &self.line else {
            return fault;
        };
        let words = stdio.last_words();
        match words.is_empty() {
            true => fault,
            false => Fault::NotSent(format!("{fault}; it wrote: {words}")),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

fn masked(mask: Option<&Mask>, fault: Fault) -> Fault {
    fault.told(|words| text::masked(mask, &words).into_owned())
}

fn client_info() -> Value {
    json!({ "name": "airlock", "version": env!("CARGO_PKG_VERSION") })
}

fn has_tools(capabilities: &Value) -> Result<(), Fault> {
    match capabilities["tools"].is_object() {
        true => Ok(()),
        false => Err(Fault::Broken("it offers no tools".to_owned())),
    }
}

/// JSON without line ends, which are not in its texts: a message is a line.
fn one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}
