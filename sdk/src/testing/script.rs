//! What a test answers an agent with.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use super::chats;
use super::memory::Memory;
use super::models::{ModelRequest, Says, Told};
use super::people::{Answer, Question};
use super::run::Coming;
use super::step::Request;
use crate::Error;
use crate::agent::{EffectClass, ToolInfo};

type Tool = Box<dyn FnMut(Value) -> Result<Value, Error>>;
type Child = Box<dyn FnMut(&str, Value) -> Result<Value, Error>>;
type Model = Box<dyn FnMut(&ModelRequest) -> Says>;
type Embeds = Box<dyn FnMut(&str) -> Vec<f32>>;
type Decides = Box<dyn FnMut(&Question) -> Answer>;

/// What a test gives: tools, children, models, people.
#[derive(Default)]
pub(crate) struct Script {
    pub(super) tools: BTreeMap<String, Tool>,
    pub(super) infos: BTreeMap<String, ToolInfo>,
    pub(super) children: BTreeMap<String, Child>,
    pub(super) models: BTreeMap<String, Model>,
    pub(super) embeds: BTreeMap<String, Embeds>,
    /// Calls that models asked for; each has an id of its own.
    model_calls: usize,
    pub(super) decides: Option<Decides>,
    pub(super) memory: Memory,
    /// Milliseconds that calls and children take.
    pub(super) takes: BTreeMap<String, u64>,
}

pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

/// A question in the words of the tests.
pub(super) fn question(asked: &crate::agent::Question) -> Question {
    Question {
        text: asked.text.clone(),
        choices: asked.choices.clone(),
        payload: asked.payload.as_deref().map(value),
        due: asked.due_ms.map(Duration::from_millis),
    }
}

/// What an agent is told of a role that was not given.
fn no_role(role: &str, by: &str) -> Error {
    let rule = format!(
        "no models rule names `{role}`; needed: models = [{{ role = \"{role}\" }}] \
         (in a test: `.{by}(\"{role}\", …)`)"
    );
    Error::denied("models", format!("ask {role}"), rule)
}

impl Script {
    /// Adds a tool; what is not known of it is left at what says least.
    pub(super) fn tool(&mut self, name: &str, tool: Tool) {
        self.tools.insert(name.to_owned(), tool);
        self.infos
            .entry(name.to_owned())
            .or_insert_with(|| ToolInfo {
                name: name.to_owned(),
                description: String::new(),
                input_schema: json!({ "type": "object" }),
                output_schema: None,
                class: EffectClass::Plain,
            });
    }

    pub(crate) fn tools(&self) -> Vec<ToolInfo> {
        let there = self.infos.values();
        there
            .filter(|info| self.tools.contains_key(&info.name))
            .cloned()
            .collect()
    }

    pub(crate) fn class(&self, tool: &str) -> EffectClass {
        self.infos
            .get(tool)
            .map_or(EffectClass::Plain, |info| info.class)
    }

    fn takes(&self, name: &str) -> u64 {
        self.takes.get(name).copied().unwrap_or(0)
    }

    /// Answers a request. What the test gave is away while it runs, so that it may
    /// run an agent itself.
    pub(crate) fn perform(script: &Rc<RefCell<Self>>, request: &Request) -> Coming {
        match request {
            Request::Call { tool, input } => {
                let answer = Self::call(script, tool, input);
                Some((script.borrow().takes(tool), answer))
            }
            Request::Start {
                agent, goal, input, ..
            } => {
                let answer = Self::start(script, agent, goal, input);
                Some((script.borrow().takes(agent), answer))
            }
            Request::Sleep { ms } | Request::Timer { ms } => Some((*ms, Ok("null".to_owned()))),
            Request::Record { value } => Some((0, Ok(value.clone()))),
            Request::Ask(asked) => Self::ask(script, asked),
            Request::Embed { request } => Some((0, Self::embed(script, request))),
            Request::Memory { request } => {
                let memory = script.borrow().memory.clone();
                Some((0, memory.ask(request)))
            }
            Request::Signal { .. } | Request::Chat { .. } => None,
        }
    }

