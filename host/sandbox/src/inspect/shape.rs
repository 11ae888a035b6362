//! Reads a component's sections once: validates its structure and counts what
//! one instance of it would need, nested components multiplied out.
//!
//! What must stay true: time and memory grow with the component's bytes, not
//! with what it describes; function bodies are left to the compiler's process.

use std::rc::Rc;

use wasmparser::types::Types;
use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentInstance,
    ComponentOuterAliasKind, Encoding, Instance, MemoryType, Parser, Payload, ValidPayload,
    Validator, WasmFeatures,
};

use super::text;

/// What one instance of a component needs, all nested ones included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Core module instances.
    pub instances: u64,
    /// Linear memories.
    pub memories: u64,
    /// Tables.
    pub tables: u64,
    /// Sum of the memories' declared minimum sizes.
    pub memory_bytes: u64,
    /// Sum of the tables' declared minimum sizes.
    pub table_elements: u64,
}

impl Needs {
    fn add(&mut self, other: &Self) {
        self.instances = self.instances.saturating_add(other.instances);
        self.memories = self.memories.saturating_add(other.memories);
        self.tables = self.tables.saturating_add(other.tables);
        self.memory_bytes = self.memory_bytes.saturating_add(other.memory_bytes);
        self.table_elements = self.table_elements.saturating_add(other.table_elements);
    }
}

/// What the sections of a component say.
pub struct Shape {
    /// Types of all imports and exports.
    pub types: Types,
    /// Names of the root's imports, in order.
    pub imports: Vec<String>,
    /// Names of the root's exports, in order.
    pub exports: Vec<String>,
    /// What one instance needs.
    pub needs: Needs,
    /// Contents of `package-docs` sections, wherever they stand.
    pub docs: Vec<Vec<u8>>,
}

/// Name of the custom section that carries doc comments.
const DOCS_SECTION: &str = "package-docs";

/// Most bytes of doc comments that are read; further sections are left out.
const DOCS_BYTES_MAX: usize = 1 << 20;

/// Deepest nesting of components and modules.
const NESTING_MAX: usize = 64;

/// Most bytes of sections that describe: types, imports, instances and the
/// like. The validator's memory is a multiple of them, so code, data and custom
/// sections don't count.
const STRUCTURE_BYTES_MAX: usize = 8 << 20;

/// Reads and validates the structure of a component.
///
/// # Errors
/// In words, the first thing that breaks the format under `features`, or that
/// would take too much memory to validate.
pub fn read(bytes: &[u8], features: WasmFeatures) -> Result<Shape, String> {
    let broken = |error: BinaryReaderError| text::line(&error.to_string());
    let mut validator = Validator::new_with_features(features);
    let mut parser = Parser::new(0);
    parser.set_features(features);
    let mut reader = Reader::default();
    let mut types = None;
    for payload in parser.parse_all(bytes) {
        let payload = payload.map_err(broken)?;
        reader.bound(&payload)?;
        if let ValidPayload::End(found) = validator.payload(&payload).map_err(broken)? {
            types = Some(found);
        }
        reader.payload(payload).map_err(broken)?;
    }
    let types = types.ok_or("it ends too early")?;
    Ok(reader.finish(types))
}

/// Index spaces of a component or module that is being read.
#[derive(Default)]
struct Frame {
    is_module: bool,
    own: Needs,
    modules: Vec<Option<Rc<Needs>>>,
    components: Vec<Option<Rc<Needs>>>,
}

#[derive(Default)]
struct Reader {
    frames: Vec<Frame>,
    root: Option<Needs>,
    imports: Vec<String>,
    exports: Vec<String>,
    docs: Vec<Vec<u8>>,
    docs_bytes: usize,
    structure_bytes: usize,
}

impl Reader {
    /// Refuses what would take much memory, before it is validated.
    fn bound(&mut self, payload: &Payload<'_>) -> Result<(), String> {
        let section = match payload {
            Payload::ModuleSection { .. }
            | Payload::ComponentSection { .. }
            | Payload::CodeSectionStart { .. }
            | Payload::DataSection(_)
            | Payload::CustomSection(_) => None,
            other => other.as_section(),
        };
        self.structure_bytes += section.map_or(0, |(_, range)| range.len());
        if self.structure_bytes > STRUCTURE_BYTES_MAX {
            return Err(format!(
                "its types, imports and the like have more than {STRUCTURE_BYTES_MAX} bytes"
            ));
        }
        if self.frames.len() > NESTING_MAX {
            return Err(format!("components are nested deeper than {NESTING_MAX}"));
        }
        Ok(())
    }

