//! All routes: path, who may, what goes in, what comes out. The router, the
//! authorization and the OpenAPI document are made from this table alone.

use std::future::Future;
use std::pin::Pin;

use airlock_runtime::Role::{self, Approver, Caller, Operator, Viewer};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::dispatch::Call;
use crate::handlers::{
    audit, backup, grants, health, hooks, mcp, memory, models, operations, plugins, policy, runs,
    schedules, secrets, tokens, tools, views,
};
use crate::reply::{Refusal, Reply};

pub(crate) type Handled = Pin<Box<dyn Future<Output = Result<Reply, Refusal>> + Send>>;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody, without a token.
    Public,
    /// Whoever signs the request, without a token: its handler checks that.
    Signed,
    /// A token with one of the roles, or an administrator's; what is outside its
    /// scope is left out of the reply.
    Roles(&'static [Role]),
    /// The same, and the path's `plugin` must be inside its scope.
    Plugin(&'static [Role]),
    /// The same, and the token must not be limited to some plugins.
    Host(&'static [Role]),
}

impl Access {
    /// The roles, `admin` apart, which may always.
    #[must_use]
    pub fn roles(self) -> &'static [Role] {
        match self {
            Self::Public | Self::Signed => &[],
            Self::Roles(roles) | Self::Plugin(roles) | Self::Host(roles) => roles,
        }
    }

    /// The roles of which a token has to have one, e.g. `caller, operator or admin`.
    #[must_use]
    pub fn named(self) -> String {
        let roles = self.roles().iter().map(|role| role.name());
        let roles: Vec<&str> = roles.collect();
        match roles.is_empty() {
            true => "admin".to_owned(),
            false => format!("{} or admin", roles.join(", ")),
        }
    }
}

/// What a route takes as its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Nothing,
    /// JSON that may be left out.
    OptionalJson,
    Json,
    /// JSON with chunks of files.
    Chunks,
    /// What another service sends.
    Delivery,
    /// A tool's input; its plugin's `input` limit holds.
    Input,
    /// A component.
    Component,
    /// A message of the Model Context Protocol.
    Message,
    /// A secret's value.
    Value,
    /// A policy, as JSON or as TOML.
    Policy,
}

pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One route.
pub struct Route {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// With `{parameters}`.
    pub path: &'static str,
    /// Who may.
    pub access: Access,
    /// One line.
    pub summary: &'static str,
    /// It acts, and so takes an `Idempotency-Key`.
    pub(crate) once: bool,
    pub(crate) takes: Takes,
    /// It answers with server-sent events where `Accept` asks for them.
    pub(crate) tells: bool,
    pub(crate) query: Option<SchemaOf>,
    pub(crate) body: Option<SchemaOf>,
    pub(crate) replies: &'static [(u16, Option<SchemaOf>)],
    pub(crate) handler: fn(Call) -> Handled,
}

