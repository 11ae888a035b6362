//! Schedules as the API takes and shows them, and as they lie in the store.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::due::CatchUp;
use super::when::When;
use crate::ids;
use crate::runs::{Maker, SignalTarget, StartRun};

/// Longest input that a list shows, bytes.
const LISTED_BYTES_MAX: usize = 4 << 10;

/// Due times that are shown.
const NEXT_SHOWN: usize = 3;

/// A schedule, as it is made. Its runs are started, and its signals given, in
/// the name of whoever makes it, with the roles and scope of that token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRequest {
    /// 1 to 64 of `a-z 0-9 - _`, beginning with a letter. With `PUT` the path
    /// says it.
    #[serde(default)]
    pub name: String,
    /// When, five fields of cron (minute, hour, day of month, month, day of
    /// week) or a word as `@daily`.
    pub cron: String,
    /// The time zone of `cron`, a name of the IANA database.
    #[serde(default = "utc")]
    pub zone: String,
    /// The run to start, as in `POST /v1/runs`. This, or `signal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<StartRun>")]
    pub start: Option<Value>,
    /// The signal to give. This, or `start`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<SignalTarget>,
    /// What becomes of due times that were missed.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// For `catch_up` = `all`: how many at most, 1 to 100.
    #[serde(default = "ten")]
    pub catch_up_max: usize,
    /// What becomes of a due time while the run before goes on.
    #[serde(default)]
    pub overlap: Overlap,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn ten() -> usize {
    10
}

/// What becomes of a due time while the schedule's run before goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// A run is started beside it.
    Allow,
    /// Nothing.
    #[default]
    Skip,
    /// A run is started when the one before has ended; one waits at most, what
    /// comes due meanwhile is skipped.
    Queue,
    /// The one before is cancelled, and when it has ended a run is started.
    CancelPrevious,
}

/// A schedule.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ScheduleView {
    /// What was asked for. A list leaves an input or a payload of more than 4 KiB
    /// out.
    #[serde(flatten)]
    pub schedule: ScheduleRequest,
    /// The bytes of what the list left out; the schedule by itself has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_bytes: Option<u64>,
    /// In whose name it acts.
    pub by: String,
    /// When it was made or changed, milliseconds since 1970.
    pub changed_ms: u64,
    /// Whether it stands still.
    pub paused: bool,
    /// Whether the token was revoked with which it was made or changed last: it
    /// does nothing until somebody changes it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
    /// The next due times, milliseconds since 1970; none while it does nothing.
    pub next_ms: Vec<u64>,
    /// A due time whose run starts when the one before has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued_ms: Option<u64>,
    /// What came of the latest due time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Fired>,
}

impl ScheduleView {
    /// As lists show it.
    pub(super) fn in_a_list(mut self) -> Self {
        let start = self.schedule.start.as_mut();
        let input = start.and_then(|start| start.get_mut("input"));
        let payload = self
            .schedule
            .signal
            .as_mut()
            .map(|signal| &mut signal.payload);
        for long in input.into_iter().chain(payload) {
            let bytes = long.to_string().len();
            if bytes > LISTED_BYTES_MAX {
                *long = Value::Null;
                self.input_bytes = Some(bytes as u64);
            }
        }
        self
    }
}

/// What came of a due time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fired {
    /// The due time, milliseconds since 1970.
    pub due_ms: u64,
    /// When it was decided, milliseconds since 1970.
    pub at_ms: u64,
    /// What was done.
    pub what: Did,
    /// The run that was started or got the signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What was done for a due time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Did {
    /// A run was started.
    Started,
    /// A run got the signal.
    Signalled,
    /// A run starts when the one before has ended.
    Queued,
    /// Nothing: the run before goes on.
    Skipped,
    /// Nothing: it was missed, and is not made up for.
    Missed,
    /// It could not be done.
    Failed,
}

impl Did {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Signalled => "signalled",
            Self::Queued => "queued",
            Self::Skipped => "skipped",
            Self::Missed => "missed",
            Self::Failed => "failed",
        }
    }
}

/// A schedule as it lies in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) schedule: ScheduleRequest,
    /// Random: a schedule that is made again is another one.
    pub(super) id: String,
    pub(super) maker: Maker,
    /// The agent it is about, for whoever has a scope.
    pub(super) agent: String,
    pub(super) changed_ms: u64,
    pub(super) paused: bool,
    /// Every due time up to this one is decided.
    pub(super) decided_ms: u64,
    #[serde(default)]
    pub(super) queued_ms: Option<u64>,
    /// The run it started last.
    #[serde(default)]
    pub(super) run: Option<String>,
    #[serde(default)]
    pub(super) last: Option<Fired>,
}

impl Row {
    pub(super) fn when(&self) -> Result<When, String> {
        When::parse(&self.schedule.cron, &self.schedule.zone)
    }

    /// As it is shown; `revoked`: the token of its maker was.
    pub(super) fn view(&self, now_ms: u64, revoked: bool) -> ScheduleView {
        let mut next_ms = Vec::new();
        if let (Ok(when), false) = (self.when(), self.paused || revoked) {
            let mut at = now_ms.max(self.decided_ms);
            while let (Some(next), true) = (when.next(at), next_ms.len() < NEXT_SHOWN) {
                next_ms.push(next);
                at = next;
            }
        }
        ScheduleView {
            schedule: self.schedule.clone(),
            input_bytes: None,
            by: self.maker.by.clone(),
            changed_ms: self.changed_ms,
            paused: self.paused,
            revoked,
            next_ms,
            queued_ms: self.queued_ms,
            last: self.last.clone(),
        }
    }

    /// The id of the run for a due time: the same whenever it is decided.
    pub(super) fn run_id(&self, due_ms: u64) -> String {
        let mut hash = Sha256::new();
        hash.update(b"schedule\0");
        hash.update(&self.id);
        hash.update(due_ms.to_be_bytes());
        let hash = ids::hex(&hash.finalize()[..8]);
        format!("run_{:012x}{hash}", due_ms & 0xffff_ffff_ffff)
    }
}