    fn payload(&mut self, payload: Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::Version { encoding, .. } => self.open(encoding),
            Payload::End(_) => self.close(),
            Payload::MemorySection(memories) => {
                for memory in memories {
                    self.memory(&memory?);
                }
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    self.table(table?.ty.initial);
                }
            }
            Payload::InstanceSection(instances) => {
                for instance in instances {
                    self.core_instance(&instance?);
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances {
                    self.component_instance(&instance?);
                }
            }
            Payload::CustomSection(section) if section.name() == DOCS_SECTION => {
                self.docs(section.data());
            }
            other => return self.names(other),
        }
        Ok(())
    }

    /// Sections that add to an index space by name: aliases, imports, exports.
    fn names(&mut self, payload: Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases {
                    self.alias(&alias?);
                }
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports {
                    let import = import?;
                    self.reserve(import.ty.kind());
                    if self.frames.len() == 1 {
                        self.imports.push(import.name.name.to_owned());
                    }
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    self.export(export.kind, export.index);
                    if self.frames.len() == 1 {
                        self.exports.push(export.name.name.to_owned());
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, encoding: Encoding) {
        let is_module = encoding == Encoding::Module;
        self.frames.push(Frame {
            is_module,
            ..Frame::default()
        });
    }

    fn close(&mut self) {
        let Some(frame) = self.frames.pop() else {
            return;
        };
        let Some(parent) = self.frames.last_mut() else {
            self.root = Some(frame.own);
            return;
        };
        let needs = Some(Rc::new(frame.own));
        if frame.is_module {
            parent.modules.push(needs);
        } else {
            parent.components.push(needs);
        }
    }

    fn memory(&mut self, memory: &MemoryType) {
        let page = 1_u64
            .checked_shl(memory.page_size_log2.unwrap_or(16))
            .unwrap_or(u64::MAX);
        if let Some(frame) = self.frames.last_mut() {
            frame.own.add(&Needs {
                memories: 1,
                memory_bytes: memory.initial.saturating_mul(page),
                ..Needs::default()
            });
        }
    }

    fn table(&mut self, initial: u64) {
        if let Some(frame) = self.frames.last_mut() {
            frame.own.add(&Needs {
                tables: 1,
                table_elements: initial,
                ..Needs::default()
            });
        }
    }

    fn core_instance(&mut self, instance: &Instance<'_>) {
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        if let Instance::Instantiate { module_index, .. } = instance {
            let module = frame.modules.get(*module_index as usize).cloned().flatten();
            frame.own.instances = frame.own.instances.saturating_add(1);
            frame
                .own
                .add(&module.as_deref().copied().unwrap_or_default());
        }
    }

    fn component_instance(&mut self, instance: &ComponentInstance<'_>) {
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        if let ComponentInstance::Instantiate {
            component_index, ..
        } = instance
        {
            let index = *component_index as usize;
            let component = frame.components.get(index).cloned().flatten();
            frame
                .own
                .add(&component.as_deref().copied().unwrap_or_default());
        }
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) {
        match *alias {
            ComponentAlias::InstanceExport { kind, .. } => self.reserve(kind),
            ComponentAlias::Outer { kind, count, index } => self.outer(kind, count, index),
            ComponentAlias::CoreInstanceExport { .. } => {}
        }
    }

    fn outer(&mut self, kind: ComponentOuterAliasKind, count: u32, index: u32) {
        let depth = self.frames.len().checked_sub(1 + count as usize);
        let Some(from) = depth.and_then(|depth| self.frames.get(depth)) else {
            return;
        };
        let module = from.modules.get(index as usize).cloned().flatten();
        let component = from.components.get(index as usize).cloned().flatten();
        if let Some(frame) = self.frames.last_mut() {
            match kind {
                ComponentOuterAliasKind::CoreModule => frame.modules.push(module),
                ComponentOuterAliasKind::Component => frame.components.push(component),
                ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => {}
            }
        }
    }

    /// An item whose definition is not followed: imported or out of an instance.
    fn reserve(&mut self, kind: ComponentExternalKind) {
        if let Some(frame) = self.frames.last_mut() {
            match kind {
                ComponentExternalKind::Module => frame.modules.push(None),
                ComponentExternalKind::Component => frame.components.push(None),
                _ => {}
            }
        }
    }

    /// An export makes a new index for the item it exports.
    fn export(&mut self, kind: ComponentExternalKind, index: u32) {
        if let Some(frame) = self.frames.last_mut() {
            let index = index as usize;
            match kind {
                ComponentExternalKind::Module => {
                    let module = frame.modules.get(index).cloned().flatten();
                    frame.modules.push(module);
                }
                ComponentExternalKind::Component => {
                    let component = frame.components.get(index).cloned().flatten();
                    frame.components.push(component);
                }
                _ => {}
            }
        }
    }

    fn docs(&mut self, data: &[u8]) {
        if self.docs_bytes + data.len() <= DOCS_BYTES_MAX {
            self.docs_bytes += data.len();
            self.docs.push(data.to_vec());
        }
    }

    fn finish(self, types: Types) -> Shape {
        Shape {
            types,
            imports: self.imports,
            exports: self.exports,
            needs: self.root.unwrap_or_default(),
            docs: self.docs,
        }
    }
}
