//! The tools of a component without an Airlock world: read once from the
//! compiled component, then called with JSON.
//!
//! What must stay true: input is judged before an instance exists; the host
//! never trusts that a guest's value is small.

use serde_json::Value;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, Instance, Val};
use wasmtime::{AsContextMut, Engine};

use super::ty::{DEPTH_MAX, NODES_MAX, Named, TyError, TyReader};
use super::{LowerError, Ty, lift, lower, names, schema};
use crate::call::CallError;
use crate::inspect::docs::Docs;
use crate::inspect::metadata::DESCRIPTION_BYTES_MAX;
use crate::inspect::{Effects, InstallError, TOOLS_MAX, ToolInfo, display_name, text};
use crate::limits::ByteSize;

/// The interface of a program's `main`, with the version to follow.
const PROGRAM: &str = "wasi:cli/run@";

/// Longest schema of a tool, bytes of JSON.
const SCHEMA_BYTES_MAX: usize = 256 << 10;

/// Capabilities through which a call can change something outside it, or reach
/// beyond the host. A component that imports none of them is read-only, which
/// needs no claim.
const EFFECTFUL: [&str; 4] = ["files", "http", "kv", "secrets"];

/// The tools of a component.
pub struct TypedTools {
    tools: Vec<TypedTool>,
}

/// An exported function as a tool.
pub struct TypedTool {
    name: String,
    interface: Option<String>,
    function: String,
    params: Named<Ty>,
    result: Option<Ty>,
    index: ComponentExportIndex,
}

impl TypedTools {
    /// Reads the exported functions of a compiled component.
    ///
    /// # Errors
    /// A function that can't be called with JSON, or none at all.
    pub fn new(engine: &Engine, component: &Component) -> Result<Self, InstallError> {
        let mut tools = Vec::new();
        let ty = component.component_type();
        for (name, item) in ty.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(func) => {
                    tools.push(TypedTool::new(component, None, name, &func)?);
                }
                ComponentItem::ComponentInstance(instance) => {
                    for (function, item) in instance.exports(engine) {
                        if let ComponentItem::ComponentFunc(func) = item.ty {
                            tools.push(TypedTool::new(component, Some(name), function, &func)?);
                        }
                    }
                }
                _ => {}
            }
        }
        Self::named(tools)
    }

    fn named(mut tools: Vec<TypedTool>) -> Result<Self, InstallError> {
        if tools.is_empty() {
            return Err(InstallError::NoTools);
        }
        if tools.len() > TOOLS_MAX {
            return Err(InstallError::Limit {
                limit: "tools",
                what: "exported functions",
                found: tools.len() as u64,
                max: TOOLS_MAX as u64,
            });
        }
        let functions: Vec<(Option<&str>, &str)> = tools
            .iter()
            .map(|tool| (tool.interface.as_deref(), tool.function.as_str()))
            .collect();
        let names = names::of(&functions);
        for (tool, name) in tools.iter_mut().zip(names) {
            tool.name = name;
        }
        Ok(Self { tools })
    }

    /// The tool with this name.
    pub fn find(&self, name: &str) -> Option<&TypedTool> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// What callers see of the tools. `capabilities` are those that the
    /// component imports.
    ///
    /// # Errors
    /// A schema that is too long.
    pub fn infos(
        &self,
        docs: &Docs,
        capabilities: &[String],
    ) -> Result<Vec<ToolInfo>, InstallError> {
        let effects = effects(capabilities);
        let tools = self.tools.iter();
        tools.map(|tool| tool.info(docs, effects)).collect()
    }
}

impl TypedTool {
    fn new(
        component: &Component,
        interface: Option<&str>,
        function: &str,
        ty: &ComponentFunc,
    ) -> Result<Self, InstallError> {
        let shown = || display_name(interface, function);
        if ty.async_() {
            return Err(InstallError::AsyncFunction { function: shown() });
        }
        let mut reader = TyReader::default();
        let mut params = Vec::new();
        for (name, ty) in ty.params() {
            let read = reader.read(&ty);
            let place = format!("parameter {name}");
            params.push((
                name.to_owned(),
                read.map_err(|e| refusal(shown(), place, e))?,
            ));
        }
        let result = ty.results().next().map(|ty| reader.read(&ty)).transpose();
        let place = "the result".to_owned();
        Ok(Self {
            name: String::new(),
            interface: interface.map(str::to_owned),
            function: function.to_owned(),
            params: Named::new(params),
            result: result.map_err(|e| refusal(shown(), place, e))?,
            index: export_index(component, interface, function)?,
        })
    }

    /// Unique in the component.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the input of a call; `max` bounds the memory of the values.
    ///
    /// # Errors
    /// `invalid-input` with the place and what was expected there, or `limit`.
    pub fn read_input(&self, input: &str, max: ByteSize) -> Result<Vec<Val>, CallError> {
        Ok(lift::params(&self.params, input, max)?)
    }

    /// Calls the function in an instance; post-return included.
    ///
    /// # Errors
    /// A trap, or a limit that ended the call.
    pub async fn run(
        &self,
        mut store: impl AsContextMut<Data: Send>,
        instance: &Instance,
        params: &[Val],
    ) -> wasmtime::Result<Option<Val>> {
        let func = instance
            .get_func(&mut store, self.index)
            .ok_or_else(|| wasmtime::Error::msg("the component lost an exported function"))?;
        let mut results = vec![Val::Bool(false); usize::from(self.result.is_some())];
        func.call_async(&mut store, params, &mut results).await?;
        Ok(results.pop())
    }

