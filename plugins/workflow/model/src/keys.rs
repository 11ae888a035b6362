//! What may stand in a workflow file: the keys that are read, with their forms.
//!
//! What must stay true: the reader knows no key but these, so the published schema,
//! which is made of them, says what is read.

use serde_json::{Map, Value, json};

use crate::limits;

/// A key of a map.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) needed: bool,
    doc: &'static str,
    form: Form,
}

/// What a key's value looks like.
enum Form {
    Text,
    Name,
    Bool,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number, 1 to this.
    Count(u64),
    Duration,
    /// A text that is an expression.
    Expression,
    /// Anything, with expressions in its texts.
    Any,
    List(&'static Form),
    /// A map from names.
    Map(&'static Form),
    Object(&'static [Key]),
    /// A part with a name of its own.
    Part(&'static str),
    Either(&'static [Form]),
}

const fn needed(name: &'static str, form: Form, doc: &'static str) -> Key {
    Key {
        name,
        needed: true,
        doc,
        form,
    }
}

const fn key(name: &'static str, form: Form, doc: &'static str) -> Key {
    Key {
        name,
        needed: false,
        doc,
        form,
    }
}

pub(crate) const TRIGGERS: &[&str] = &[
    "all_success",
    "all_done",
    "none_failed",
    "one_success",
    "one_failed",
];
pub(crate) const CODES: &[&str] = &[
    "transient",
    "permanent",
    "invalid-input",
    "denied",
    "not-found",
    "limit",
    "cancelled",
    "unknown",
    "escalate",
];
pub(crate) const ON_CHOICE: &[&str] = &["continue", "fail", "skip", "escalate"];
pub(crate) const ON_ERROR: &[&str] = &["fail", "continue", "escalate"];
/// The keys that say what a step does.
pub(crate) const ACTIONS: &[&str] = &[
    "tool", "agent", "model", "approval", "wait", "workflow", "value",
];

pub(crate) const WORKFLOW: &[Key] = &[
    key("version", Form::Count(1), "The version of this format: 1."),
    key("name", Form::Text, "What it is called."),
    key("description", Form::Text, "What it is for."),
    key(
        "inputs",
        Form::Map(&Form::Part("type")),
        "What it takes, by name. One without a `default` is needed.",
    ),
    key(
        "outputs",
        Form::Map(&Form::Part("output")),
        "What it gives, by name.",
    ),
    needed("steps", Form::List(&Form::Part("step")), "What it does."),
    key(
        "parallel",
        Form::Count(limits::PARALLEL_MAX),
        "How many calls are under way at once; 8 unless given.",
    ),
    key(
        "timeout",
        Form::Duration,
        "How long a run may take, waiting counted.",
    ),
    key(
        "workflows",
        Form::Map(&Form::Part("workflow")),
        "Workflows that its steps run, by name.",
    ),
];

pub(crate) const SUB_WORKFLOW: &[Key] = &[
    key("description", Form::Text, "What it is for."),
    key(
        "inputs",
        Form::Map(&Form::Part("type")),
        "What it takes, by name.",
    ),
    key(
        "outputs",
        Form::Map(&Form::Part("output")),
        "What it gives, by name.",
    ),
    needed("steps", Form::List(&Form::Part("step")), "What it does."),
    key(
        "timeout",
        Form::Duration,
        "How long it may take, waiting counted.",
    ),
];

pub(crate) const STEP: &[Key] = &[
    needed(
        "id",
        Form::Name,
        "What other steps call it: letters, digits, `_`.",
    ),
    key(
        "name",
        Form::Text,
        "What people see in the plan; its id unless given.",
    ),
    key("tool", Form::Text, "Calls a tool, `plugin/tool`."),
    key("agent", Form::Text, "Runs another agent and waits for it."),
    key("model", Form::Object(MODEL), "Asks a language model."),
    key("approval", Form::Object(APPROVAL), "Asks a person."),
    key(
        "wait",
        Form::Either(&[Form::Duration, Form::Object(WAIT)]),
        "Waits for a time or a signal.",
    ),
    key("workflow", Form::Name, "Runs one of `workflows`."),
    key("value", Form::Any, "Works out a value."),
    key(
        "with",
        Form::Any,
        "The input of a tool, an agent or a workflow: a map.",
    ),
    key("goal", Form::Text, "What the agent is to reach, in words."),
    key("budget", Form::Object(BUDGET), "What the agent may use."),
    key(
        "needs",
        Form::Either(&[Form::Name, Form::List(&Form::Name)]),
        "Steps that end before it begins, besides those that its expressions name.",
    ),
    key(
        "trigger",
        Form::Word(TRIGGERS),
        "How they have to end; `all_success` unless given.",
    ),
    key(
        "when",
        Form::Expression,
        "Whether it runs at all: a boolean.",
    ),
    key(
        "for_each",
        Form::Either(&[Form::Expression, Form::List(&Form::Any)]),
        "Runs it once for each item of a list.",
    ),
    key(
        "max_parallel",
        Form::Count(limits::PARALLEL_MAX),
        "How many items are under way at once; `parallel` unless given.",
    ),
    key("retry", Form::Object(RETRY), "Tries again after errors."),
    key("timeout", Form::Duration, "How long one attempt may take."),
    key(
        "on_error",
        Form::Either(&[Form::Word(ON_ERROR), Form::Object(HANDLED)]),
        "What becomes of the run when it has failed; `fail` unless given.",
    ),
    key(
        "compensate",
        Form::Object(COMPENSATE),
        "Undoes it when the run fails later.",
    ),
    key("output", Form::Any, "Its output, made of `result`."),
    key("returns", Form::Part("type"), "What its output has to be."),
];

pub(crate) const MODEL: &[Key] = &[
    needed(
        "role",
        Form::Text,
        "The role that the administrator gave models, e.g. `writer`.",
    ),
    key("system", Form::Text, "What the model is told of its task."),
    needed("prompt", Form::Text, "What it is asked."),
    key(
        "schema",
        Form::Part("type"),
        "What its answer has to be; a text unless given.",
    ),
    key(
        "max_tokens",
        Form::Count(1_000_000),
        "How long its answer may be.",
    ),
];

pub(crate) const APPROVAL: &[Key] = &[
    needed("text", Form::Text, "What is asked."),
    key(
        "choices",
        Form::List(&Form::Text),
        "The answers, 2 to 16; `approve` and `deny`, which fails, unless given.",
    ),
    key("payload", Form::Any, "A value that is shown beside it."),
    key(
        "due",
        Form::Duration,
        "How long somebody may answer; without it, as long as it takes.",
    ),
    key(
        "on",
        Form::Map(&Form::Word(ON_CHOICE)),
        "What becomes of the step by choice; `continue` unless given.",
    ),
    key(
        "on_due",
        Form::Text,
        "What becomes of it when nobody answered: `fail` (unless given), `skip`, `escalate`, or a choice.",
    ),
];

pub(crate) const WAIT: &[Key] = &[
    key("for", Form::Duration, "A time."),
    key("until", Form::Text, "A moment of RFC 3339."),
    key(
        "signal",
        Form::Text,
        "A signal's name; the step's output is its payload.",
    ),
];

pub(crate) const BUDGET: &[Key] = &[
    key("calls", Form::Count(u64::MAX), "Calls of tools."),
    key("steps", Form::Count(u64::MAX), "Requests of any kind."),
    key("events", Form::Count(u64::MAX), "Records of its journal."),
    key("wall", Form::Duration, "Time, waiting counted."),
    key("cpu", Form::Duration, "CPU time."),
    key(
        "model_tokens",
        Form::Count(u64::MAX),
        "Tokens of language models, in and out.",
    ),
    key(
        "model_micros",
        Form::Count(u64::MAX),
        "Cost of language models, millionths of the host's currency.",
    ),
];

pub(crate) const RETRY: &[Key] = &[
    key(
        "attempts",
        Form::Count(limits::ATTEMPTS_MAX),
        "Attempts, the first one counted; 3 unless given.",
    ),
    key(
        "backoff",
        Form::Duration,
        "The wait before the second attempt, which doubles with each; 1s unless given.",
    ),
    key(
        "backoff_max",
        Form::Duration,
        "The longest wait; 5m unless given.",
    ),
    key(
        "on",
        Form::List(&Form::Word(CODES)),
        "The errors after which it is tried again; `transient` unless given.",
    ),
];

pub(crate) const HANDLED: &[Key] = &[
    key(
        "value",
        Form::Any,
        "The step counts as done, with this output.",
    ),
    key(
        "compensate",
        Form::List(&Form::Name),
        "The run fails, and these steps alone are undone.",
    ),
];

pub(crate) const COMPENSATE: &[Key] = &[
    key(
        "tool",
        Form::Text,
        "The tool that undoes it, `plugin/tool`.",
    ),
    key("agent", Form::Text, "The agent that undoes it."),
    key("goal", Form::Text, "What the agent is to reach."),
    key("with", Form::Any, "Its input."),
    key("retry", Form::Object(RETRY), "Tries again after errors."),
];

pub(crate) const OUTPUT: &[Key] = &[
    needed("value", Form::Any, "What it is."),
    key("type", Form::Part("type"), "What it has to be."),
    key("description", Form::Text, "What it is for."),
];

/// Keys of a type, which the reader of types knows.
const TYPE: &[Key] = &[
    key(
        "type",
        Form::Either(&[Form::Word(TYPE_NAMES), Form::List(&Form::Word(TYPE_NAMES))]),
        "Its kind.",
    ),
    key("title", Form::Text, "What it is called."),
    key("description", Form::Text, "What it is for."),
    key(
        "default",
        Form::Any,
        "What stands for one that is not given; with `null` it may be absent.",
    ),
    key("enum", Form::List(&Form::Any), "The values that it may be."),
    key(
        "properties",
        Form::Map(&Form::Part("type")),
        "Members of a map.",
    ),
    key(
        "required",
        Form::List(&Form::Text),
        "Those that are needed.",
    ),
    key(
        "additionalProperties",
        Form::Bool,
        "Whether there may be others.",
    ),
    key("items", Form::Part("type"), "What the items of a list are."),
    key("minimum", Form::Any, "The least number."),
    key("maximum", Form::Any, "The largest number."),
    key("minLength", Form::Any, "The least characters."),
    key("maxLength", Form::Any, "The most characters."),
    key("minItems", Form::Any, "The least items."),
    key("maxItems", Form::Any, "The most items."),
    key(
        "format",
        Form::Word(&["date-time"]),
        "A moment of RFC 3339.",
    ),
];

const TYPE_NAMES: &[&str] = &[
    "string", "number", "integer", "boolean", "array", "object", "null",
];

/// The JSON Schema of workflow files, for editors.
#[must_use]
pub fn published() -> Value {
    let type_names = json!({ "enum": TYPE_NAMES });
    let sub = object(SUB_WORKFLOW);
    let mut schema = object(WORKFLOW);
    let parts = json!({
        "step": object(STEP),
        "workflow": sub,
        "type": { "anyOf": [type_names, object(TYPE)] },
        "output": {
            "description": "A value, or a map with a `value` and its type.",
            "anyOf": [object(OUTPUT), {}],
        },
    });
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "Airlock workflow".into();
    schema["$defs"] = parts;
    let actions = ACTIONS.iter().map(|action| json!({ "required": [action] }));
    schema["$defs"]["step"]["oneOf"] = actions.collect();
    schema
}

fn object(keys: &[Key]) -> Value {
    let members: Map<String, Value> = keys
        .iter()
        .map(|key| {
            let mut form = key.form.json();
            form["description"] = key.doc.into();
            (key.name.to_owned(), form)
        })
        .collect();
    let needed: Vec<&str> = keys
        .iter()
        .filter(|key| key.needed)
        .map(|key| key.name)
        .collect();
    let mut object =
        json!({ "type": "object", "properties": members, "additionalProperties": false });
    if !needed.is_empty() {
        object["required"] = json!(needed);
    }
    object
}

impl Form {
    fn json(&self) -> Value {
        match self {
            Self::Text => json!({ "type": "string" }),
            Self::Name => {
                json!({ "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "maxLength": limits::NAME_CHARS_MAX })
            }
            Self::Bool => json!({ "type": "boolean" }),
            Self::Word(words) => json!({ "enum": words }),
            Self::Count(u64::MAX) => json!({ "type": "integer", "minimum": 1 }),
            Self::Count(most) => json!({ "type": "integer", "minimum": 1, "maximum": most }),
            Self::Duration => json!({ "type": "string", "examples": ["90s", "1h30m", "2d"] }),
            Self::Expression => {
                json!({ "type": ["string", "boolean"], "examples": ["steps.list.output.size() > 0"] })
            }
            Self::Any => json!({}),
            Self::List(item) => json!({ "type": "array", "items": item.json() }),
            Self::Map(member) => json!({ "type": "object", "additionalProperties": member.json() }),
            Self::Object(keys) => object(keys),
            Self::Part(name) => json!({ "$ref": format!("#/$defs/{name}") }),
            Self::Either(forms) => {
                json!({ "anyOf": forms.iter().map(Self::json).collect::<Vec<_>>() })
            }
        }
    }
}
