//! Of what kind values are, step by step.

use std::collections::BTreeMap;

use super::{Part, graph, parts};
use crate::cel::{Env, Type, infer};
use crate::model::{Action, Wait};
use crate::problem::{Place, Problems, instead};
use crate::read::{BlockDraft, Draft};
use crate::schema::Schema;
use crate::template::{Expression, Template};

/// The kind of what a block gives.
pub(super) fn block(
    block: &BlockDraft,
    needs: &[Vec<usize>],
    blocks: &BTreeMap<String, BlockDraft>,
    kinds: &BTreeMap<&str, Type>,
    problems: &mut Problems,
) -> Type {
    let steps = block
        .steps
        .iter()
        .map(|draft| (draft.step.id.clone(), Type::Any));
    let mut checking = Checking {
        blocks,
        kinds,
        env: Env::from([
            ("input".to_owned(), Schema::object(&block.inputs).kind()),
            ("run".to_owned(), run()),
            ("steps".to_owned(), Type::Map(steps.collect(), false)),
        ]),
        problems,
    };
    for step in graph::order(needs) {
        let draft = &block.steps[step];
        let output = checking.step(draft);
        if let Some(Type::Map(steps, _)) = checking.env.get_mut("steps") {
            steps.insert(draft.step.id.clone(), ended(output));
        }
    }
    let mut given = BTreeMap::new();
    for output in &block.outputs {
        let env = checking.env.clone();
        let found = checking.template(&output.value, &env);
        let kind = checking.declared(found, output.schema.as_ref(), output.at);
        given.insert(output.name.clone(), kind);
    }
    Type::Map(given, false)
}

fn map<const N: usize>(members: [(&str, Type); N]) -> Type {
    let members = members
        .into_iter()
        .map(|(name, kind)| (name.to_owned(), kind));
    Type::Map(members.collect(), false)
}

fn run() -> Type {
    map([
        ("started", Type::Text),
        ("logical_time", Type::Text),
        (
            "interval",
            map([("start", Type::Text), ("end", Type::Text)]),
        ),
    ])
}

fn ended(output: Type) -> Type {
    map([
        ("output", output),
        ("status", Type::Text),
        ("error", Type::Any),
    ])
}

struct Checking<'a> {
    blocks: &'a BTreeMap<String, BlockDraft>,
    kinds: &'a BTreeMap<&'a str, Type>,
    env: Env,
    problems: &'a mut Problems,
}

