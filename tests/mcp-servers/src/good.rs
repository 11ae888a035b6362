//! A server by `rmcp`, as others write them. What it keeps lies in the folder it is
//! started in.

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, JsonObject,
    ListToolsResult, PaginatedRequestParams, ProgressNotificationParam, ProtocolVersion,
    ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::{RequestContext, serve_server};
use rmcp::transport::streamable_http_server::StreamableHttpServerConfig;
use rmcp::transport::streamable_http_server::StreamableHttpService;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};

/// The file whose text is the description of `echo`.
const DESCRIPTION: &str = "description";

#[derive(Clone)]
struct Good {
    /// It knows the version without `initialize` alone.
    modern: bool,
}

pub fn serve(over_http: bool, modern: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        match over_http {
            true => http(modern).await,
            false => {
                let streams = (tokio::io::stdin(), tokio::io::stdout());
                let service = serve_server(Good { modern }, streams)
                    .await
                    .expect("begins");
                let _ = service.waiting().await;
            }
        }
    });
}

async fn http(modern: bool) {
    let config = StreamableHttpServerConfig::default();
    let sessions = Arc::new(LocalSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(Good { modern }), sessions, config);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    println!("http://{address}/mcp");
    let router = axum::Router::new().nest_service("/mcp", service);
    axum::serve(listener, router).await.expect("serves");
}

fn tool(name: &'static str, description: String, members: Value) -> Tool {
    let schema = json!({ "type": "object", "properties": members });
    Tool::new(name, description, object(schema))
}

fn object(value: Value) -> JsonObject {
    value.as_object().cloned().unwrap_or_default()
}

fn tools() -> Vec<Tool> {
    let echo =
        std::fs::read_to_string(DESCRIPTION).unwrap_or_else(|_| "Gives back its text".to_owned());
    let text = json!({ "type": "string" });
    let mut add = tool(
        "add",
        "Adds".to_owned(),
        json!({ "a": { "type": "number" }, "b": { "type": "number" } }),
    );
    let sum = json!({ "type": "object", "properties": { "sum": { "type": "number" } }, "required": ["sum"] });
    add.output_schema = Some(Arc::new(object(sum)));
    add.annotations = Some(ToolAnnotations::new().read_only(true));
    let plain = |name, members| tool(name, format!("Does `{name}`"), members);
    let mut all = vec![
        tool("echo", echo, json!({ "text": text })),
        add,
        plain("count", json!({})),
        plain("Größe 1", json!({ "text": text })),
        plain("wait", json!({ "ms": { "type": "integer" } })),
        plain("environment", json!({})),
        plain("look", json!({ "path": text })),
        plain("put", json!({ "path": text })),
        plain("connect", json!({ "address": text })),
        plain("kill", json!({ "pid": { "type": "integer" } })),
        plain("renew", json!({ "text": text })),
        plain("authorization", json!({})),
        plain("fail", json!({})),
        plain("die", json!({})),
        plain("big", json!({ "bytes": { "type": "integer" } })),
    ];
    if std::path::Path::new("without-count").exists() {
        all.retain(|tool| tool.name != "count");
    }
    all
}

impl ServerHandler for Good {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .build();
        ServerConfig::new(capabilities)
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        match self.modern {
            true => Cow::Borrowed(&[ProtocolVersion::V_2026_07_28]),
            false => Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS),
        }
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let given = Value::Object(request.arguments.unwrap_or_default());
        let text = |name: &str| given[name].as_str().unwrap_or_default().to_owned();
        let said = match &*request.name {
            "echo" | "Größe 1" => Ok(text("text")),
            "add" => {
                let number = |name: &str| given[name].as_f64().unwrap_or_default();
                let sum = json!({ "sum": number("a") + number("b") });
                return Ok(CallToolResult::structured(sum).into());
            }
            "count" => count(),
            "wait" => wait(given["ms"].as_u64().unwrap_or_default(), &context).await,
            "environment" => Ok(format!("{:?}", std::env::vars().collect::<Vec<_>>())),
            "look" => std::fs::read(text("path"))
                .map(|bytes| format!("{} bytes", bytes.len()))
                .map_err(|error| error.to_string()),
            "put" => std::fs::write(text("path"), "x")
                .map(|()| "written".to_owned())
                .map_err(|error| error.to_string()),
            "connect" => std::net::TcpStream::connect(text("address"))
                .map(|_| "connected".to_owned())
                .map_err(|error| error.to_string()),
            "kill" => kill(given["pid"].as_i64().unwrap_or_default()),
            "renew" => {
                std::fs::write(DESCRIPTION, text("text")).expect("written");
                let _ = context.peer.notify_tool_list_changed().await;
                Ok("renewed".to_owned())
            }
            "authorization" => Ok(authorization(&context)),
            "fail" => Err("it can't be done".to_owned()),
            "die" => std::process::exit(3),
            "big" => Ok("x".repeat(given["bytes"].as_u64().unwrap_or_default() as usize)),
            other => return Err(ErrorData::invalid_params(format!("no tool {other}"), None)),
        };
        Ok(match said {
            Ok(text) => CallToolResult::success(vec![ContentBlock::text(text)]),
            Err(text) => CallToolResult::error(vec![ContentBlock::text(text)]),
        }
        .into())
    }
}

/// What the request over HTTP carried.
fn authorization(context: &RequestContext<RoleServer>) -> String {
    let parts = context.extensions.get::<axum::http::request::Parts>();
    let header = parts.and_then(|parts| parts.headers.get("authorization"));
    let text = header.and_then(|header| header.to_str().ok());
    text.unwrap_or("nothing").to_owned()
}

/// An effect: one more line.
fn count() -> Result<String, String> {
    let file = OpenOptions::new().create(true).append(true).open("counted");
    let written = file.and_then(|mut file| file.write_all(b"one\n"));
    written.map_err(|error| error.to_string())?;
    let all = std::fs::read_to_string("counted").map_err(|error| error.to_string())?;
    Ok(all.lines().count().to_string())
}

async fn wait(ms: u64, context: &RequestContext<RoleServer>) -> Result<String, String> {
    std::fs::write("began", "").map_err(|error| error.to_string())?;
    let steps = ms.div_ceil(20);
    for step in 0..steps {
        tokio::select! {
            () = context.ct.cancelled() => {
                std::fs::write("cancelled", "").map_err(|error| error.to_string())?;
                return Err("cancelled".to_owned());
            }
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        if let Some(token) = context.meta.get_progress_token() {
            let told = ProgressNotificationParam::new(token, step as f64).with_message("a\nb");
            let _ = context.peer.notify_progress(told).await;
        }
    }
    Ok("waited".to_owned())
}

/// What the shell would do.
fn kill(pid: i64) -> Result<String, String> {
    let ended = std::process::Command::new("/bin/sh")
        .args(["-c", &format!("kill -0 {pid}")])
        .output()
        .map_err(|error| error.to_string())?;
    match ended.status.success() {
        true => Ok("could".to_owned()),
        false => Err(String::from_utf8_lossy(&ended.stderr).into_owned()),
    }
}
