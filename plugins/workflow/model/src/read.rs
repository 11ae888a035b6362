//! From a file's tree to a workflow. Problems are noted and reading goes on; what
//! was not understood is left out, and the workflow is then not used.

mod actions;
mod fields;

use std::collections::BTreeMap;

use crate::keys::{self, ACTIONS};
use crate::limits::{NAME_CHARS_MAX, PARALLEL_DEFAULT, PARALLEL_MAX, STEPS_MAX, WORKFLOWS_MAX};
use crate::model::{Block, OnError, Output, Retry, Step, Trigger, Workflow};
use crate::problem::{Place, Problems, instead, shown};
use crate::schema::{self, Schema};
use crate::template::{Template, expression, template};
use crate::yaml::{Kind, Node};
use fields::Fields;

/// A step with what is only known of it by its text.
pub(crate) struct Draft {
    pub(crate) step: Step,
    /// Names of steps, and where they stand.
    pub(crate) needs: Vec<(String, Place)>,
    /// Where the names in `on_error: { compensate: … }` stand.
    pub(crate) undoes: Vec<(String, Place)>,
    /// Where the name of its sub-workflow stands.
    pub(crate) runs: Option<Place>,
    /// What it does can't be read, which is told. It is a step all the same: others may
    /// name it.
    pub(crate) broken: bool,
}

pub(crate) struct BlockDraft {
    pub(crate) inputs: BTreeMap<String, Schema>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) steps: Vec<Draft>,
    timeout: Option<std::time::Duration>,
}

pub(crate) struct FileDraft {
    pub(crate) workflow: Workflow,
    pub(crate) main: BlockDraft,
    pub(crate) blocks: BTreeMap<String, BlockDraft>,
}

pub(crate) struct Reader<'a> {
    pub(crate) source: &'a str,
    pub(crate) problems: Problems,
}