impl Checking<'_> {
    fn step(&mut self, draft: &Draft) -> Type {
        let step = &draft.step;
        let mut env = self.env.clone();
        if let Some(when) = &step.when {
            self.needs(when, &env, &Type::Bool, "`when`");
        }
        if let Some(over) = &step.for_each {
            let item = match self.template(over, &env) {
                Type::List(item) => *item,
                Type::Any => Type::Any,
                other => {
                    let at = place(over).unwrap_or(step.at);
                    self.problems.add(
                        at,
                        format!("`for_each` takes a list, and this is {}", other.what()),
                    );
                    Type::Any
                }
            };
            env.insert("item".to_owned(), item);
            env.insert("index".to_owned(), Type::Int);
        }
        let result = self.action(draft, &env);
        let mut with_result = env.clone();
        with_result.insert("result".to_owned(), result.clone());
        let mut with_error = env.clone();
        with_error.insert(
            "error".to_owned(),
            map([("code", Type::Text), ("message", Type::Text)]),
        );
        let mut output = result;
        for (part, template) in parts(draft) {
            match part {
                Part::Result => {
                    let kind = self.template(template, &with_result);
                    if step
                        .output
                        .as_ref()
                        .is_some_and(|output| std::ptr::eq(output, template))
                    {
                        output = kind;
                    }
                }
                Part::Error => {
                    self.template(template, &with_error);
                }
                Part::Head | Part::Body => {}
            }
        }
        let output = self.declared(output, step.returns.as_ref(), step.at);
        match step.for_each {
            Some(_) => Type::List(Box::new(output)),
            None => output,
        }
    }

    /// The kind of what it gives.
    fn action(&mut self, draft: &Draft, env: &Env) -> Type {
        let at = draft.step.at;
        if draft.broken {
            return Type::Any;
        }
        match &draft.step.action {
            Action::Tool { with, .. } => {
                self.input(with, env);
                Type::Any
            }
            Action::Agent(agent) => {
                self.template(&agent.goal, env);
                self.input(&agent.with, env);
                Type::Any
            }
            Action::Model(model) => {
                for text in model.system.iter().chain([&model.prompt]) {
                    self.template(text, env);
                }
                model.schema.as_ref().map_or(Type::Text, Schema::kind)
            }
            Action::Approval(approval) => {
                for value in [&approval.text].into_iter().chain(&approval.payload) {
                    self.template(value, env);
                }
                map([("choice", Type::Text), ("note", Type::Any)])
            }
            Action::Wait(wait) => self.wait(wait, env, at),
            Action::Workflow { name, with } => {
                let given = self.input(with, env);
                self.inputs(name, with, &given, at);
                self.kinds.get(name.as_str()).cloned().unwrap_or(Type::Any)
            }
            Action::Value(value) => self.template(value, env),
        }
    }

    fn wait(&mut self, wait: &Wait, env: &Env, at: Place) -> Type {
        let (value, fits): (_, &[Type]) = match wait {
            Wait::For(value) => (value, &[Type::Text, Type::Int]),
            Wait::Until(value) => (value, &[Type::Text]),
            Wait::Signal(_) => return Type::Any,
        };
        let found = self.template(value, env);
        if !fits.iter().any(|fit| found.may_be(fit)) {
            let at = place(value).unwrap_or(at);
            self.problems.add(
                at,
                format!("a text is needed here, and this is {}", found.what()),
            );
        }
        Type::Null
    }

    /// What a step is given is a map.
    fn input(&mut self, with: &Template, env: &Env) -> Type {
        let found = self.template(with, env);
        // What is written down was looked at when it was read.
        if let (Template::Expression(_), Some(at)) = (with, place(with))
            && !matches!(found, Type::Any | Type::Map(..))
        {
            let message = format!("`with` is a map, and this is {}", found.what());
            self.problems.add(at, message);
        }
        found
    }

    /// What a sub-workflow is given against what it takes.
    fn inputs(&mut self, name: &str, with: &Template, given: &Type, at: Place) {
        let (Some(block), Type::Map(given, open)) = (self.blocks.get(name), given) else {
            return;
        };
        for (input, schema) in &block.inputs {
            let member_at = member_place(with, input).unwrap_or(at);
            match given.get(input) {
                None if !open && schema.fallback().is_none() => {
                    self.problems
                        .add(at, format!("the input `{input}` of `{name}` is missing"));
                }
                Some(found) if !found.may_be(&schema.kind()) => {
                    let needed = schema.kind();
                    let message = format!(
                        "the input `{input}` of `{name}` is {}, and this is {}",
                        needed.what(),
                        found.what()
                    );
                    self.problems.add(member_at, message);
                }
                _ => {}
            }
        }
        for member in given
            .keys()
            .filter(|member| !block.inputs.contains_key(*member))
        {
            let known = instead(member, block.inputs.keys().map(String::as_str));
            let member_at = member_place(with, member).unwrap_or(at);
            self.problems.add(
                member_at,
                format!("`{name}` has no input `{member}`: {known}"),
            );
        }
    }

    /// What it has to be, where that is said.
    fn declared(&mut self, found: Type, schema: Option<&Schema>, at: Place) -> Type {
        let Some(schema) = schema else { return found };
        let needed = schema.kind();
        if !found.may_be(&needed) {
            let message = format!("it has to be {}, and it is {}", needed.what(), found.what());
            self.problems.add(at, message);
        }
        needed
    }

    fn needs(&mut self, expression: &Expression, env: &Env, needed: &Type, what: &str) {
        let found = self.expression(expression, env);
        if !found.may_be(needed) {
            let message = format!("{what} is {}, and this is {}", needed.what(), found.what());
            self.problems
                .add(expression.place(expression.expr.at), message);
        }
    }

    fn template(&mut self, template: &Template, env: &Env) -> Type {
        match template {
            Template::Value(value) => Type::of(value),
            Template::Expression(expression) => self.expression(expression, env),
            Template::Text(_) => {
                template.expressions(&mut |expression| {
                    self.expression(expression, env);
                });
                Type::Text
            }
            Template::List(items) => {
                let mut kinds = items
                    .iter()
                    .map(|item| self.template(item, env))
                    .collect::<Vec<_>>()
                    .into_iter();
                let first = kinds.next().unwrap_or(Type::Any);
                let same = kinds.all(|kind| kind == first);
                Type::List(Box::new(if same { first } else { Type::Any }))
            }
            Template::Map(members) => {
                let members = members
                    .iter()
                    .map(|(name, member)| (name.clone(), self.template(member, env)));
                Type::Map(members.collect(), false)
            }
        }
    }

    fn expression(&mut self, expression: &Expression, env: &Env) -> Type {
        let mut faults = Vec::new();
        let kind = infer(&expression.expr, env, &mut faults);
        for fault in faults {
            self.problems
                .add(expression.place(fault.offset), fault.message);
        }
        kind
    }
}

/// Where the first expression of a value stands.
fn place(template: &Template) -> Option<Place> {
    let mut found = None;
    template.expressions(&mut |expression| {
        found = found.or_else(|| Some(expression.place(expression.expr.at)));
    });
    found
}

fn member_place(with: &Template, name: &str) -> Option<Place> {
    let Template::Map(members) = with else {
        return None;
    };
    members
        .iter()
        .find(|(member, _)| member == name)
        .and_then(|(_, member)| place(member))
}