    /// Asks a model.
    pub(crate) fn chat(
        script: &Rc<RefCell<Self>>,
        request: &str,
        seen: &ModelRequest,
        told: &Told,
    ) -> Coming {
        let model = script.borrow_mut().models.remove_entry(&seen.role);
        let Some((role, mut model)) = model else {
            return Some((0, Err(no_role(&seen.role, "model"))));
        };
        let says = model(seen);
        let mut script = script.borrow_mut();
        script.models.insert(role, model);
        let first = script.model_calls;
        script.model_calls += says.calls.len();
        let answer = match &says.error {
            Some(error) => Err(error.clone()),
            None => Ok(chats::answer(request, &says, first, told).to_string()),
        };
        Some((ms(says.takes), answer))
    }

    fn embed(script: &Rc<RefCell<Self>>, request: &str) -> Result<String, Error> {
        let body = chats::check_embed(request)?;
        let embeds = script.borrow_mut().embeds.remove_entry(&body.role);
        let Some((role, mut embeds)) = embeds else {
            return Err(no_role(&body.role, "embeds"));
        };
        let vectors: Vec<Vec<f32>> = body.texts.iter().map(|text| embeds(text)).collect();
        script.borrow_mut().embeds.insert(role, embeds);
        let tokens = body.texts.iter().map(|text| text.len() as u64).sum::<u64>();
        Ok(
            json!({ "vectors": vectors, "usage": { "input_tokens": tokens, "output_tokens": 0 },
            "model": "scripted", "spent": { "tokens": tokens, "cost_micros": 0 } })
            .to_string(),
        )
    }

    fn call(script: &Rc<RefCell<Self>>, name: &str, input: &str) -> Result<String, Error> {
        let tool = script.borrow_mut().tools.remove_entry(name);
        let Some((name, mut tool)) = tool else {
            let rule = format!(
                "no tools rule covers `{name}`; needed: tools = [{{ tool = \"{name}\" }}] \
                 (in a test: `.tool(\"{name}\", …)`)"
            );
            return Err(Error::denied("tools", format!("call {name}"), rule));
        };
        let answer = tool(value(input));
        script.borrow_mut().tools.insert(name, tool);
        answer.map(|answer| answer.to_string())
    }

    fn start(
        script: &Rc<RefCell<Self>>,
        name: &str,
        goal: &str,
        input: &str,
    ) -> Result<String, Error> {
        let child = script.borrow_mut().children.remove_entry(name);
        let Some((name, mut child)) = child else {
            let rule = format!(
                "no agents rule names `{name}`; needed: agents = [{{ agent = \"{name}\" }}] \
                 (in a test: `.child(\"{name}\", …)`)"
            );
            return Err(Error::denied("agents", format!("start {name}"), rule));
        };
        let input = value(input);
        let answer = match input.is_object() {
            true => child(goal, input),
            false => Err(Error::invalid_input("input: a JSON object is needed")),
        };
        script.borrow_mut().children.insert(name, child);
        answer.map(|answer| answer.to_string())
    }

    fn ask(script: &Rc<RefCell<Self>>, asked: &crate::agent::Question) -> Coming {
        let decides = script.borrow_mut().decides.take();
        let answer = decides.and_then(|mut decides| {
            let answer = decides(&question(asked));
            script.borrow_mut().decides = Some(decides);
            answer.decision
        });
        let in_time = |after: u64| asked.due_ms.is_none_or(|due_ms| after < due_ms);
        match answer {
            Some((decision, after)) if in_time(ms(after)) => {
                assert!(
                    asked.choices.contains(&decision.choice),
                    "the test decides `{}`, which is none of the choices of \"{}\": `{}`",
                    decision.choice,
                    asked.text,
                    asked.choices.join("`, `")
                );
                let decision = serde_json::to_string(&decision);
                let decision = decision.map_err(|error| Error::permanent(error.to_string()));
                Some((ms(after), decision))
            }
            _ => {
                let nobody = Error::transient("nobody answered in time", None);
                asked.due_ms.map(|due_ms| (due_ms, Err(nobody)))
            }
        }
    }
}
