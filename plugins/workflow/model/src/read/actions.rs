//! What a step does.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Reader;
use super::fields::{Fields, word_of};
use crate::keys;
use crate::model::{
    Action, AgentAction, Approval, Budget, Compensate, ModelAction, OnChoice, OnDue, Retry, Wait,
};
use crate::problem::{Place, instead, shown};
use crate::schema;
use crate::template::{Template, template};
use crate::time;
use crate::yaml::{Kind, Node};

impl Reader<'_> {
    /// What it does, and where the name of its sub-workflow stands.
    pub(super) fn action(&mut self, fields: &mut Fields<'_>) -> Option<(Action, Option<Place>)> {
        let which = self.which(fields)?;
        let node = fields.take(which)?;
        let action = match which {
            "tool" => {
                let tool = fields.text("tool", self)?;
                self.tool_name(&tool, node.at);
                Action::Tool {
                    tool,
                    with: fields.input(self),
                }
            }
            "agent" => self.agent(fields)?,
            "model" => self.model(node)?,
            "approval" => self.approval(node)?,
            "wait" => Action::Wait(self.wait(node)?),
            "workflow" => {
                let name = fields.text("workflow", self)?;
                let action = Action::Workflow {
                    name,
                    with: fields.input(self),
                };
                return Some((action, Some(node.at)));
            }
            _ => Action::Value(template(self.source, node, &mut self.problems)),
        };
        Some((action, None))
    }

    fn tool_name(&mut self, name: &str, at: Place) {
        let ok = |part: &str| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let fits = name
            .split_once('/')
            .is_some_and(|(plugin, tool)| ok(plugin) && ok(tool));
        if !fits {
            let message = format!(
                "`{}` is no tool: write `plugin/tool`, without expressions",
                shown(name)
            );
            self.problems.add(at, message);
        }
    }

    fn agent(&mut self, fields: &mut Fields<'_>) -> Option<Action> {
        let agent = fields.text("agent", self)?;
        let fits = !agent.is_empty()
            && agent
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if !fits {
            let at = fields.place("agent").unwrap_or(fields.at);
            let message = format!(
                "`{}` is no agent: write its plugin's name, without expressions",
                shown(&agent)
            );
            self.problems.add(at, message);
        }
        let goal = fields.text_template("goal", self);
        let budget = fields.take("budget").map(|node| self.budget(node));
        Some(Action::Agent(Box::new(AgentAction {
            agent,
            goal: goal.unwrap_or(Template::Value(Value::String(String::new()))),
            with: fields.input(self),
            budget: budget.unwrap_or_default(),
        })))
    }

    fn budget(&mut self, node: &Node) -> Budget {
        let fields = Fields::of(node, "`budget`", keys::BUDGET, self);
        Budget {
            calls: fields.count("calls", u64::MAX, self),
            steps: fields.count("steps", u64::MAX, self),
            events: fields.count("events", u64::MAX, self),
            wall: fields.duration("wall", self),
            cpu: fields.duration("cpu", self),
            model_tokens: fields.count("model_tokens", u64::MAX, self),
            model_micros: fields.count("model_micros", u64::MAX, self),
        }
    }

    fn model(&mut self, node: &Node) -> Option<Action> {
        let fields = Fields::of(node, "`model`", keys::MODEL, self);
        let system = fields.text_template("system", self);
        let schema = fields
            .take("schema")
            .map(|node| schema::read(node, &mut self.problems));
        let max_tokens = fields.count("max_tokens", 1_000_000, self);
        let prompt = fields.text_template("prompt", self);
        Some(Action::Model(Box::new(ModelAction {
            role: fields.text("role", self)?,
            system,
            prompt: prompt?,
            schema,
            max_tokens,
        })))
    }

    fn approval(&mut self, node: &Node) -> Option<Action> {
        let fields = Fields::of(node, "`approval`", keys::APPROVAL, self);
        let mut on = BTreeMap::new();
        let choices = match fields.has("choices") {
            true => self.choices(&fields),
            false => {
                on.insert("deny".to_owned(), OnChoice::Fail);
                vec!["approve".to_owned(), "deny".to_owned()]
            }
        };
        for (key, node) in fields.map("on", self) {
            if !choices.contains(&key.name) {
                let known = instead(&key.name, choices.iter().map(String::as_str));
                self.problems.add(
                    key.at,
                    format!("`{}` is none of the choices: {known}", shown(&key.name)),
                );
            }
            if let Some(word) = word_of(node, keys::ON_CHOICE, self) {
                on.insert(key.name.clone(), on_choice(word));
            }
        }
        let on_due = self.on_due(&fields, &choices);
        let due = fields.duration("due", self);
        if let (None, Some(at)) = (due, fields.place("on_due")) {
            self.problems.add(at, "`on_due` says nothing without `due`");
        }
        let payload = fields.template("payload", self);
        let text = fields.text_template("text", self)?;
        Some(Action::Approval(Box::new(Approval {
            text,
            choices,
            payload,
            due,
            on,
            on_due,
        })))
    }

    fn choices(&mut self, fields: &Fields<'_>) -> Vec<String> {
        let nodes = fields.list("choices", self);
        let mut choices: Vec<String> = Vec::new();
        for node in nodes {
            match &node.kind {
                Kind::Text(text, _)
                    if text.is_empty() || text.len() > 128 || text.contains("${{") =>
                {
                    self.problems.add(
                        node.at,
                        "a choice is a text of 1 to 128 bytes, without expressions",
                    );
                }
                Kind::Text(text, _) if choices.contains(text) => {
                    self.problems
                        .add(node.at, format!("the choice `{text}` stands here twice"));
                }
                Kind::Text(text, _) => choices.push(text.clone()),
                // Without quotes YAML reads `true` as something else.
                _ => self.problems.add(
                    node.at,
                    format!(
                        "a choice is a text, and this is {}: put it in quotes",
                        node.what()
                    ),
                ),
            }
        }
        if !(2..=16).contains(&nodes.len()) {
            let at = fields.place("choices").unwrap_or(fields.at);
            self.problems.add(at, "there are 2 to 16 choices");
        }
        choices
    }

    fn on_due(&mut self, fields: &Fields<'_>, choices: &[String]) -> OnDue {
        let Some(word) = fields.text("on_due", self) else {
            return OnDue::As(OnChoice::Fail);
        };
        if choices.contains(&word) {
            return OnDue::Choice(word);
        }
        if !["fail", "skip", "escalate"].contains(&&*word) {
            let known = ["fail", "skip", "escalate"]
                .into_iter()
                .chain(choices.iter().map(String::as_str));
            let message = format!(
                "`{}` can't stand here: {}",
                shown(&word),
                instead(&word, known)
            );
            self.problems
                .add(fields.place("on_due").unwrap_or(fields.at), message);
        }
        OnDue::As(on_choice(&word))
    }

    fn wait(&mut self, node: &Node) -> Option<Wait> {
        if !matches!(node.kind, Kind::Map(_)) {
            return self.wait_for(node);
        }
        let fields = Fields::of(node, "`wait`", keys::WAIT, self);
        let given = ["for", "until", "signal"]
            .iter()
            .filter(|name| fields.has(name))
            .count();
        if given != 1 {
            self.problems
                .add(node.at, "`wait` has one of `for`, `until` and `signal`");
            return None;
        }
        if let Some(node) = fields.take("for") {
            return self.wait_for(node);
        }
        if let Some(node) = fields.take("until") {
            let until = fields.text_template("until", self)?;
            if let Template::Value(Value::String(text)) = &until
                && let Err(message) = time::moment(text)
            {
                self.problems.add(node.at, message);
            }
            return Some(Wait::Until(until));
        }
        let name = fields.text("signal", self)?;
        if name.is_empty() || name.len() > 160 || name.contains("${{") {
            let at = fields.place("signal").unwrap_or(node.at);
            self.problems.add(
                at,
                "a signal's name is a text of 1 to 160 bytes, without expressions",
            );
        }
        Some(Wait::Signal(name))
    }

    fn wait_for(&mut self, node: &Node) -> Option<Wait> {
        let read = template(self.source, node, &mut self.problems);
        let problem = match &read {
            Template::Value(Value::String(text)) => time::duration(text).err(),
            Template::Value(Value::Number(number)) => match number.as_u64() {
                Some(_) => None,
                None => Some("a wait in seconds is a whole number".to_owned()),
            },
            Template::Value(_) | Template::List(_) | Template::Map(_) => Some(format!(
                "a duration is needed here, e.g. `90s`, and this is {}",
                node.what()
            )),
            Template::Expression(_) | Template::Text(_) => None,
        };
        match problem {
            Some(problem) => {
                self.problems.add(node.at, problem);
                None
            }
            None => Some(Wait::For(read)),
        }
    }

    pub(super) fn compensate(&mut self, fields: &mut Fields<'_>) -> Option<Compensate> {
        let node = fields.take("compensate")?;
        let mut fields = Fields::of(node, "`compensate`", keys::COMPENSATE, self);
        if fields.has("tool") == fields.has("agent") {
            self.problems
                .add(node.at, "`compensate` has one of `tool` and `agent`");
            return None;
        }
        let retry = match fields.has("retry") {
            true => self.retry(&mut fields),
            false => Retry::default(),
        };
        let action = match fields.text("tool", self) {
            Some(tool) => {
                self.tool_name(&tool, fields.place("tool").unwrap_or(node.at));
                Action::Tool {
                    tool,
                    with: fields.input(self),
                }
            }
            None => self.agent(&mut fields)?,
        };
        Some(Compensate { action, retry })
    }
}

fn on_choice(word: &str) -> OnChoice {
    match word {
        "fail" => OnChoice::Fail,
        "skip" => OnChoice::Skip,
        "escalate" => OnChoice::Escalate,
        _ => OnChoice::Continue,
    }
}
