//! Figures for Prometheus. Labels are names of installed plugins and stable
//! codes only, so that a caller cannot make new series.

use std::fmt::Write as _;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::runtime::Runtime;

const BUCKETS_S: [f64; 12] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0,
];

const MODEL_BUCKETS_S: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    plugin: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginLabel {
    plugin: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

/// `model` is empty where none answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    role: String,
    model: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RoleLabel {
    role: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    model: String,
    why: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: u16,
}

/// The counters.
pub struct Metrics {
    registry: Registry,
    calls: Family<CallLabels, Counter>,
    cpu_us: Family<PluginLabel, Counter>,
    denials: Family<PluginLabel, Counter>,
    refused: Family<CodeLabel, Counter>,
    requests: Family<StatusLabel, Counter>,
    wall: Histogram,
    models: ModelMetrics,
}

/// Requests to language models.
struct ModelMetrics {
    requests: Family<ModelLabels, Counter>,
    tokens: Family<RoleLabel, Counter>,
    micros: Family<RoleLabel, Counter>,
    failed: Family<AttemptLabels, Counter>,
    wall: Histogram,
}

/// A request to a language model that was sent and has ended.
pub(crate) struct ModelRequest<'a> {
    /// Roles that a rule names, and no others.
    pub(crate) role: &'a str,
    pub(crate) model: Option<&'a str>,
    pub(crate) outcome: &'static str,
    pub(crate) tokens: u64,
    pub(crate) micros: u64,
    /// Attempts that came to nothing: the model and why.
    pub(crate) failed: Vec<(&'a str, &'static str)>,
    pub(crate) wall: Duration,
}

impl ModelMetrics {
    fn new(registry: &mut Registry) -> Self {
        let requests = Family::default();
        registry.register(
            "model_requests",
            "Requests to language models that ended, by role, model and outcome",
            requests.clone(),
        );
        let tokens = Family::default();
        registry.register(
            "model_tokens",
            "Tokens of language models, in and out",
            tokens.clone(),
        );
        let micros = Family::default();
        registry.register(
            "model_cost_micros",
            "Cost of language models, millionths of the configured currency",
            micros.clone(),
        );
        let failed = Family::default();
        registry.register(
            "model_attempts_failed",
            "Attempts at models that came to nothing, by model and why",
            failed.clone(),
        );
        let wall = Histogram::new(MODEL_BUCKETS_S);
        registry.register_with_unit(
            "model_wall",
            "Wall time of requests to language models",
            Unit::Seconds,
            wall.clone(),
        );
        Self {
            requests,
            tokens,
            micros,
            failed,
            wall,
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("airlock");
        let calls = Family::default();
        registry.register(
            "calls",
            "Calls that ended, by plugin and outcome",
            calls.clone(),
        );
        let cpu_us = Family::default();
        registry.register("call_cpu_microseconds", "CPU time of calls", cpu_us.clone());
        let denials = Family::default();
        registry.register("denials", "Distinct denials of calls", denials.clone());
        let refused = Family::default();
        registry.register(
            "calls_refused",
            "Calls that did not start, by code",
            refused.clone(),
        );
        let requests = Family::default();
        registry.register(
            "http_requests",
            "HTTP requests, by status",
            requests.clone(),
        );
        let wall = Histogram::new(BUCKETS_S);
        registry.register_with_unit(
            "call_wall",
            "Wall time of calls",
            Unit::Seconds,
            wall.clone(),
        );
        let models = ModelMetrics::new(&mut registry);
        Self {
            models,
            registry,
            calls,
            cpu_us,
            denials,
            refused,
            requests,
            wall,
        }
    }
}

/// A figure that is read when asked for.
pub(crate) struct Gauge {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) value: u64,
}

impl Metrics {
    /// A call that ended.
    pub(crate) fn call(
        &self,
        plugin: &str,
        outcome: &'static str,
        cpu_us: u64,
        wall: Duration,
        denials: u64,
    ) {
        let labels = CallLabels {
            plugin: plugin.to_owned(),
            outcome,
        };
        self.calls.get_or_create(&labels).inc();
        let label = PluginLabel {
            plugin: plugin.to_owned(),
        };
        self.cpu_us.get_or_create(&label).inc_by(cpu_us);
        if denials > 0 {
            self.denials.get_or_create(&label).inc_by(denials);
        }
        self.wall.observe(wall.as_secs_f64());
    }

    /// A request to a language model.
    pub(crate) fn model(&self, request: ModelRequest<'_>) {
        let (models, role) = (&self.models, request.role.to_owned());
        let label = RoleLabel { role: role.clone() };
        let labels = ModelLabels {
            role,
            model: request.model.unwrap_or_default().to_owned(),
            outcome: request.outcome,
        };
        models.requests.get_or_create(&labels).inc();
        let tokens = models.tokens.get_or_create(&label);
        tokens.inc_by(request.tokens);
        let micros = models.micros.get_or_create(&label);
        micros.inc_by(request.micros);
        for (model, why) in request.failed {
            let model = model.to_owned();
            let labels = AttemptLabels { model, why };
            models.failed.get_or_create(&labels).inc();
        }
        models.wall.observe(request.wall.as_secs_f64());
    }

    /// A call that did not start.
    pub(crate) fn refused(&self, code: &'static str) {
        self.refused.get_or_create(&CodeLabel { code }).inc();
    }

    /// An HTTP request that was answered.
    pub fn request(&self, status: u16) {
        self.requests.get_or_create(&StatusLabel { status }).inc();
    }

    /// The exposition text, with figures read now.
    pub(crate) fn text(&self, gauges: &[Gauge]) -> String {
        let mut text = String::new();
        for Gauge { name, help, value } in gauges {
            let _ = writeln!(text, "# HELP airlock_{name} {help}.");
            let _ = writeln!(text, "# TYPE airlock_{name} gauge");
            let _ = writeln!(text, "airlock_{name} {value}");
        }
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
impl Runtime {
    /// The figures, for Prometheus.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        let gauge = |name, help, value| Gauge { name, help, value };
        let installs = self.operations.unfinished();
        let ready = u64::from(self.health().is_ok());
        let plugins = self.registry.all();
        let waiting = plugins
            .iter()
            .map(|(slot, _)| slot.admission.load().1 as u64)
            .sum();
        let mut gauges = vec![
            gauge("ready", "1 while work is taken and brought on", ready),
            gauge(
                "calls_in_flight",
                "Calls that have not ended",
                self.in_flight.count(),
            ),
            gauge("calls_waiting", "Calls that wait for their turn", waiting),
            gauge("plugins", "Installed plugins", plugins.len() as u64),
            gauge(
                "runs_in_memory",
                "Runs that are looked after",
                self.runs.live(),
            ),
            gauge("installs_queued", "Installs that wait", installs["queued"]),
            gauge(
                "installs_running",
                "Installs under way",
                installs["running"],
            ),
        ];
        gauges.extend(crate::engine::gauges(&self.sandbox));
        self.metrics().text(&gauges)
    }
}
