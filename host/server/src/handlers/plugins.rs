//! Plugins and their versions.

use airlock_runtime::{
    ActivateRequest, InstallRequest, InstallServer, Operation, OperationState, PluginSummary,
    Problem,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dispatch::Call;
use crate::reply::{JSON, Refusal, Reply};

/// Plugins.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PluginList {
    plugins: Vec<PluginSummary>,
}

/// Which version.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VersionQuery {
    /// `sha256:…` of an installed version; the active one where nothing is said.
    #[serde(default)]
    digest: Option<String>,
}

/// How to install.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InstallQuery {
    /// The plugin's name.
    name: String,
    /// Reply when it is done, instead of 202 at once.
    #[serde(default)]
    wait: bool,
    /// Make it the active version, also in place of another.
    #[serde(default)]
    activate: bool,
    /// Only check it, and say what it would change: nothing is installed.
    #[serde(default)]
    check: bool,
    /// `sha256:…` that the component must have.
    #[serde(default)]
    digest: Option<String>,
    /// Why, for the audit.
    #[serde(default)]
    why: String,
}

/// Whether to wait.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitQuery {
    /// Reply when it is done, instead of 202 at once.
    #[serde(default)]
    wait: bool,
}

/// How to remove.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemoveQuery {
    /// Leave what it kept in `kv` for a later plugin of the same name.
    #[serde(default)]
    keep_data: bool,
    /// Why, for the audit.
    #[serde(default)]
    why: String,
}

/// A reason.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhyQuery {
    /// Why, for the audit.
    #[serde(default)]
    pub(crate) why: String,
}

pub(crate) async fn list(call: Call) -> Result<Reply, Refusal> {
    let plugins = call.runtime().plugins(&call.who).await;
    Reply::json(&PluginList { plugins })
}

pub(crate) async fn show(call: Call) -> Result<Reply, Refusal> {
    let query: VersionQuery = call.query()?;
    let digest = query.digest.as_deref();
    let plugin = call
        .runtime()
        .plugin(&call.who, call.param("plugin"), digest)
        .await?;
    Reply::json(&plugin)
}

pub(crate) async fn install(call: Call) -> Result<Reply, Refusal> {
    let query: InstallQuery = call.query()?;
    let request = InstallRequest {
        name: query.name,
        component: call.body.clone(),
        digest: query.digest,
        activate: query.activate,
        check: query.check,
        why: query.why,
    };
    let operation = call.runtime().install(&call.who, request)?;
    begun(&call, operation, query.wait).await
}

pub(crate) async fn install_server(call: Call) -> Result<Reply, Refusal> {
    let query: WaitQuery = call.query()?;
    let request: InstallServer = call.json()?;
    let plugin = call.param("plugin");
    let runtime = call.runtime();
    let operation = runtime.install_server(&call.who, plugin, request).await?;
    begun(&call, operation, query.wait).await
}

/// As it was pinned: its digest is that of these bytes.
pub(crate) async fn server_document(call: Call) -> Result<Reply, Refusal> {
    let plugin = call.param("plugin");
    let document = call.runtime().server_document(&call.who, plugin).await?;
    Ok(Reply::bytes(200, JSON, document))
}

async fn begun(call: &Call, mut operation: Operation, wait: bool) -> Result<Reply, Refusal> {
    if wait {
        operation = call
            .runtime()
            .wait_operation(&call.who, &operation.id)
            .await?;
    }
    let location = format!("/v1/operations/{}", operation.id);
    let reply = match operation.state {
        OperationState::Queued | OperationState::Running => Reply::json_as(202, &operation)?,
        OperationState::Succeeded => Reply::json_as(201, &operation)?,
        OperationState::Failed => return Err(failed(operation.problem, &operation.id)),
    };
    Ok(Reply {
        location: Some(location),
        ..reply
    })
}

fn failed(problem: Option<Problem>, id: &str) -> Refusal {
    let problem = problem.unwrap_or_else(|| Problem::new(500, "internal", "the install failed"));
    Refusal(Box::new(problem.with("operation", id)))
}

pub(crate) async fn activate(call: Call) -> Result<Reply, Refusal> {
    let request: ActivateRequest = call.json()?;
    let installed = call
        .runtime()
        .activate(&call.who, call.param("plugin"), &request)
        .await?;
    Reply::json(&installed)
}

pub(crate) async fn remove(call: Call) -> Result<Reply, Refusal> {
    let query: RemoveQuery = call.query()?;
    let plugin = call.param("plugin");
    let removed = call
        .runtime()
        .remove_plugin(&call.who, plugin, query.keep_data, &query.why)
        .await?;
    Reply::json(&removed)
}
