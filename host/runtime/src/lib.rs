//! Above the sandbox and the journal: installed plugins, what is granted to
//! them, who may call, which calls start, what is recorded. The HTTP API and the
//! command line are thin over [`Runtime`].
//!
//! What must stay true: nothing is acknowledged before it is durable; a grant
//! that is taken away is gone for calls in flight too; every refusal has a
//! stable code.

mod admission;
mod audit_key;
mod authority;
mod backup;
mod calls;
mod components;
mod config;
mod engine;
mod grants;
mod halt;
mod hooks;
pub mod idempotency;
mod ids;
mod json;
mod memory;
mod metrics;
mod models;
pub mod names;
mod nearest;
mod operations;
mod plugins;
mod policy;
mod principal;
pub mod problem;
mod record;
mod remote;
mod rows;
mod runs;
mod runtime;
mod schedules;
mod secrets;
mod stop;
mod tokens;
mod turns;
mod views;

pub use admission::NotAdmitted;
pub use airlock_journal::views::{CallEntry, GrantUsage, ToolStats};
pub use airlock_mcp_client::{Server as McpServer, child_main as launch_main};
pub use airlock_sandbox::capability::Explanation;
pub use airlock_sandbox::capability::log::Progress;
pub use airlock_sandbox::capability::memory::{DocumentView, EntryView, HitView};
pub use airlock_sandbox::capability::secrets::Secret;
pub use backup::{BackupError, RestoreError, restore};
pub use calls::{CallRefused, CallStage, ToolCall, status_of};
pub use config::RuntimeConfig;
pub use engine::{Capabilities, CapabilityView, capabilities};
pub use grants::{
    Descriptions, ExplainRequest, GrantError, GrantsHistory, GrantsUpdate, GrantsVersion,
    RollbackRequest,
};
pub use halt::{HaltError, HaltRequest, HaltView, Part, PartHalted};
pub use hooks::{
    Delivered, GivenSecret, HOOK_BODY_BYTES_MAX, HookError, HookHead, HookMade, HookRequest,
    HookView, RotateHook, Scheme,
};
pub use idempotency::{IdempotencyError, StoredReply};
pub use ids::{digest, new_id, now_ms};
pub use json::member_twice;
pub use memory::{
    DocumentPut, DocumentsPage, DocumentsQuery, ImportFile, MemoryFailure, MemoryFound,
    MemoryImport, MemoryImported, MemoryPage, MemoryQuery, MemorySearch, NamespaceDeleted,
    NamespaceView, RefusedFile,
};
pub use metrics::Metrics;
pub use models::{
    Counted, ModelTrial, ModelUsage, ModelUsagePage, ModelUsageQuery, ModelView, ModelsError,
    ModelsView, RoleView, TryModel, check_models_file,
};
pub use plugins::{
    ActivateRequest, AgentView, Claims, EffectsChange, EffectsView, ErasedData, Hints,
    InstallRequest, Installed, Offer, OfferedAgent, OfferedTool, Operation, OperationState,
    PluginDetail, PluginError, PluginSummary, Removed, SchemaChange, ToolChange, ToolView,
    VersionChanges, VersionView, WantView,
};
pub use policy::{
    ApplyPolicy, Change, ChangeKind, PluginDiff, Policy, PolicyApplied, PolicyDiff, PolicyError,
    PolicyPlugin,
};
pub use principal::{Principal, Role};
pub use problem::{Failure, Problem};
pub use record::{
    AuditFailure, AuditPage, AuditQuery, AuditVerified, VerifyRequest, verify_offline,
};
pub use remote::{FoundView, InstallServer, McpServerView};
pub use runs::{
    AgentStatsView, Approval, ApprovalView, ApprovalsPage, ApprovalsQuery, AtDue, Autonomy, Block,
    Budget, BudgetChange, Decide, Delta, DeltaFollower, Difference, DifferenceKind, End, Follower,
    ForkRun, ForkedFrom, OpenRequest, Outcome, ProgressView, ReplayEnd, ReplayRun, ReplayStep,
    ReplayVerdict, Resume, RunDelta, RunDetail, RunError, RunEvent, RunEvents, RunReplay,
    RunStatus, RunView, RunsPage, RunsQuery, SignalTarget, Spent, StartRun, Took,
};
pub use runs::{PruneRequest, PrunedRuns, RunExport};
pub use runtime::{OpenError, Runtime};
pub use schedules::{CatchUp, Did, Fired, Overlap, ScheduleError, ScheduleRequest, ScheduleView};
pub use secrets::{SecretError, SecretView};
pub use stop::NotReady;
pub use tokens::{AuthError, NewToken, RevokedToken, TokenError, TokenRequest, TokenView};
pub use views::{CallsPage, CallsQuery, ViewError};
