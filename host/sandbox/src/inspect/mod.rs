//! What can be said of a component before it runs: is it one, what does it
//! import and export, does it fit. Everything here is a pure function of bytes
//! that someone else wrote, so it must not panic, and must not take longer than
//! the bytes are long.

pub mod docs;
pub mod error;
pub mod features;
pub mod known;
pub mod manifest;
pub mod metadata;
mod schema;
mod shape;
mod signatures;
pub mod text;

#[cfg(test)]
mod tests;

use wasmparser::types::TypesRef;

use self::docs::Docs;
pub use self::error::{InstallError, Refused, UnknownImport};
use self::known::Known;
pub use self::manifest::{AgentInfo, Effects, Kind, Manifest, ToolInfo, UnknownTools, Want};
pub use self::shape::Needs;
use self::shape::Shape;
pub(crate) use self::signatures::display_name;
use crate::limits::ByteSize;

/// Most tools of one component.
pub const TOOLS_MAX: usize = 256;

/// Size of a page of linear memory; other sizes are refused.
const PAGE_BYTES: u64 = 1 << 16;

/// What a component may need. Whatever needs more could never be called.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Size of the component.
    pub component_bytes: u64,
    /// Core module instances, memories and tables, each.
    pub instances: u64,
    /// Sum of the memories' minimum sizes.
    pub memory_bytes: u64,
    /// Sum of the tables' minimum sizes.
    pub table_elements: u64,
}

/// What a component's bytes say.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// How its tools are called.
    pub kind: Kind,
    /// The contract it was built for, e.g. `airlock:tool@1.0.0`.
    pub contract: Option<String>,
    /// Imports that have functions or resources.
    pub imports: Vec<String>,
    /// The capabilities among them, sorted.
    pub capabilities: Vec<String>,
    /// Its doc comments, where it carries them.
    pub docs: Docs,
    /// What one instance needs.
    pub needs: Needs,
}

/// Inspects a component: format, imports, exports, size.
///
/// Function bodies are not validated here but by the compiler, in its own
/// process.
///
/// # Errors
/// The first reason why it can't be installed.
pub fn component(bytes: &[u8], bounds: &Bounds) -> Result<Inspection, InstallError> {
    check_size(bytes, bounds)?;
    check_magic(bytes)?;
    let (shape, features) = read(bytes)?;
    let types = shape.types.as_ref();
    let agent = known::agent_contract(&shape.exports)?;
    let lookup = if agent {
        known::lookup_for_agent
    } else {
        known::lookup
    };
    let (imports, capabilities) = check_imports(types, &shape.imports, lookup)?;
    let (kind, contract) = if agent {
        (Kind::Agent, Some(crate::agent::CONTRACT.to_owned()))
    } else {
        check_exports(types, &shape)?
    };
    if let Some(feature) = features {
        return Err(feature);
    }
    check_needs(&shape.needs, bounds)?;
    Ok(Inspection {
        kind,
        contract,
        imports,
        capabilities,
        docs: Docs::read(&shape.docs),
        needs: shape.needs,
    })
}

/// What the compiler found a component to need, for what its bytes alone don't
/// tell: a module that comes out of an instance.
///
/// # Errors
/// The limit it would exceed.
pub fn compiled(
    component: &wasmtime::component::Component,
    bounds: &Bounds,
) -> Result<(), InstallError> {
    let Some(needs) = component.resources_required() else {
        return Ok(());
    };
    let pages = needs.max_initial_memory_size.unwrap_or(0);
    let needs = Needs {
        instances: 0,
        memories: needs.num_memories.into(),
        tables: needs.num_tables.into(),
        memory_bytes: pages.saturating_mul(PAGE_BYTES),
        table_elements: needs.max_initial_table_size.unwrap_or(0),
    };
    check_needs(&needs, bounds)
}

fn check_size(bytes: &[u8], bounds: &Bounds) -> Result<(), InstallError> {
    let found = bytes.len() as u64;
    if found > bounds.component_bytes {
        return Err(InstallError::TooLarge {
            found: ByteSize(found),
            max: ByteSize(bounds.component_bytes),
        });
    }
    Ok(())
}

/// Tells a component from the other things people try to install.
fn check_magic(bytes: &[u8]) -> Result<(), InstallError> {
    let invalid = |reason: &str| InstallError::Invalid {
        reason: reason.to_owned(),
    };
    if bytes.is_empty() {
        return Err(invalid("the file is empty"));
    }
    if wasmparser::Parser::is_core_wasm(bytes) {
        return Err(InstallError::CoreModule);
    }
    if wasmparser::Parser::is_component(bytes) {
        return Ok(());
    }
    let start = bytes.trim_ascii_start();
    if start.starts_with(b"(component") || start.starts_with(b"(module") || start.starts_with(b";;")
    {
        return Err(InstallError::Text);
    }
    if bytes.starts_with(b"\0asm") {
        return Err(invalid("an unknown version of the WebAssembly format"));
    }
    Err(invalid("the file does not start with `\\0asm`"))
}

