//! Doc comments that a component carries in `package-docs` custom sections, as
//! `wit-parser`'s `PackageMetadata` writes them: a version byte (0 or 1), then
//! JSON. Few builds keep the section, so nothing depends on it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Doc comments of functions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Docs {
    /// By interface (without package and version; none for the world's own
    /// functions) and function.
    functions: BTreeMap<(Option<String>, String), String>,
}

impl Docs {
    /// Reads all sections; what can't be read is left out, as a comment is no
    /// reason to refuse a component.
    pub fn read(sections: &[Vec<u8>]) -> Self {
        let mut docs = Self::default();
        for section in sections {
            if let [0 | 1, json @ ..] = section.as_slice()
                && let Ok(package) = serde_json::from_slice::<Package>(json)
            {
                docs.package(package);
            }
        }
        docs
    }

    /// The doc comment of a function, by the names its export has.
    pub fn function(&self, interface: Option<&str>, function: &str) -> Option<&str> {
        let interface = interface.map(|name| short_name(name).to_owned());
        let found = self.functions.get(&(interface, function.to_owned()));
        found.map(String::as_str)
    }

    fn package(&mut self, package: Package) {
        for (name, interface) in package.interfaces {
            self.add(Some(&name), interface.funcs);
        }
        for world in package.worlds.into_values() {
            let inline = world.interfaces.into_iter();
            for (name, interface) in inline.chain(world.interface_exports) {
                self.add(Some(&name), interface.funcs);
            }
            self.add(None, world.funcs);
            self.add(None, world.func_exports);
        }
    }

    fn add(&mut self, interface: Option<&str>, functions: BTreeMap<String, Function>) {
        for (name, function) in functions {
            let (Function::Just(docs) | Function::Full { docs }) = function;
            let docs = docs.unwrap_or_default();
            if !docs.trim().is_empty() {
                let key = (interface.map(str::to_owned), name);
                self.functions.insert(key, docs.trim().to_owned());
            }
        }
    }
}

/// `calc` of `docs:math/calc@0.1.0`.
pub fn short_name(interface: &str) -> &str {
    let path = interface.split('@').next().unwrap_or(interface);
    path.rsplit('/').next().unwrap_or(path)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Package {
    worlds: BTreeMap<String, World>,
    interfaces: BTreeMap<String, Interface>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct World {
    interfaces: BTreeMap<String, Interface>,
    interface_exports: BTreeMap<String, Interface>,
    funcs: BTreeMap<String, Function>,
    func_exports: BTreeMap<String, Function>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Interface {
    funcs: BTreeMap<String, Function>,
}

/// Version 0 has the text alone, version 1 an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum Function {
    Just(Option<String>),
    Full {
        #[serde(default)]
        docs: Option<String>,
    },
}
