//! The job: install, grant, fetch, query, report.

use airlock::client::{Request, encode};
use airlock::output::{cell, table};
use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::page::Page;
use crate::{PLUGINS, Stage};

/// What is wrong with an invoice line, in SQL over the two tables.
const FINDINGS: &str = "
    SELECT i.invoice, i.date, i.supplier, i.contract_id, i.total, i.currency,
        CASE
            WHEN c.contract_id IS NULL THEN 'no such contract'
            WHEN i.currency <> c.currency THEN 'wrong currency'
            WHEN i.date > c.valid_to THEN 'contract expired'
            WHEN i.unit_price > c.unit_price THEN 'price above contract'
            WHEN i.quantity > c.max_quantity THEN 'quantity above contract'
            ELSE 'total is not quantity x price'
        END AS finding
    FROM invoices i LEFT JOIN contracts c ON i.contract_id = c.contract_id
    WHERE c.contract_id IS NULL OR i.currency <> c.currency OR i.date > c.valid_to
        OR i.unit_price > c.unit_price OR i.quantity > c.max_quantity
        OR i.total - i.quantity * i.unit_price > 0.01
        OR i.quantity * i.unit_price - i.total > 0.01
    ORDER BY i.invoice";

const TWICE: &str = "
    SELECT invoice, supplier, COUNT(*) AS times FROM invoices
    GROUP BY invoice, supplier HAVING COUNT(*) > 1 ORDER BY invoice";

impl Stage {
    /// Calls a tool over HTTP and returns the whole reply.
    pub(crate) fn call(&self, plugin: &str, tool: &str, input: &Value) -> Result<Value> {
        let path = format!("/v1/tools/{}/{}", encode(plugin), encode(tool));
        let request = Request::json("POST", path, input);
        self.server
            .api()
            .value(&request)
            .with_context(|| format!("calling {plugin}/{tool}"))
    }
}

pub(crate) fn install(stage: &Stage, page: &mut Page) -> Result<()> {
    page.step("Install five plugins. Each is a WebAssembly component; nothing is granted yet.");
    let api = stage.server.api();
    for (name, package) in PLUGINS {
        let file = stage
            .components
            .join(format!("{}.wasm", package.replace('-', "_")));
        let bytes = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        let size = bytes.len();
        let installed = airlock::commands::install(&api, name, bytes, None)?;
        let digest: String = cell(&installed, "digest").chars().take(19).collect();
        page.line(&format!("{name:<11} {digest}…  {:>5} KiB", size / 1024));
    }
    page.step("Grant each the least it needs, from a policy file:");
    let policy = stage.policy();
    let shown = policy.lines().filter(|line| !line.is_empty());
    page.line(
        &shown
            .map(|line| line.replace(&stage.invoices.display().to_string(), "…/demo/invoices"))
            .collect::<Vec<_>>()
            .join("\n"),
    );
    let request = Request::bytes(
        "POST",
        "/v1/policy/apply?why=demo",
        "application/toml",
        policy.into_bytes(),
    );
    api.value::<Value>(&request)
        .context("applying the policy")?;
    Ok(())
}

pub(crate) fn reconcile(stage: &Stage, page: &mut Page) -> Result<()> {
    page.step("Do the job over HTTP: POST /v1/tools/{plugin}/{tool}");
    let listing = stage.call("files", "list", &json!({ "path": "/invoices" }))?;
    let entries = listing["output"]["entries"].as_array().map_or(0, Vec::len);
    page.line(&format!("files/list    {entries} files under /invoices"));

    let url = format!("{}/v1/contracts", stage.contracts.base());
    let fetched = stage.call("fetch", "get", &json!({ "url": url }))?;
    let contracts = fetched["output"]["json"].clone();
    let count = contracts.as_array().map_or(0, Vec::len);
    page.line(&format!("fetch/get     {count} contracts from {url}"));

    let tables = json!({ "invoices": { "path": "/invoices" }, "contracts": { "json": contracts } });
    let found = stage.call(
        "table",
        "query",
        &json!({ "sql": FINDINGS, "tables": tables, "markdown": true }),
    )?;
    let twice = stage.call(
        "table",
        "query",
        &json!({ "sql": TWICE, "tables": tables, "markdown": true }),
    )?;
    let (wrong, doubled) = (&found["output"], &twice["output"]);
    page.line(&format!(
        "table/query   {} lines disagree with their contract",
        wrong["row_count"]
    ));
    page.line(&format!(
        "table/query   {} invoices are booked twice",
        doubled["row_count"]
    ));
    page.line(&sample(wrong));

    let markdown = format!(
        "# Invoices against contracts\n\n{} lines disagree with their contract.\n\n{}\n\n## Booked twice\n\n{}\n",
        wrong["row_count"],
        cell(wrong, "markdown"),
        cell(doubled, "markdown")
    );
    let rendered = stage.call(
        "report",
        "render",
        &json!({ "markdown": markdown, "title": "Invoices" }),
    )?;
    let html = cell(&rendered["output"], "html");
    let written = stage.call(
        "files",
        "write",
        &json!({ "path": "/out/report.html", "content": html }),
    )?;
    page.line(&format!(
        "files/write   /out/report.html, {} bytes",
        cell(&written["output"], "size")
    ));
    check(stage, wrong, doubled, &html)
}

/// The demo ends with an error when the result is not right: the input has 24
/// lines that disagree and 2 invoices booked twice.
fn check(stage: &Stage, wrong: &Value, doubled: &Value, html: &str) -> Result<()> {
    anyhow::ensure!(
        wrong["row_count"] == 24,
        "expected 24 findings, got {}",
        wrong["row_count"]
    );
    anyhow::ensure!(
        doubled["row_count"] == 2,
        "expected 2 doubled invoices, got {}",
        doubled["row_count"]
    );
    let kept = std::fs::read_to_string(stage.out.join("report.html"))
        .context("reading the report back")?;
    anyhow::ensure!(
        kept == html,
        "the report on disk is not the one that was rendered"
    );
    Ok(())
}

fn sample(answer: &Value) -> String {
    let fields = ["invoice", "date", "supplier", "contract_id", "finding"];
    let rows = airlock::output::rows(&answer["rows"], &fields);
    table(
        &["INVOICE", "DATE", "SUPPLIER", "CONTRACT", "FINDING"],
        &rows[..rows.len().min(6)],
    )
}

pub(crate) fn show_usage(stage: &Stage, page: &mut Page) -> Result<()> {
    page.step("Which plugin used which capability (airlock views usage):");
    let usage = stage.server.api().get("/v1/usage")?;
    page.line(&airlock::commands::usage_text(&usage));
    Ok(())
}

pub(crate) fn verify_audit(stage: &Stage, page: &mut Page) -> Result<()> {
    page.step("The audit: every call, denial and grant, in a signed chain (airlock audit verify)");
    let request = Request::json("POST", "/v1/audit/verify", &json!({}));
    let report: Value = stage.server.api().value(&request)?;
    anyhow::ensure!(report["ok"] == true, "the audit does not verify: {report}");
    page.line(&format!(
        "whole: {} records, chain hash {}",
        cell(&report, "len"),
        cell(&report, "hash")
    ));
    Ok(())
}