impl Reader<'_> {
    pub(crate) fn file(&mut self, root: &Node) -> FileDraft {
        let mut fields = Fields::of(root, "a workflow", keys::WORKFLOW, self);
        fields.count("version", 1, self);
        let workflow = Workflow {
            name: fields.text("name", self),
            description: fields.text("description", self),
            parallel: usize::try_from(
                fields
                    .count("parallel", PARALLEL_MAX, self)
                    .unwrap_or(PARALLEL_DEFAULT),
            )
            .unwrap_or(1),
            main: Block::default(),
            blocks: BTreeMap::new(),
        };
        let main = self.block(&mut fields);
        let mut blocks = BTreeMap::new();
        let named = fields.map("workflows", self);
        if let (Some((key, _)), true) = (named.get(WORKFLOWS_MAX), named.len() > WORKFLOWS_MAX) {
            self.problems
                .add(key.at, format!("more than {WORKFLOWS_MAX} sub-workflows"));
        }
        for (key, node) in named.iter().take(WORKFLOWS_MAX) {
            self.name(&key.name, key.at);
            let mut fields = Fields::of(node, "a sub-workflow", keys::SUB_WORKFLOW, self);
            blocks.insert(key.name.clone(), self.block(&mut fields));
        }
        FileDraft {
            workflow,
            main,
            blocks,
        }
    }

    fn block(&mut self, fields: &mut Fields<'_>) -> BlockDraft {
        let inputs = fields.map("inputs", self);
        let inputs = inputs.iter().map(|(key, node)| {
            self.name(&key.name, key.at);
            (key.name.clone(), schema::read(node, &mut self.problems))
        });
        let inputs = inputs.collect();
        let outputs = fields.map("outputs", self);
        let outputs = outputs
            .iter()
            .map(|(key, node)| self.output(key, node))
            .collect();
        let steps = fields.list("steps", self);
        let list = fields.take("steps");
        let list = list.filter(|node| matches!(node.kind, Kind::List(_)));
        if let Some(list) = list.filter(|_| steps.is_empty()) {
            self.problems.add(
                list.at,
                "`steps` is empty: a workflow has one step at least",
            );
        }
        if let Some(step) = steps.get(STEPS_MAX) {
            let message = format!("more than {STEPS_MAX} steps: put some into a sub-workflow");
            self.problems.add(step.at, message);
        }
        let steps = steps
            .iter()
            .take(STEPS_MAX)
            .filter_map(|step| self.step(step))
            .collect();
        let timeout = fields.duration("timeout", self);
        BlockDraft {
            inputs,
            outputs,
            steps,
            timeout,
        }
    }

    fn output(&mut self, key: &crate::yaml::Key, node: &Node) -> Output {
        self.name(&key.name, key.at);
        let (name, at) = (key.name.clone(), key.at);
        let long = matches!(&node.kind, Kind::Map(members) if members.iter().any(|(key, _)| key.name == "value"));
        if !long {
            let value = template(self.source, node, &mut self.problems);
            return Output {
                name,
                at,
                value,
                schema: None,
            };
        }
        let fields = Fields::of(node, "an output", keys::OUTPUT, self);
        fields.text("description", self);
        let value = fields
            .template("value", self)
            .unwrap_or(Template::Value(serde_json::Value::Null));
        let schema = fields
            .take("type")
            .map(|node| schema::read(node, &mut self.problems));
        Output {
            name,
            at,
            value,
            schema,
        }
    }

    fn name(&mut self, name: &str, at: Place) {
        let mut chars = name.chars();
        let first = chars
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        let rest = chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !first || !rest || name.len() > NAME_CHARS_MAX {
            let message = format!(
                "`{}` can't be a name: {NAME_CHARS_MAX} letters, digits and `_` at most, no digit first",
                shown(name)
            );
            self.problems.add(at, message);
        }
    }

    fn step(&mut self, node: &Node) -> Option<Draft> {
        let mut fields = Fields::of(node, "a step", keys::STEP, self);
        if !matches!(node.kind, Kind::Map(_)) {
            return None;
        }
        let id_at = fields.place("id");
        let id = fields.text("id", self);
        if let (Some(at), Some(id)) = (id_at, &id) {
            self.name(id, at);
        }
        let id = id.unwrap_or_default();
        let read = self.action(&mut fields);
        let broken = read.is_none();
        let nothing = || {
            (
                crate::model::Action::Value(Template::Value(serde_json::Value::Null)),
                None,
            )
        };
        let (action, runs) = read.unwrap_or_else(nothing);
        let mut undoes = Vec::new();
        let on_error = self.on_error(&mut fields, &mut undoes);
        let needs = fields.names("needs", self);
        let compensate = self.compensate(&mut fields);
        let step = Step {
            at: node.at,
            id,
            name: fields.text("name", self),
            action,
            needs: Vec::new(),
            trigger: self.trigger(&mut fields),
            when: fields
                .take("when")
                .and_then(|node| expression(self.source, node, &mut self.problems)),
            for_each: self.for_each(&mut fields),
            max_parallel: self.max_parallel(&mut fields),
            retry: self.retry(&mut fields),
            timeout: fields.duration("timeout", self),
            on_error,
            compensate,
            output: fields.template("output", self),
            returns: fields
                .take("returns")
                .map(|node| schema::read(node, &mut self.problems)),
        };
        Some(Draft {
            step,
            needs,
            undoes,
            runs,
            broken,
        })
    }

    fn trigger(&mut self, fields: &mut Fields<'_>) -> Trigger {
        match fields.word("trigger", keys::TRIGGERS, self) {
            Some("all_done") => Trigger::AllDone,
            Some("none_failed") => Trigger::NoneFailed,
            Some("one_success") => Trigger::OneSuccess,
            Some("one_failed") => Trigger::OneFailed,
            _ => Trigger::AllSuccess,
        }
    }

    fn for_each(&mut self, fields: &mut Fields<'_>) -> Option<Template> {
        let node = fields.take("for_each")?;
        if let Kind::List(_) = &node.kind {
            return Some(template(self.source, node, &mut self.problems));
        }
        expression(self.source, node, &mut self.problems).map(Template::Expression)
    }

    fn max_parallel(&mut self, fields: &mut Fields<'_>) -> Option<usize> {
        let at = fields.place("max_parallel")?;
        if !fields.has("for_each") {
            self.problems
                .add(at, "`max_parallel` is for a step with `for_each`");
        }
        let most = fields.count("max_parallel", PARALLEL_MAX, self)?;
        usize::try_from(most).ok()
    }

    fn retry(&mut self, fields: &mut Fields<'_>) -> Retry {
        let Some(node) = fields.take("retry") else {
            return Retry::none();
        };
        let fields = Fields::of(node, "`retry`", keys::RETRY, self);
        let default = Retry::default();
        let attempts = fields.count("attempts", crate::limits::ATTEMPTS_MAX, self);
        let backoff = fields.duration("backoff", self).unwrap_or(default.backoff);
        let longest = fields.duration("backoff_max", self);
        let mut on = Vec::new();
        for node in fields.list("on", self) {
            if let Some(code) = fields::word_of(node, keys::CODES, self) {
                on.push(code.to_owned());
            }
        }
        Retry {
            attempts: attempts.unwrap_or(default.attempts),
            backoff,
            backoff_max: longest.unwrap_or(default.backoff_max.max(backoff)),
            on: if on.is_empty() { default.on } else { on },
        }
    }

    fn on_error(&mut self, fields: &mut Fields<'_>, undoes: &mut Vec<(String, Place)>) -> OnError {
        let Some(node) = fields.take("on_error") else {
            return OnError::Fail;
        };
        if let Kind::Map(_) = &node.kind {
            let fields = Fields::of(node, "`on_error`", keys::HANDLED, self);
            if fields.has("value") == fields.has("compensate") {
                self.problems
                    .add(node.at, "`on_error` has one of `value` and `compensate`");
            }
            *undoes = fields.names("compensate", self);
            let names = undoes.iter().map(|(name, _)| name.clone()).collect();
            return match fields.template("value", self) {
                Some(value) => OnError::Value(value),
                None => OnError::Compensate(names),
            };
        }
        match fields::word_of(node, keys::ON_ERROR, self) {
            Some("continue") => OnError::Continue,
            Some("escalate") => OnError::Escalate,
            _ => OnError::Fail,
        }
    }

    /// The one key that says what the step does.
    fn which(&mut self, fields: &Fields<'_>) -> Option<&'static str> {
        let mut given = ACTIONS.iter().filter(|action| fields.has(action));
        let Some(action) = given.next() else {
            let actions: Vec<String> = ACTIONS.iter().map(|action| format!("`{action}`")).collect();
            let message = format!("the step does nothing: give one of {}", actions.join(", "));
            self.problems.add(fields.at, message);
            return None;
        };
        for other in given {
            let at = fields.place(other).unwrap_or(fields.at);
            let message =
                format!("the step has a `{action}` already: make another step for `{other}`");
            self.problems.add(at, message);
        }
        for (key, of) in [
            ("with", &["tool", "agent", "workflow"][..]),
            ("goal", &["agent"]),
            ("budget", &["agent"]),
            ("compensate", &["tool", "agent", "model", "workflow"]),
        ] {
            if let (Some(at), false) = (fields.place(key), of.contains(action)) {
                self.problems.add(
                    at,
                    format!(
                        "`{key}` is for a step with {}",
                        of.iter()
                            .map(|name| format!("`{name}`"))
                            .collect::<Vec<_>>()
                            .join(", ")
                    ),
                );
            }
        }
        Some(action)
    }
}

impl BlockDraft {
    /// With the places of the steps that each needs.
    pub(crate) fn settled(self, needs: Vec<Vec<usize>>) -> Block {
        let steps = self
            .steps
            .into_iter()
            .zip(needs)
            .map(|(draft, needs)| Step {
                needs,
                ..draft.step
            });
        Block {
            inputs: self.inputs,
            outputs: self.outputs,
            steps: steps.collect(),
            timeout: self.timeout,
        }
    }
}

/// `unknown step …`, with what there is.
pub(crate) fn no_step(name: &str, steps: &[Draft]) -> String {
    let known = instead(name, steps.iter().map(|draft| draft.step.id.as_str()));
    format!("there is no step `{}`: {known}", shown(name))
}