/// Reads what can be run, or, to say what is in the way, what can be read. The
/// second part is the refusal when nothing more telling is found.
fn read(bytes: &[u8]) -> Result<(Shape, Option<InstallError>), InstallError> {
    let reason = match shape::read(bytes, features::RUN) {
        Ok(shape) => return Ok((shape, None)),
        Err(reason) => reason,
    };
    let Ok(shape) = shape::read(bytes, features::readable()) else {
        return Err(InstallError::Invalid { reason });
    };
    let refusal = InstallError::Feature {
        feature: features::missing(|features| shape::read(bytes, features).is_ok()),
        reason,
    };
    Ok((shape, Some(refusal)))
}

/// Imports that need linking and the capabilities among them.
fn check_imports(
    types: TypesRef<'_>,
    names: &[String],
    lookup: fn(&str) -> Known,
) -> Result<(Vec<String>, Vec<String>), InstallError> {
    let (mut imports, mut capabilities) = (Vec::new(), Vec::new());
    let (mut unknown, mut wasi_03) = (Vec::new(), Vec::new());
    for name in signatures::linked(types, names) {
        let known = if signatures::is_interface(types, name) {
            lookup(name)
        } else {
            Known::Unknown
        };
        let refuse = |accepted| UnknownImport {
            name: text::line(name),
            accepted,
        };
        match known {
            Known::Served(capability) => {
                imports.push(name.to_owned());
                capabilities.extend(capability.map(str::to_owned));
            }
            Known::OtherVersion(accepted) => unknown.push(refuse(accepted)),
            Known::Wasi03 => wasi_03.push(text::line(name)),
            Known::Unknown => unknown.push(refuse(Vec::new())),
        }
    }
    if !wasi_03.is_empty() {
        return Err(InstallError::Wasi03(wasi_03));
    }
    if !unknown.is_empty() {
        return Err(InstallError::UnknownImports(unknown));
    }
    capabilities.sort();
    capabilities.dedup();
    Ok((imports, capabilities))
}

/// How the component's tools are called, and whether they can be.
fn check_exports(
    types: TypesRef<'_>,
    shape: &Shape,
) -> Result<(Kind, Option<String>), InstallError> {
    let export = |interface| {
        let mut exports = shape.exports.iter();
        exports.find_map(|name| known::contract_version(name, interface))
    };
    if let Some(version) = export("tools") {
        check_contract(version, export("manifest"))?;
        let contract = format!("{}@{version}", known::CONTRACT_PACKAGE);
        return Ok((Kind::ToolWorld, Some(contract)));
    }
    let functions = signatures::functions(types, &shape.exports);
    if functions.is_empty() {
        return Err(InstallError::NoTools);
    }
    if functions.len() > TOOLS_MAX {
        return Err(InstallError::Limit {
            limit: "tools",
            what: "exported functions",
            found: functions.len() as u64,
            max: TOOLS_MAX as u64,
        });
    }
    for function in &functions {
        signatures::check(types, function)?;
    }
    Ok((Kind::Typed, None))
}

/// The contract's world exports two interfaces, both of one accepted version.
fn check_contract(version: &str, manifest: Option<&str>) -> Result<(), InstallError> {
    let package = known::CONTRACT_PACKAGE;
    if !known::runs_contract(version) {
        let reason = format!(
            "it exports `{package}/tools@{}`; accepted: {}",
            text::line(version),
            known::contract_versions()
        );
        return Err(InstallError::Contract { reason });
    }
    if manifest != Some(version) {
        let reason = format!(
            "it exports `{package}/tools@{version}` without `{package}/manifest@{version}`"
        );
        return Err(InstallError::Contract { reason });
    }
    Ok(())
}

/// What one instance needs against what a call could get.
fn check_needs(needs: &Needs, bounds: &Bounds) -> Result<(), InstallError> {
    let table = [
        (
            "instances",
            "core instances",
            needs.instances,
            bounds.instances,
        ),
        ("instances", "memories", needs.memories, bounds.instances),
        ("instances", "tables", needs.tables, bounds.instances),
        (
            "memory",
            "bytes of memory at its start",
            needs.memory_bytes,
            bounds.memory_bytes,
        ),
        (
            "table_elements",
            "table elements",
            needs.table_elements,
            bounds.table_elements,
        ),
    ];
    for (limit, what, found, max) in table {
        if found > max {
            return Err(InstallError::Limit {
                limit,
                what,
                found,
                max,
            });
        }
    }
    Ok(())
}
