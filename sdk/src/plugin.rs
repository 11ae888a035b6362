//! What a plugin is to the host: tools and wants. `plugin!` builds one; the
//! wasm exports and the native tests both read it.

use crate::{Context, Error};

/// What a tool claims about its effects: a default shown to the administrator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Changes nothing outside the call. Implies idempotent.
    pub read_only: bool,
    /// Doing it twice is the same as doing it once.
    pub idempotent: bool,
    /// May delete or overwrite something that cannot be brought back.
    pub destructive: bool,
    /// Reaches systems outside the host.
    pub open_world: bool,
}

type Call = fn(&str, &Context) -> Result<String, Error>;

/// One tool of a plugin.
#[derive(Clone, Copy)]
pub struct Tool {
    parts: ToolParts,
}

/// What `#[tool]` knows of a function.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct ToolParts {
    pub name: &'static str,
    pub title: Option<&'static str>,
    pub description: &'static str,
    pub effects: Effects,
    pub input_schema: fn() -> String,
    pub output_schema: fn() -> Option<String>,
    pub call: Call,
}

/// Built by `#[tool]`.
#[doc(hidden)]
#[must_use]
pub const fn tool(parts: ToolParts) -> Tool {
    Tool { parts }
}

impl Tool {
    /// Its name, unique within the plugin.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.parts.name
    }

    /// Its title for people, where it has one.
    #[must_use]
    pub const fn title(&self) -> Option<&'static str> {
        self.parts.title
    }

    /// Its description, from the doc comment.
    #[must_use]
    pub const fn description(&self) -> &'static str {
        self.parts.description
    }

    /// Its claim about effects.
    #[must_use]
    pub const fn effects(&self) -> Effects {
        self.parts.effects
    }

    /// The JSON Schema of its input.
    #[must_use]
    pub fn input_schema(&self) -> String {
        (self.parts.input_schema)()
    }

    /// The JSON Schema of its output, where it says anything.
    #[must_use]
    pub fn output_schema(&self) -> Option<String> {
        (self.parts.output_schema)()
    }
}

/// A capability a plugin would like to have, and why. It grants nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// The capability's name as in a grants file, e.g. `http`.
    pub capability: &'static str,
    /// The scope as a TOML value that could stand in a grants file.
    pub scope: &'static str,
    /// The reason, for the administrator who decides.
    pub reason: &'static str,
    /// Whether the plugin is of use without it.
    pub optional: bool,
}

/// A plugin: its tools and what it wants.
pub struct Plugin {
    tools: &'static [Tool],
    wants: &'static [Want],
}

impl Plugin {
    /// Its tools.
    #[must_use]
    pub const fn tools(&self) -> &'static [Tool] {
        self.tools
    }

    /// What it wants.
    #[must_use]
    pub const fn wants(&self) -> &'static [Want] {
        self.wants
    }

    /// Calls a tool with a JSON input.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown name, [`Error::InvalidInput`] for an
    /// input that does not fit, and those of the tool.
    pub fn call(&self, name: &str, input: &str, context: &Context) -> Result<String, Error> {
        let tool = self.tools.iter().find(|tool| tool.parts.name == name);
        let tool =
            tool.ok_or_else(|| Error::NotFound(format!("no tool `{name}` in this plugin")))?;
        (tool.parts.call)(input, context)
    }
}

/// Built by `plugin!`.
#[doc(hidden)]
#[must_use]
pub const fn plugin(tools: &'static [Tool], wants: &'static [Want]) -> Plugin {
    Plugin { tools, wants }
}

/// Implemented by `#[tool]` for the type that has the function's name.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tool",
    label = "not a function with `#[tool]`",
    note = "put `#[tool]` above the function"
)]
pub trait ToolDefinition {
    const TOOL: Tool;
}

/// Fails to compile where a tool before it has the name.
#[doc(hidden)]
pub const fn name_is_new(tool: &Tool, before: &[Tool]) {
    let mut index = 0;
    while index < before.len() {
        let same = equal(
            before[index].parts.name.as_bytes(),
            tool.parts.name.as_bytes(),
        );
        assert!(
            !same,
            "a tool before this one has the same name: give one of them `#[tool(name = \"…\")]`"
        );
        index += 1;
    }
}

const fn equal(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}
