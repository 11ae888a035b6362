//! `wasi:cli/environment`.

use std::collections::BTreeSet;

use wasmtime::component::{HasData, Linker};
use wasmtime_wasi::p2::bindings::cli::environment;

use super::{Env, Op};
use crate::gate::Gate;
use crate::state::CallState;

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    environment::add_to_linker::<_, Environment>(linker, |state| EnvView { gate: &state.gate })
}

struct Environment;
pub(super) struct EnvView<'a> {
    pub(super) gate: &'a Gate,
}
impl HasData for Environment {
    type Data<'a> = EnvView<'a>;
}

impl environment::Host for EnvView<'_> {
    /// The interface cannot ask for one name, so this is all that are granted,
    /// and none without a grant.
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        let grants = self.gate.grants();
        let names: BTreeSet<&String> = grants.env.iter().map(|rule| &rule.name).collect();
        let granted = names.into_iter().filter_map(|name| {
            let name = name.clone();
            let permit = self.gate.permit::<Env>(Op { name }).ok()?;
            let rule = permit.rule()?;
            permit.count_in((rule.name.len() + rule.value.len()) as u64);
            Some((rule.name, rule.value))
        });
        Ok(granted.collect())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}
