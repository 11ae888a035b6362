//! What the plugins are refused.

use airlock::client::Request;
use anyhow::Result;
use serde_json::{Value, json};

use crate::Stage;
use crate::page::Page;

pub(crate) fn show(stage: &Stage, page: &mut Page) -> Result<()> {
    page.step("The same plugins, asked for what they were not granted:");
    refused(
        stage,
        page,
        "files/read",
        &json!({ "path": "/etc/passwd" }),
        "denied",
    )?;
    let metadata = json!({ "url": "http://169.254.169.254/latest/meta-data/" });
    refused(stage, page, "fetch/get", &metadata, "denied")?;
    let endless = json!({ "code": "for (;;) {}" });
    refused(stage, page, "javascript/run", &endless, "limit")
}

/// Calls a tool that must fail with `code`, and prints the problem.
fn refused(stage: &Stage, page: &mut Page, tool: &str, input: &Value, code: &str) -> Result<()> {
    let request = Request::json("POST", format!("/v1/tools/{tool}"), input);
    let reply = stage.server()?.api().send(&request)?;
    let problem: Value = serde_json::from_slice(&reply.body)?;
    page.line(&format!("{tool} {input}"));
    page.line(&format!(
        "   {} {}: {}",
        reply.status, problem["code"], problem["detail"]
    ));
    anyhow::ensure!(problem["code"] == code, "expected `{code}`, got {problem}");
    Ok(())
}
