//! A tool's call over the Model Context Protocol, beside the same call over `/v1`.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::Bench;
use crate::http::{Contender, address_of, start_airlock};
use crate::load::{Connection, Request};

/// The version that needs no session.
const PROTOCOL: &str = "2026-07-28";

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let data = tempfile::tempdir()?;
    let (server, plain) = start_airlock(bench, &data.path().join("data"))?;
    let call = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {
            "name": "echo__echo",
            "arguments": { "message": "hello" },
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": PROTOCOL,
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    });
    let headers = [
        ("authorization", format!("Bearer {}", server.token())),
        ("accept", "application/json, text/event-stream".to_owned()),
        ("mcp-protocol-version", PROTOCOL.to_owned()),
        ("mcp-method", "tools/call".to_owned()),
        ("mcp-name", "echo__echo".to_owned()),
    ];
    let mcp = Request::post_with(address_of(&server)?, "/mcp", &headers, &call.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    // A call that failed would be answered with 200 too.
    let said = runtime.block_on(async {
        let mut connection = Connection::open(mcp.address).await?;
        let (_, body) = connection.exchange(&mcp).await?;
        anyhow::Ok(String::from_utf8_lossy(body).into_owned())
    })?;
    let echoed = said.contains("hello") && !said.contains("\"isError\":true");
    anyhow::ensure!(echoed, "over MCP: {said}");
    println!("requests of version {PROTOCOL}, which needs no session");
    let mut contenders = [plain, mcp].map(|request| Contender::new(request, server.pid()));
    let time = Duration::from_millis(if bench.quick { 100 } else { 1500 });
    for connections in [1, 16, 64] {
        for _ in 0..bench.times(100).min(5) {
            for contender in &mut contenders {
                runtime.block_on(contender.round(connections, time))?;
            }
        }
        let [plain, mcp] = contenders.each_mut().map(Contender::take);
        println!(
            "{connections:>3} connections: /v1 {:>6.0}/s, /mcp {:>6.0}/s: {:.2}x the time (target 1.3x); CPU of the server per call {:.0} µs, {:.0} µs",
            plain.0,
            mcp.0,
            plain.0 / mcp.0,
            plain.1,
            mcp.1
        );
    }
    Ok(())
}
