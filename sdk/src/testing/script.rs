//! What a test answers an agent with.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use super::people::{Answer, Question};
use super::run::Coming;
use super::step::Request;
use crate::Error;
use crate::agent::{EffectClass, ToolInfo};

type Tool = Box<dyn FnMut(Value) -> Result<Value, Error>>;
type Child = Box<dyn FnMut(&str, Value) -> Result<Value, Error>>;
type Decides = Box<dyn FnMut(&Question) -> Answer>;

/// What a test gives: tools, children, people.
#[derive(Default)]
pub(crate) struct Script {
    pub(super) tools: BTreeMap<String, Tool>,
    pub(super) infos: BTreeMap<String, ToolInfo>,
    pub(super) children: BTreeMap<String, Child>,
    pub(super) decides: Option<Decides>,
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
            Request::Signal { .. } => None,
        }
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