    /// Whether it is a program's `main`, which has no more to say than that it
    /// succeeded or failed.
    pub fn is_program(&self) -> bool {
        let interface = self.interface.as_deref().unwrap_or_default();
        interface.starts_with(PROGRAM) && self.function == "run"
    }

    /// Writes what the function returned: the value, or for a `result` its `ok`
    /// payload; `null` where there is none.
    ///
    /// # Errors
    /// `permanent` with the JSON of the `err` payload (`null` where it has none),
    /// or `limit` when the JSON is longer than `max`.
    pub fn write_output(&self, result: Option<&Val>, max: ByteSize) -> Result<String, CallError> {
        let (Some(ty), Some(val)) = (&self.result, result) else {
            return Ok("null".to_owned());
        };
        let json = |ty: Option<&Ty>, val: Option<&Val>| match (ty, val) {
            (Some(ty), Some(val)) => write(ty, val, max),
            _ => Ok("null".to_owned()),
        };
        match (ty, val) {
            (Ty::Result(cases), Val::Result(Ok(payload))) => {
                json(payload_ty(cases, "ok"), payload.as_deref())
            }
            (Ty::Result(cases), Val::Result(Err(payload))) => Err(CallError::Permanent {
                message: json(payload_ty(cases, "err"), payload.as_deref())?,
            }),
            _ => json(Some(ty), Some(val)),
        }
    }

    fn info(&self, docs: &Docs, effects: Effects) -> Result<ToolInfo, InstallError> {
        let documented = docs.function(self.interface.as_deref(), &self.function);
        let description = match documented {
            Some(docs) => text::escape(docs).into_owned(),
            None => self.derived_description(),
        };
        Ok(ToolInfo {
            name: self.name.clone(),
            title: None,
            description: text::truncate(&description, DESCRIPTION_BYTES_MAX),
            input_schema: self.bounded(schema::params(&self.params))?,
            output_schema: self.output_schema().map(|s| self.bounded(s)).transpose()?,
            effects,
        })
    }

    fn derived_description(&self) -> String {
        let params = self.params.iter().map(|(name, ty)| format!("{name}: {ty}"));
        let params = params.collect::<Vec<_>>().join(", ");
        let result = self.result.as_ref();
        let result = result.map_or(String::new(), |ty| format!(" -> {ty}"));
        let function = display_name(self.interface.as_deref(), &self.function);
        format!("Calls `{function}: func({params}){result}`.")
    }

    fn output_schema(&self) -> Option<Value> {
        let none = || serde_json::json!({ "type": "null" });
        Some(match &self.result {
            None => none(),
            Some(Ty::Result(cases)) => payload_ty(cases, "ok").map_or_else(none, schema::of),
            Some(ty) => schema::of(ty),
        })
    }

    fn bounded(&self, schema: Value) -> Result<Value, InstallError> {
        if schema.to_string().len() > SCHEMA_BYTES_MAX {
            return Err(InstallError::SignatureTooLarge {
                function: display_name(self.interface.as_deref(), &self.function),
                what: "bytes of JSON Schema",
                max: SCHEMA_BYTES_MAX,
            });
        }
        Ok(schema)
    }
}

fn payload_ty<'a>(cases: &'a Named<Option<Ty>>, name: &str) -> Option<&'a Ty> {
    cases.find(name).and_then(|(_, ty)| ty.as_ref())
}

fn write(ty: &Ty, val: &Val, max: ByteSize) -> Result<String, CallError> {
    let bytes = usize::try_from(max.0).unwrap_or(usize::MAX);
    lower::value(ty, val, bytes).map_err(|error| match error {
        LowerError::TooLong { .. } => CallError::Limit {
            limit: "output".to_owned(),
            value: max.to_string(),
        },
        LowerError::Mismatch { .. } => CallError::Permanent {
            message: error.to_string(),
        },
    })
}

/// What its imports allow a component to do at most; nothing it says itself.
fn effects(capabilities: &[String]) -> Effects {
    let imports = |name: &str| capabilities.iter().any(|capability| capability == name);
    let read_only = !EFFECTFUL.iter().any(|name| imports(name));
    Effects {
        read_only,
        idempotent: read_only,
        destructive: !read_only,
        open_world: imports("http"),
    }
}

fn export_index(
    component: &Component,
    interface: Option<&str>,
    function: &str,
) -> Result<ComponentExportIndex, InstallError> {
    let find = || {
        let instance = match interface {
            Some(interface) => Some(component.get_export_index(None, interface)?),
            None => None,
        };
        component.get_export_index(instance.as_ref(), function)
    };
    find().ok_or_else(|| InstallError::Internal {
        step: "looking up an exported function",
        source: format!("`{}` is gone", display_name(interface, function)).into(),
    })
}

fn refusal(function: String, path: String, error: TyError) -> InstallError {
    let too_large = |what, max| InstallError::SignatureTooLarge {
        function: function.clone(),
        what,
        max,
    };
    match error {
        TyError::TooMany => too_large("types", NODES_MAX),
        TyError::TooDeep => too_large("levels of types", DEPTH_MAX),
        TyError::Refused(refused) => InstallError::RefusedType {
            function,
            path,
            refused,
        },
    }
}
