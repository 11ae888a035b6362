//! `wasi:config/store` and its older forms, which differ in names alone.

use std::collections::BTreeSet;

use wasmtime::component::{HasData, Linker};

use super::{Config, Op};
use crate::gate::Gate;
use crate::state::CallState;

#[allow(missing_docs, reason = "generated; the WIT text is the documentation")]
mod rc1 {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/config-0.2.0-rc.1",
        world: "wasi:config/imports",
        imports: { default: trappable },
    });
}
#[allow(missing_docs, reason = "generated; the WIT text is the documentation")]
mod draft {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/config-0.2.0-draft",
        world: "wasi:config/imports",
        imports: { default: trappable },
    });
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    rc1::wasi::config::store::add_to_linker::<_, Values>(linker, view)?;
    draft::wasi::config::store::add_to_linker::<_, Values>(linker, view)?;
    draft::wasi::config::runtime::add_to_linker::<_, Values>(linker, view)
}

fn view(state: &mut CallState) -> ConfigView<'_> {
    ConfigView { gate: &state.gate }
}

struct Values;
pub(super) struct ConfigView<'a> {
    pub(super) gate: &'a Gate,
}
impl HasData for Values {
    type Data<'a> = ConfigView<'a>;
}

impl ConfigView<'_> {
    /// The value of `key`. Where nothing at all is granted that is an error; a
    /// single key that is not granted is a key without a value, as it would be
    /// elsewhere. Both are on record.
    pub(super) fn get(&self, key: String) -> Result<Option<String>, String> {
        match self.gate.permit::<Config>(Op::Get { key }) {
            Ok(permit) => {
                let value = permit.rule().map(|rule| rule.value);
                permit.count_in(value.as_ref().map_or(0, String::len) as u64);
                Ok(value)
            }
            Err(denial) if self.gate.grants().config.is_empty() => Err(format!("denied: {denial}")),
            Err(_) => Ok(None),
        }
    }

    pub(super) fn get_all(&self) -> Result<Vec<(String, String)>, String> {
        let all = self.gate.permit::<Config>(Op::GetAll);
        all.map_err(|denial| format!("denied: {denial}"))?;
        let grants = self.gate.grants();
        let keys: BTreeSet<&String> = grants.config.iter().map(|rule| &rule.key).collect();
        let pairs = keys.into_iter().filter_map(|key| {
            let value = self.get(key.clone()).ok()??;
            Some((key.clone(), value))
        });
        Ok(pairs.collect())
    }
}

macro_rules! serve {
    ($($interface:path: $error:ident;)*) => { $( const _: () = {
        use $interface as interface;

        impl interface::Host for ConfigView<'_> {
            fn get(
                &mut self,
                key: String,
            ) -> wasmtime::Result<Result<Option<String>, interface::$error>> {
                Ok(ConfigView::get(self, key).map_err(interface::$error::Upstream))
            }

            fn get_all(
                &mut self,
            ) -> wasmtime::Result<Result<Vec<(String, String)>, interface::$error>> {
                Ok(ConfigView::get_all(self).map_err(interface::$error::Upstream))
            }
        }
    }; )* };
}

serve! {
    rc1::wasi::config::store: Error;
    draft::wasi::config::store: Error;
    draft::wasi::config::runtime: ConfigError;
}
