//! Around the job: install and grant before it, look at the books after it.

use airlock::client::Request;
use airlock::output::cell;
use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::page::Page;
use crate::{PLUGINS, Stage};

pub(crate) fn install(stage: &Stage, page: &mut Page) -> Result<()> {
    page.step("Install five plugins with tools and an agent. Each is a WebAssembly component; nothing is granted yet.");
    let api = stage.server()?.api();
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

pub(crate) fn show_usage(stage: &Stage, page: &mut Page) -> Result<()> {
    page.step("Which plugin used which capability (airlock views usage):");
    let usage = stage.server()?.api().get("/v1/usage")?;
    page.line(&airlock::commands::usage_text(&usage));
    Ok(())
}

pub(crate) fn verify_audit(stage: &Stage, page: &mut Page) -> Result<()> {
    page.step("The audit: every call, denial and grant, in a signed chain (airlock audit verify)");
    let request = Request::json("POST", "/v1/audit/verify", &json!({}));
    let report: Value = stage.server()?.api().value(&request)?;
    anyhow::ensure!(report["ok"] == true, "the audit does not verify: {report}");
    page.line(&format!(
        "whole: {} records, chain hash {}",
        cell(&report, "len"),
        cell(&report, "hash")
    ));
    Ok(())
}