impl Route {
    /// Whether it changes something of the host's own. A call of a tool does
    /// not: it ends when its caller leaves. Of messages, those that do see to it.
    pub(crate) fn changes(&self) -> bool {
        self.method != "GET" && !matches!(self.takes, Takes::Input | Takes::Message)
    }
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

macro_rules! route {
    ($method:literal $path:literal $access:expr, $summary:literal, $handler:path $(, $field:ident: $value:expr)* $(,)?) => {
        Route {
            method: $method,
            path: $path,
            access: $access,
            summary: $summary,
            handler: |call| Box::pin($handler(call)),
            $($field: $value,)*
            ..BLANK
        }
    };
}

const BLANK: Route = Route {
    method: "GET",
    path: "/",
    access: Access::Host(&[]),
    summary: "",
    once: false,
    takes: Takes::Nothing,
    tells: false,
    query: None,
    body: None,
    replies: &[(204, None)],
    handler: |call| Box::pin(health::healthz(call)),
};

const EVERYBODY: &[Role] = &[Viewer, Caller, Operator, Approver];
const READERS: &[Role] = &[Viewer, Operator];
const ADMIN: &[Role] = &[];

/// The table.
pub static ROUTES: &[Route] = &[
    route!("GET" "/healthz" Access::Public, "Whether the process answers", health::healthz, replies: &[(200, Some(of::<health::Health>))]),
    route!("GET" "/readyz" Access::Public, "Whether it takes work", health::readyz, replies: &[(200, Some(of::<health::Health>))]),
    route!("GET" "/openapi.json" Access::Public, "This document", health::openapi, replies: &[(200, None)]),
    route!("GET" "/metrics" Access::Host(READERS), "Figures for Prometheus", health::metrics, replies: &[(200, None)]),
    route!("POST" "/mcp" Access::Roles(EVERYBODY), "A message of the Model Context Protocol: the tools, agents and runs that the token may use", mcp::post, takes: Takes::Message, tells: true, replies: &[(200, None), (202, None)]),
    route!("GET" "/mcp" Access::Roles(EVERYBODY), "What the server says in a session of the Model Context Protocol", mcp::get, tells: true, replies: &[(200, None)]),
    route!("DELETE" "/mcp" Access::Roles(EVERYBODY), "End a session of the Model Context Protocol", mcp::delete, replies: &[(202, None)]),
    route!("GET" "/v1/whoami" Access::Roles(EVERYBODY), "Who the token is", tokens::whoami, replies: &[(200, Some(of::<tokens::Whoami<'_>>))]),
    route!("GET" "/v1/capabilities" Access::Roles(EVERYBODY), "What can be granted, with JSON Schemas", grants::capabilities, replies: &[(200, Some(of::<airlock_runtime::Capabilities>))]),
    route!("GET" "/v1/tools" Access::Roles(&[Viewer, Caller, Operator]), "Tools with their schemas", tools::list, replies: &[(200, Some(of::<tools::ToolList>))]),
    route!("POST" "/v1/tools/{plugin}/{tool}" Access::Plugin(&[Caller]), "Call a tool: the body is its input. With `Accept: text/event-stream`, its progress comes as events before the result", tools::call, takes: Takes::Input, tells: true, query: Some(of::<tools::CallQuery>), body: Some(of::<serde_json::Value>), replies: &[(200, Some(of::<tools::CallReply>))]),
    route!("GET" "/v1/plugins" Access::Roles(READERS), "Installed plugins", plugins::list, replies: &[(200, Some(of::<plugins::PluginList>))]),
    route!("POST" "/v1/plugins" Access::Roles(&[Operator]), "Install a component as a version of a plugin", plugins::install, once: true, takes: Takes::Component, query: Some(of::<plugins::InstallQuery>), replies: &[(202, Some(of::<airlock_runtime::Operation>)), (201, Some(of::<airlock_runtime::Operation>))]),
    route!("GET" "/v1/plugins/{plugin}" Access::Plugin(READERS), "A plugin: versions, tools, what it asks for beside what is granted", plugins::show, query: Some(of::<plugins::VersionQuery>), replies: &[(200, Some(of::<airlock_runtime::PluginDetail>))]),
    route!("DELETE" "/v1/plugins/{plugin}" Access::Plugin(ADMIN), "Remove a plugin, what is granted to it and what it kept", plugins::remove, query: Some(of::<plugins::RemoveQuery>), replies: &[(200, Some(of::<airlock_runtime::Removed>))]),
    route!("POST" "/v1/plugins/{plugin}/activate" Access::Plugin(ADMIN), "Make an installed version the active one", plugins::activate, once: true, takes: Takes::Json, body: Some(of::<airlock_runtime::ActivateRequest>), replies: &[(200, Some(of::<airlock_runtime::Installed>))]),
    route!("GET" "/v1/plugins/{plugin}/mcp" Access::Plugin(READERS), "An MCP server of others with its tools as they were pinned: a document that a policy's `source` may be", plugins::server_document, replies: &[(200, Some(of::<serde_json::Value>))]),
    route!("POST" "/v1/plugins/{plugin}/mcp" Access::Plugin(ADMIN), "Install an MCP server of others, which is not sandboxed, as a version of a plugin; or accept the tools that it lists now", plugins::install_server, once: true, takes: Takes::Json, query: Some(of::<plugins::WaitQuery>), body: Some(of::<airlock_runtime::InstallServer>), replies: &[(202, Some(of::<airlock_runtime::Operation>)), (201, Some(of::<airlock_runtime::Operation>))]),
    route!("GET" "/v1/plugins/{plugin}/grants" Access::Plugin(READERS), "What is granted, and the limits", grants::show, replies: &[(200, Some(of::<airlock_runtime::GrantsVersion>))]),
    route!("PUT" "/v1/plugins/{plugin}/grants" Access::Plugin(ADMIN), "Replace what is granted, and the limits", grants::set, takes: Takes::Json, body: Some(of::<airlock_runtime::GrantsUpdate>), replies: &[(200, Some(of::<airlock_runtime::GrantsVersion>))]),
    route!("DELETE" "/v1/plugins/{plugin}/grants" Access::Plugin(ADMIN), "Take everything away", grants::revoke, query: Some(of::<plugins::WhyQuery>), replies: &[(200, Some(of::<airlock_runtime::GrantsVersion>))]),
    route!("GET" "/v1/plugins/{plugin}/grants/history" Access::Plugin(READERS), "Earlier versions of the grants", grants::history, query: Some(of::<grants::HistoryQuery>), replies: &[(200, Some(of::<airlock_runtime::GrantsHistory>))]),
    route!("POST" "/v1/plugins/{plugin}/grants/rollback" Access::Plugin(ADMIN), "Go back to an earlier version", grants::rollback, once: true, takes: Takes::OptionalJson, body: Some(of::<airlock_runtime::RollbackRequest>), replies: &[(200, Some(of::<airlock_runtime::GrantsVersion>))]),
    route!("POST" "/v1/plugins/{plugin}/explain" Access::Plugin(READERS), "Whether an operation is allowed, and by which rule", grants::explain, takes: Takes::Json, body: Some(of::<airlock_runtime::ExplainRequest>), replies: &[(200, Some(of::<airlock_runtime::Explanation>))]),
    route!("POST" "/v1/policy/diff" Access::Roles(READERS), "What a policy would change", policy::diff, takes: Takes::Policy, body: Some(of::<airlock_runtime::Policy>), replies: &[(200, Some(of::<policy::Diff>))]),
    route!("POST" "/v1/policy/apply" Access::Roles(ADMIN), "Apply a policy", policy::apply, once: true, takes: Takes::Policy, query: Some(of::<airlock_runtime::ApplyPolicy>), body: Some(of::<airlock_runtime::Policy>), replies: &[(200, Some(of::<airlock_runtime::PolicyApplied>))]),
    route!("GET" "/v1/runs" Access::Roles(EVERYBODY), "Runs of agents, newest first", runs::list, query: Some(of::<airlock_runtime::RunsQuery>), replies: &[(200, Some(of::<airlock_runtime::RunsPage>))]),
    route!("GET" "/v1/runs/stats" Access::Roles(READERS), "How the runs of each agent went", runs::stats, replies: &[(200, Some(of::<runs::RunStats>))]),
    route!("POST" "/v1/runs" Access::Roles(&[Caller]), "Start a run of an agent", runs::start, once: true, takes: Takes::Json, query: Some(of::<runs::StartQuery>), body: Some(of::<airlock_runtime::StartRun>), replies: &[(201, Some(of::<airlock_runtime::RunView>)), (200, Some(of::<airlock_runtime::RunView>))]),
    route!("POST" "/v1/runs/prune" Access::Roles(ADMIN), "Remove ended runs for good", runs::prune, once: true, takes: Takes::Json, body: Some(of::<airlock_runtime::PruneRequest>), replies: &[(200, Some(of::<airlock_runtime::PrunedRuns>))]),
    route!("GET" "/v1/runs/{id}/export" Access::Roles(EVERYBODY), "A whole run as one document, with the hashes to check it", runs::export, replies: &[(200, None)]),
    route!("GET" "/v1/runs/{id}" Access::Roles(EVERYBODY), "A run: its plan, what it waits for, how it ended", runs::show, replies: &[(200, Some(of::<airlock_runtime::RunDetail>))]),
    route!("GET" "/v1/runs/{id}/events" Access::Roles(EVERYBODY), "A run's journal: a page of it, or, as events, each record as it is written, until the run has ended", runs::events, tells: true, query: Some(of::<runs::EventsQuery>), replies: &[(200, Some(of::<airlock_runtime::RunEvents>))]),
    route!("POST" "/v1/runs/{id}/cancel" Access::Roles(&[Caller, Operator]), "End a run: what is under way first", runs::cancel, once: true, takes: Takes::OptionalJson, body: Some(of::<runs::CancelRequest>), replies: &[(200, Some(of::<airlock_runtime::RunView>))]),
    route!("POST" "/v1/runs/{id}/pause" Access::Roles(&[Caller, Operator]), "Keep a run from going on; what is under way ends and is kept", runs::pause, once: true, replies: &[(200, Some(of::<airlock_runtime::RunView>))]),
    route!("POST" "/v1/runs/{id}/resume" Access::Roles(&[Caller, Operator]), "Let a run go on: a caller one that it started and paused itself, an operator any that is paused or blocked, saying what became of a call whose outcome was lost", runs::resume, once: true, takes: Takes::OptionalJson, body: Some(of::<airlock_runtime::Resume>), replies: &[(200, Some(of::<airlock_runtime::RunView>))]),
    route!("POST" "/v1/runs/{id}/signals/{name}" Access::Roles(&[Caller, Operator]), "Give a run a signal; it is kept until the agent waits for it", runs::signal, once: true, takes: Takes::OptionalJson, body: Some(of::<runs::SignalRequest>), replies: &[(200, Some(of::<airlock_runtime::RunView>))]),
    route!("POST" "/v1/runs/{id}/fork" Access::Roles(&[Caller]), "Begin a run at a step of another: what came before is taken from its journal. Another's run takes an operator's role too, a version that is not active an administrator's", runs::fork, once: true, takes: Takes::Json, body: Some(of::<airlock_runtime::ForkRun>), replies: &[(201, Some(of::<airlock_runtime::RunView>))]),
    route!("POST" "/v1/runs/{id}/replay" Access::Roles(&[Caller, Operator]), "Replay a run's journal against a version of its agent, without effects: where and how it would go another way", runs::replay, takes: Takes::OptionalJson, body: Some(of::<airlock_runtime::ReplayRun>), replies: &[(200, Some(of::<airlock_runtime::RunReplay>))]),
    route!("GET" "/v1/halt" Access::Host(READERS), "Whether everything stands still", runs::halted, replies: &[(200, Some(of::<airlock_runtime::HaltView>))]),
    route!("POST" "/v1/halt" Access::Host(&[Operator]), "The kill switch: no call starts, those in flight end, runs stand still, until it is lifted", runs::halt, takes: Takes::Json, body: Some(of::<airlock_runtime::HaltRequest>), replies: &[(200, Some(of::<airlock_runtime::HaltView>))]),
    route!("GET" "/v1/approvals" Access::Roles(&[Viewer, Operator, Approver]), "Questions that wait for a person, those the caller may decide or view, oldest first, at most 1,000: where there are more, as many of each run", runs::approvals, query: Some(of::<airlock_runtime::ApprovalsQuery>), replies: &[(200, Some(of::<airlock_runtime::ApprovalsPage>))]),
    route!("GET" "/v1/approvals/{id}" Access::Roles(&[Viewer, Operator, Approver]), "A question: what it is about, who decides it until when, who approved so far", runs::approval, replies: &[(200, Some(of::<airlock_runtime::ApprovalView>))]),
    route!("POST" "/v1/approvals/{id}" Access::Roles(&[Operator, Approver]), "Answer a question, once; it says which role may", runs::decide, once: true, takes: Takes::Json, body: Some(of::<airlock_runtime::Decide>), replies: &[(204, None)]),
    route!("GET" "/v1/schedules" Access::Roles(&[Viewer, Caller, Operator]), "Schedules, with their next due times", schedules::list, replies: &[(200, Some(of::<schedules::ScheduleList>))]),
    route!("POST" "/v1/schedules" Access::Roles(&[Caller]), "Make a schedule: it starts or signals runs in the name of whoever makes it", schedules::add, once: true, takes: Takes::Json, body: Some(of::<airlock_runtime::ScheduleRequest>), replies: &[(201, Some(of::<airlock_runtime::ScheduleView>))]),
    route!("GET" "/v1/schedules/{name}" Access::Roles(&[Viewer, Caller, Operator]), "A schedule: its next due times, what came of the latest", schedules::show, replies: &[(200, Some(of::<airlock_runtime::ScheduleView>))]),
    route!("PUT" "/v1/schedules/{name}" Access::Roles(&[Caller]), "Make or replace a schedule; it acts in the name of whoever did that last", schedules::set, takes: Takes::Json, body: Some(of::<airlock_runtime::ScheduleRequest>), replies: &[(200, Some(of::<airlock_runtime::ScheduleView>))]),
    route!("DELETE" "/v1/schedules/{name}" Access::Roles(&[Caller, Operator]), "Remove a schedule; runs that it started go on", schedules::remove),
    route!("POST" "/v1/schedules/{name}/pause" Access::Roles(&[Caller, Operator]), "Make a schedule stand still; what comes due meanwhile is not made up for", schedules::pause, once: true, replies: &[(200, Some(of::<airlock_runtime::ScheduleView>))]),
    route!("POST" "/v1/schedules/{name}/resume" Access::Roles(&[Caller, Operator]), "Let a schedule go on", schedules::resume, once: true, replies: &[(200, Some(of::<airlock_runtime::ScheduleView>))]),
    route!("GET" "/v1/hooks" Access::Roles(&[Operator]), "Webhooks, without their secrets", hooks::list, replies: &[(200, Some(of::<hooks::HookList>))]),
    route!("POST" "/v1/hooks" Access::Roles(ADMIN), "Make a webhook; a secret that is made for it is in this reply alone", hooks::add, once: true, takes: Takes::Json, body: Some(of::<airlock_runtime::HookRequest>), replies: &[(201, Some(of::<airlock_runtime::HookMade>))]),
    route!("POST" "/v1/hooks/{name}" Access::Signed, "A delivery: it starts a run or gives one a signal, once", hooks::deliver, takes: Takes::Delivery, replies: &[(202, Some(of::<airlock_runtime::Delivered>))]),
    route!("DELETE" "/v1/hooks/{name}" Access::Roles(ADMIN), "Remove a webhook; runs that it started go on", hooks::remove),
    route!("POST" "/v1/hooks/{name}/rotate" Access::Roles(ADMIN), "Give a webhook another secret; one that is made is in this reply alone", hooks::rotate, once: true, takes: Takes::OptionalJson, body: Some(of::<airlock_runtime::RotateHook>), replies: &[(200, Some(of::<airlock_runtime::HookMade>))]),
    route!("GET" "/v1/tokens" Access::Host(ADMIN), "Tokens, without their secrets", tokens::list, replies: &[(200, Some(of::<tokens::TokenList>))]),
    route!("POST" "/v1/tokens" Access::Host(ADMIN), "Make a token; its text is in this reply alone", tokens::create, once: true, takes: Takes::Json, body: Some(of::<airlock_runtime::TokenRequest>), replies: &[(201, Some(of::<airlock_runtime::NewToken>))]),
    route!("DELETE" "/v1/tokens/{id}" Access::Host(ADMIN), "Revoke a token", tokens::revoke, query: Some(of::<tokens::RevokeQuery>), replies: &[(200, Some(of::<airlock_runtime::RevokedToken>))]),
    route!("GET" "/v1/secrets" Access::Host(ADMIN), "Names of secrets", secrets::list, replies: &[(200, Some(of::<secrets::SecretList>))]),
    route!("PUT" "/v1/secrets/{name}" Access::Host(ADMIN), "Set a secret: the body is its value, byte for byte", secrets::set, takes: Takes::Value, replies: &[(200, Some(of::<airlock_runtime::SecretView>))]),
    route!("DELETE" "/v1/secrets/{name}" Access::Host(ADMIN), "Remove a secret", secrets::remove),
    route!("GET" "/v1/models" Access::Host(READERS), "Language models and the roles that agents ask for, without keys", models::list, replies: &[(200, Some(of::<airlock_runtime::ModelsView>))]),
    route!("POST" "/v1/models/reload" Access::Host(ADMIN), "Read the file of models anew; requests under way end on what they began with", models::reload, replies: &[(200, Some(of::<airlock_runtime::ModelsView>))]),
    route!("POST" "/v1/models/try" Access::Host(ADMIN), "Ask the models of a role once, which costs what it costs and counts in no budget", models::attempt, takes: Takes::Json, body: Some(of::<airlock_runtime::TryModel>), replies: &[(200, Some(of::<airlock_runtime::ModelTrial>))]),
    route!("GET" "/v1/models/usage" Access::Host(READERS), "What agents used of language models on a day", models::usage, query: Some(of::<airlock_runtime::ModelUsageQuery>), replies: &[(200, Some(of::<airlock_runtime::ModelUsagePage>))]),
    route!("GET" "/v1/memory" Access::Roles(READERS), "Namespaces of documents, with what they hold", memory::namespaces, query: Some(of::<airlock_runtime::MemoryQuery>), replies: &[(200, Some(of::<airlock_runtime::MemoryPage>))]),
    route!("POST" "/v1/memory/search" Access::Roles(&[Operator]), "Look for documents by words, by a vector, or by both", memory::search, takes: Takes::Json, body: Some(of::<airlock_runtime::MemorySearch>), replies: &[(200, Some(of::<airlock_runtime::MemoryFound>))]),
    route!("POST" "/v1/memory/import" Access::Host(ADMIN), "Bring the documents of files to what their chunks say, each file whole", memory::import, once: true, takes: Takes::Chunks, body: Some(of::<airlock_runtime::MemoryImport>), replies: &[(200, Some(of::<airlock_runtime::MemoryImported>))]),
    route!("GET" "/v1/memory/{kind}/{name}" Access::Roles(&[Operator]), "Documents of a namespace, without their texts", memory::documents, query: Some(of::<airlock_runtime::DocumentsQuery>), replies: &[(200, Some(of::<airlock_runtime::DocumentsPage>))]),
    route!("DELETE" "/v1/memory/{kind}/{name}" Access::Host(ADMIN), "Delete a namespace with all its documents, from every index", memory::delete_namespace, query: Some(of::<plugins::WhyQuery>), replies: &[(200, Some(of::<airlock_runtime::NamespaceDeleted>))]),
    route!("GET" "/v1/memory/{kind}/{name}/{id}" Access::Roles(&[Operator]), "A document", memory::document, replies: &[(200, Some(of::<airlock_runtime::DocumentView>))]),
    route!("PUT" "/v1/memory/{kind}/{name}/{id}" Access::Host(ADMIN), "Write a document of a shared namespace, whole", memory::put, takes: Takes::Json, body: Some(of::<airlock_runtime::DocumentPut>), replies: &[(200, Some(of::<airlock_runtime::EntryView>))]),
    route!("DELETE" "/v1/memory/{kind}/{name}/{id}" Access::Host(ADMIN), "Remove a document", memory::delete, query: Some(of::<memory::DeleteQuery>)),
    route!("GET" "/v1/audit" Access::Host(&[Operator]), "Audit records, with a cursor", audit::page, query: Some(of::<airlock_runtime::AuditQuery>), replies: &[(200, Some(of::<airlock_runtime::AuditPage>))]),
    route!("POST" "/v1/audit/verify" Access::Host(&[Operator]), "Verify the whole audit", audit::verify, takes: Takes::OptionalJson, body: Some(of::<airlock_runtime::VerifyRequest>), replies: &[(200, Some(of::<airlock_runtime::AuditVerified>))]),
    route!("GET" "/v1/audit/export" Access::Host(&[Operator]), "All audit records as JSON lines", audit::export, query: Some(of::<audit::ExportQuery>), replies: &[(200, None)]),
    route!("GET" "/v1/calls" Access::Roles(READERS), "Recent calls", views::calls, query: Some(of::<airlock_runtime::CallsQuery>), replies: &[(200, Some(of::<airlock_runtime::CallsPage>))]),
    route!("GET" "/v1/usage" Access::Roles(READERS), "What plugins used of their grants", views::usage, query: Some(of::<views::UsageQuery>), replies: &[(200, None)]),
    route!("GET" "/v1/stats" Access::Roles(READERS), "How the calls of each tool went", views::stats, replies: &[(200, None)]),
    route!("POST" "/v1/views/rebuild" Access::Host(&[Operator]), "Compute the views again", views::rebuild, replies: &[(200, Some(of::<views::Rebuilt>))]),
    route!("POST" "/v1/backup" Access::Host(ADMIN), "Everything but the keys in one file, for `airlock restore`", backup::make, replies: &[(200, None)]),
    route!("GET" "/v1/operations" Access::Roles(READERS), "Installs under way or ended lately", operations::list, replies: &[(200, Some(of::<operations::OperationList>))]),
    route!("GET" "/v1/operations/{id}" Access::Roles(READERS), "Where an operation stands", operations::show, query: Some(of::<operations::WaitQuery>), replies: &[(200, Some(of::<airlock_runtime::Operation>))]),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A route that takes nothing refuses a body of any length.
    #[test]
    fn what_has_a_body_takes_one() {
        for route in ROUTES {
            let (has, takes) = (route.body.is_some(), route.takes != Takes::Nothing);
            assert!(!has || takes, "{} {}", route.method, route.path);
        }
    }
}
