//! What a component imports and exports, and whether each exported function's
//! types have a JSON form: found before anything is compiled, so that a refusal
//! names the function and the place in its signature.

use std::collections::HashSet;

use wasmparser::PrimitiveValType;
use wasmparser::component_types::{
    ComponentAnyTypeId, ComponentDefinedType, ComponentDefinedTypeId, ComponentEntityType,
    ComponentFuncTypeId, ComponentInstanceTypeId, ComponentValType, ResourceId,
};
use wasmparser::types::TypesRef;

use super::error::{InstallError, Refused};

/// The imports that something must stand behind, in order. An interface of plain
/// types needs nothing, and neither does another name for a resource that an
/// earlier import defines.
pub fn linked<'a>(types: TypesRef<'_>, imports: &'a [String]) -> Vec<&'a str> {
    let mut resources = HashSet::new();
    let mut linked = Vec::new();
    for name in imports {
        let items = match types.component_item_for_import(name).map(|item| item.ty) {
            Some(ComponentEntityType::Instance(id)) => {
                types[id].exports.values().map(|item| item.ty).collect()
            }
            Some(other) => vec![other],
            None => Vec::new(),
        };
        let needs = items.iter().filter(|ty| needs_linking(ty, &mut resources));
        if needs.count() > 0 {
            linked.push(name.as_str());
        }
    }
    linked
}

fn needs_linking(ty: &ComponentEntityType, known: &mut HashSet<ResourceId>) -> bool {
    match ty {
        ComponentEntityType::Type {
            created: ComponentAnyTypeId::Resource(id),
            ..
        } => known.insert(id.resource()),
        ComponentEntityType::Type { .. } => false,
        _ => true,
    }
}

/// Whether an import is an interface, which is all that can be linked.
pub fn is_interface(types: TypesRef<'_>, import: &str) -> bool {
    let item = types.component_item_for_import(import);
    matches!(
        item.map(|item| item.ty),
        Some(ComponentEntityType::Instance(_))
    )
}

/// An exported function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The exported interface, when the function is in one.
    pub interface: Option<String>,
    /// The function's name.
    pub function: String,
    ty: ComponentFuncTypeId,
}

/// All exported functions, of the root and of exported interfaces, in order.
pub fn functions(types: TypesRef<'_>, exports: &[String]) -> Vec<Exported> {
    let mut found = Vec::new();
    for name in exports {
        match types.component_item_for_export(name).map(|item| item.ty) {
            Some(ComponentEntityType::Func(ty)) => found.push(Exported {
                interface: None,
                function: name.clone(),
                ty,
            }),
            Some(ComponentEntityType::Instance(id)) => interface(types, name, id, &mut found),
            _ => {}
        }
    }
    found
}

fn interface(
    types: TypesRef<'_>,
    name: &str,
    id: ComponentInstanceTypeId,
    found: &mut Vec<Exported>,
) {
    for (function, item) in &types[id].exports {
        if let ComponentEntityType::Func(ty) = item.ty {
            found.push(Exported {
                interface: Some(name.to_owned()),
                function: function.clone(),
                ty,
            });
        }
    }
}

/// Refuses a function that can't be called with JSON.
///
/// # Errors
/// The function and the place in its signature.
pub fn check(types: TypesRef<'_>, exported: &Exported) -> Result<(), InstallError> {
    let function = display_name(exported.interface.as_deref(), &exported.function);
    let ty = &types[exported.ty];
    if ty.async_ {
        return Err(InstallError::AsyncFunction { function });
    }
    let mut walk = Walk {
        types,
        seen: HashSet::new(),
        path: Vec::new(),
    };
    let params = ty.params.iter();
    let params = params.map(|(name, ty)| (format!("parameter {name}"), *ty));
    let result = ty.result.map(|ty| ("the result".to_owned(), ty));
    for (place, ty) in params.chain(result) {
        walk.path = vec![place];
        if let Err(refused) = walk.value(ty) {
            return Err(InstallError::RefusedType {
                function,
                path: walk.path.concat(),
                refused,
            });
        }
    }
    Ok(())
}

/// `interface#function` as messages show it.
pub fn display_name(interface: Option<&str>, function: &str) -> String {
    match interface {
        Some(interface) => format!("{interface}#{function}"),
        None => function.to_owned(),
    }
}

/// Looks for what has no JSON form; each type once, however often it is used.
struct Walk<'a> {
    types: TypesRef<'a>,
    seen: HashSet<ComponentDefinedTypeId>,
    path: Vec<String>,
}

impl Walk<'_> {
    fn value(&mut self, ty: ComponentValType) -> Result<(), Refused> {
        match ty {
            ComponentValType::Primitive(primitive) => primitive_type(primitive),
            ComponentValType::Type(id) if self.seen.insert(id) => self.defined(id),
            ComponentValType::Type(_) => Ok(()),
        }
    }

    fn defined(&mut self, id: ComponentDefinedTypeId) -> Result<(), Refused> {
        let types = self.types;
        match &types[id] {
            ComponentDefinedType::Primitive(primitive) => primitive_type(*primitive),
            ComponentDefinedType::Record(record) => {
                let fields = record.fields.iter();
                self.each(fields.map(|(name, ty)| (format!(".{name}"), *ty)))
            }
            ComponentDefinedType::Variant(variant) => {
                let cases = variant.cases.iter();
                let cases = cases.filter_map(|(name, case)| Some((format!(".{name}"), case.ty?)));
                self.each(cases)
            }
            ComponentDefinedType::Tuple(tuple) => {
                let items = tuple.types.iter().enumerate();
                self.each(items.map(|(index, ty)| (format!(".{index}"), *ty)))
            }
            ComponentDefinedType::List { element, .. }
            | ComponentDefinedType::FixedLengthList { element, .. } => {
                self.each([("[]".to_owned(), *element)])
            }
            ComponentDefinedType::Map { key, value, .. } => {
                self.each([("[key]".to_owned(), *key), ("[value]".to_owned(), *value)])
            }
            ComponentDefinedType::Option { ty, .. } => self.each([("?".to_owned(), *ty)]),
            ComponentDefinedType::Result { ok, err, .. } => {
                let ok = ok.map(|ty| (".ok".to_owned(), ty));
                let err = err.map(|ty| (".err".to_owned(), ty));
                self.each(ok.into_iter().chain(err))
            }
            ComponentDefinedType::Flags(_) | ComponentDefinedType::Enum(_) => Ok(()),
            ComponentDefinedType::Own(_) | ComponentDefinedType::Borrow(_) => {
                Err(Refused::Resource)
            }
            ComponentDefinedType::Future { .. } => Err(Refused::Future),
            ComponentDefinedType::Stream { .. } => Err(Refused::Stream),
        }
    }

    /// The path is left as it is where something is refused.
    fn each(
        &mut self,
        parts: impl IntoIterator<Item = (String, ComponentValType)>,
    ) -> Result<(), Refused> {
        for (step, ty) in parts {
            self.path.push(step);
            self.value(ty)?;
            self.path.pop();
        }
        Ok(())
    }
}

fn primitive_type(primitive: PrimitiveValType) -> Result<(), Refused> {
    match primitive {
        PrimitiveValType::ErrorContext => Err(Refused::ErrorContext),
        _ => Ok(()),
    }
}
