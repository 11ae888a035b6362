//! The `secrets` room: a guest gets a placeholder, an opaque word that the `http`
//! room replaces in requests that a rule binds to the secret. The value never
//! enters the guest.
//!
//! It has no rules of its own: `secret = "name"` in an `http` rule is the grant.

use std::fmt;
use std::sync::Arc;

use wasmtime::component::{HasData, Linker};

use super::{CallContext, Capability, Given, Grants, NoRule, PrepareContext, PrepareError};
use crate::contract;
use crate::gate::{Allowed, Gate, Missing};
use crate::state::CallState;

mod apart;
mod automaton;
mod backend;
mod encodings;
mod placeholder;
mod redact;
pub mod secret;
mod skim;
mod syntax;
#[cfg(test)]
pub(crate) mod tests;
pub mod vault;

pub use apart::Mac;
pub use backend::KeyFileError;
pub(crate) use encodings::{UNRESERVED, percent};
pub(crate) use placeholder::{PLACEHOLDER_BYTES, Placeholders};
pub(crate) use redact::{Matcher, Redactor};
pub use secret::Secret;
pub use vault::{SecretInfo, Vault, VaultError};

/// Gives a copy of a text with the values of secrets masked, in each of the formats that
/// are looked for in answers; it has as many bytes. `None` where there is none.
pub fn masker(secrets: &[Secret]) -> impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + use<> {
    let matcher = redact::Matcher::new(secrets);
    move |text| matcher.mask(text)
}

/// The most bytes of a text that the value of a secret may be spread over.
pub const SPREAD_BYTES_MAX: usize = redact::SPREAD * secret::VALUE_BYTES_MAX;

/// The capability `secrets`.
pub enum Secrets {}

/// Asking for the placeholder of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// The secret's name.
    pub name: String,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "placeholder {}", self.name)
    }
}

/// Of one call: the placeholders it was given.
pub struct State {
    gate: Gate,
    placeholders: Placeholders,
}

impl State {
    pub(crate) fn placeholders(&self) -> &Placeholders {
        &self.placeholders
    }
}

impl Capability for Secrets {
    const NAME: &'static str = "secrets";
    const SUMMARY: &'static str = "Use stored secrets in granted requests without seeing them.";
    const INTERFACES: &'static [(&'static str, &'static [&'static str])] =
        &[("airlock:tool/secrets", &["1.0.0"])];
    const AMBIENT: &'static str = "an http rule of the plugin binds the secret";
    type Rule = NoRule;
    type Op = Op;
    type Prepared = ();
    type State = State;

    fn rules(grants: &Grants) -> &[NoRule] {
        &grants.secrets
    }

    fn validate(rule: &NoRule) -> Result<(), String> {
        match *rule {}
    }

    fn identity(rule: &NoRule) -> String {
        match *rule {}
    }

    fn gives(rule: &NoRule, _: &NoRule) -> Given {
        match *rule {}
    }

    fn decide(grants: &Grants, op: &Op) -> Result<Allowed, Missing> {
        if grants
            .http
            .iter()
            .any(|rule| rule.secret.as_ref() == Some(&op.name))
        {
            return Ok(Allowed::Ambient);
        }
        Err(Missing::new(format!(
            "an http rule with `secret = \"{}\"`",
            op.name.escape_debug()
        )))
    }

    fn writes(_: &Op) -> bool {
        false
    }

    fn parse_op(words: &[&str]) -> Result<Op, String> {
        match words {
            [name] | ["placeholder", name] => Ok(Op {
                name: (*name).to_owned(),
            }),
            _ => Err("write the secret's name".into()),
        }
    }

    fn prepare(_: &PrepareContext<'_>) -> Result<(), PrepareError> {
        Ok(())
    }

    fn state(cx: &CallContext, _: &Arc<()>) -> State {
        State {
            gate: cx.gate.clone(),
            placeholders: Placeholders::default(),
        }
    }

    fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
        contract::secrets::add_to_linker::<_, HasSecrets>(linker, |state| SecretsView {
            state: state.rooms.secrets(),
        })
    }
}

struct HasSecrets;

impl HasData for HasSecrets {
    type Data<'a> = SecretsView<'a>;
}

/// What the interface's functions see of a call.
pub struct SecretsView<'a> {
    state: &'a State,
}

impl contract::secrets::Host for SecretsView<'_> {
    fn placeholder(
        &mut self,
        name: String,
    ) -> wasmtime::Result<Result<String, contract::types::Denial>> {
        let op = Op { name };
        let gate = &self.state.gate;
        let issued = gate.permit::<Secrets>(op.clone()).and_then(|permit| {
            self.state
                .placeholders
                .issue(&permit.op().name)
                .ok_or_else(|| {
                    gate.deny(
                        Secrets::NAME,
                        &op,
                        Missing::new("a call that uses fewer secrets"),
                    )
                })
        });
        Ok(issued.map_err(|denial| contract::types::Denial {
            capability: denial.capability,
            operation: denial.operation,
            rule: denial.rule,
        }))
    }
}
