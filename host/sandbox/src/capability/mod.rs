//! The registry of capabilities. Each is a room of its own, `capability/<name>/`:
//! `grant.rs` (what an administrator may write, and the decision; pure),
//! `bind.rs` (thin host functions that only call the gate), `backend.rs` (the
//! effect; the only file of the room that may touch the outside), `tests.rs` (a
//! table of allowed and denied operations).
//!
//! What must stay true: what this registry does not list is not linked.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use wasmtime::component::Linker;

pub use self::given::Given;
use crate::gate::{Allowed, Gate, Missing};
use crate::grants::EffectClass;
use crate::limits::Limits;
use crate::services::Services;
use crate::state::CallState;

/// A capability: what may be granted, how an operation is decided, what is
/// linked. Lifecycle: linked once per engine, prepared once per plugin and
/// grants version, one state per call.
pub trait Capability: Sized + Send + Sync + 'static {
    /// The name in grants files, audit and API.
    const NAME: &'static str;
    /// One line for people.
    const SUMMARY: &'static str;
    /// WIT interfaces that the room serves, each as `namespace:package/interface`
    /// and the accepted versions, e.g. `("wasi:filesystem/types", &["0.2"])`;
    /// `"0.2"` stands for all of 0.2.x, a prerelease matches exactly.
    const INTERFACES: &'static [(&'static str, &'static [&'static str])];
    /// Why an operation is allowed without a rule of the room's own.
    const AMBIENT: &'static str = "needs no grant; bounded by limits";
    /// One rule of a grants file.
    type Rule: Clone
        + fmt::Debug
        + PartialEq
        + Serialize
        + DeserializeOwned
        + JsonSchema
        + Send
        + Sync;
    /// One concrete operation; `Display` is what denials and audit show.
    type Op: Clone + fmt::Debug + fmt::Display + Send + Sync;
    /// Made once per plugin and grants version: opened directories, pools.
    type Prepared: Send + Sync + 'static;
    /// Made for each call, when it first uses the room.
    type State: Send + 'static;

    /// The room's rules in a plugin's grants.
    fn rules(grants: &Grants) -> &[Self::Rule];

    /// Refuses rules that parse and make no sense, saying which and why.
    ///
    /// # Errors
    /// The complaint, for the administrator.
    fn validate(rule: &Self::Rule) -> Result<(), String>;

    /// What no two rules may have in common, as it stands in them, e.g.
    /// `bucket = "seen"`: of two the first alone would hold.
    fn identity(rule: &Self::Rule) -> String;

    /// How near `rule`, granted, comes to `wanted`, a rule that a component asks for.
    /// Shown to administrators; it allows nothing.
    fn gives(rule: &Self::Rule, wanted: &Self::Rule) -> Given;

    /// Which rule allows `op`. Pure.
    ///
    /// # Errors
    /// The rule that is missing.
    fn decide(grants: &Grants, op: &Self::Op) -> Result<Allowed, Missing>;

    /// Whether the operation changes something outside the call; a tool called
    /// as read-only is refused it, whatever is granted.
    fn writes(op: &Self::Op) -> bool;

    /// Reads an operation as `airlock explain` takes it, e.g. `GET https://…`.
    ///
    /// # Errors
    /// What was expected instead.
    fn parse_op(words: &[&str]) -> Result<Self::Op, String>;

    /// Opens what the rules name.
    ///
    /// # Errors
    /// What could not be opened, for the administrator.
    fn prepare(cx: &PrepareContext<'_>) -> Result<Self::Prepared, PrepareError>;

    /// The state of one call.
    fn state(cx: &CallContext, prepared: &Arc<Self::Prepared>) -> Self::State;

    /// Links the room's interfaces, each by its own function.
    ///
    /// # Errors
    /// A name that is linked already.
    fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()>;
}

/// What a room sees when the rules of a plugin are loaded.
pub struct PrepareContext<'a> {
    /// The plugin's name.
    pub plugin: &'a str,
    /// All its grants.
    pub grants: &'a Grants,
    /// The version of the grants.
    pub version: u64,
    /// Its limits.
    pub limits: &'a Limits,
    /// Storage, audit, runtime.
    pub services: &'a Arc<Services>,
}

/// What a room sees of a call.
pub struct CallContext {
    /// The gate of the call.
    pub gate: Gate,
    /// The plugin's limits.
    pub limits: Arc<Limits>,
    /// Storage, audit, runtime.
    pub services: Arc<Services>,
    /// When the call began.
    pub started: Instant,
    /// When the call must end.
    pub deadline: Instant,
}

/// A rule that could not be put in force.
#[derive(Debug, thiserror::Error)]
#[error("`{capability}` rule {rule}: {message}")]
pub struct PrepareError {
    /// The capability.
    pub capability: &'static str,
    /// Index of the rule.
    pub rule: usize,
    /// What was wrong and what to do.
    pub message: String,
}

/// The rule type of a capability that has none: it is bounded by limits alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub enum NoRule {}

impl<'de> Deserialize<'de> for NoRule {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        let told = "this capability takes no rules; it needs no grant and is bounded by limits";
        Err(serde::de::Error::custom(told))
    }
}

fn once_each<T: PartialEq>(rules: Vec<T>) -> Vec<T> {
    let mut kept: Vec<T> = Vec::with_capacity(rules.len());
    for rule in rules {
        if !kept.contains(&rule) {
            kept.push(rule);
        }
    }
    kept
}

/// Refuses a rule that another one before it makes dead. The very same rule twice
/// is harmless.
fn check_distinct<C: Capability>(rules: &[C::Rule]) -> Result<(), PrepareError> {
    let mut first: HashMap<String, usize> = HashMap::new();
    for (rule, value) in rules.iter().enumerate() {
        let identity = C::identity(value);
        match first.get(&identity) {
            Some(before) if rules[*before] != *value => {
                return Err(PrepareError {
                    capability: C::NAME,
                    rule,
                    message: format!(
                        "{identity} is that of rule {before} already, which alone would hold; \
                         take that rule away first, or change it"
                    ),
                });
            }
            Some(_) => {}
            None => drop(first.insert(identity, rule)),
        }
    }
    Ok(())
}

macro_rules! registry {
    ($($name:ident: $marker:ident),* $(,)?) => {
        $( pub mod $name; )*

        /// What an administrator granted one plugin: a list of rules for each
        /// capability, and the effect class of each tool.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct Grants {
            $(
                #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::objects::each")]
                #[doc = concat!("Rules of `", stringify!($name), "`.")]
                pub $name: Vec<<$name::$marker as Capability>::Rule>,
            )*
            /// Effect class by tool; the tool's claim is only a default.
            #[serde(
                skip_serializing_if = "std::collections::BTreeMap::is_empty",
                deserialize_with = "crate::objects::once"
            )]
            pub effects: std::collections::BTreeMap<String, EffectClass>,
        }

        /// What the rooms prepared for one plugin and grants version.
        pub struct RoomsPrepared { $(
            #[doc = concat!("Of `", stringify!($name), "`.")]
            pub $name: Arc<<$name::$marker as Capability>::Prepared>,
        )* }

        /// The rooms' states of one call, each made when it is first asked for.
        pub struct RoomStates {
            cx: CallContext,
            prepared: Arc<RoomsPrepared>,
            $( $name: Option<Box<<$name::$marker as Capability>::State>>, )*
        }

        impl RoomStates { $(
            #[doc = concat!("Of `", stringify!($name), "`.")]
            pub fn $name(&mut self) -> &mut <$name::$marker as Capability>::State {
                let (cx, prepared) = (&self.cx, &self.prepared.$name);
                self.$name.get_or_insert_with(|| Box::new($name::$marker::state(cx, prepared)))
            }
        )* }

        impl RoomsPrepared {
            /// Prepares every room for one plugin and grants version.
            ///
            /// # Errors
            /// The first rule that can't be put in force.
            pub fn new(cx: &PrepareContext<'_>) -> Result<Self, PrepareError> {
                Ok(Self { $( $name: Arc::new($name::$marker::prepare(cx)?), )* })
            }

            /// The states of one call.
            pub fn states(self: &Arc<Self>, cx: CallContext) -> RoomStates {
                RoomStates { cx, prepared: Arc::clone(self), $( $name: None, )* }
            }
        }

        impl Grants {
            /// Without the rules that stand there twice: of two the first holds.
            #[must_use]
            pub fn without_repeats(mut self) -> Self {
                $( self.$name = once_each(std::mem::take(&mut self.$name)); )*
                self
            }

            /// Refuses rules that parse and make no sense, and those that an
            /// earlier rule leaves no effect.
            ///
            /// # Errors
            /// The capability, the rule's index and the complaint.
            pub fn validate(&self) -> Result<(), PrepareError> {
                $( for (rule, value) in self.$name.iter().enumerate() {
                    $name::$marker::validate(value).map_err(|message| PrepareError {
                        capability: $name::$marker::NAME, rule, message,
                    })?;
                }
                check_distinct::<$name::$marker>(&self.$name)?; )*
                Ok(())
            }

            /// Whether each of `wanted`, rules that components ask for, is given by
            /// these; nothing is given to who asks for nothing.
            #[must_use]
            pub fn give_each(&self, wanted: &[Self]) -> Vec<bool> {
                let mut each: Vec<bool> = wanted.iter().map(Self::has_rules).collect();
                $(
                    let asked: Vec<_> = wanted.iter().map(|wanted| wanted.$name.as_slice()).collect();
                    let given = given::given::<$name::$marker>(&self.$name, &asked);
                    each.iter_mut().zip(given).for_each(|(each, given)| *each &= given);
                )*
                each
            }

            fn has_rules(&self) -> bool {
                $( !self.$name.is_empty() || )* false
            }

            /// How many rules of a capability there are.
            #[must_use]
            pub fn count(&self, capability: &str) -> usize {
                $( if capability == $name::$marker::NAME {
                    return self.$name.len();
                } )*
                0
            }

            /// Allowed or denied, and by which rule, without doing anything.
            ///
            /// # Errors
            /// An unknown capability or an operation that can't be read.
            pub fn explain(&self, capability: &str, words: &[&str]) -> Result<Explanation, String> {
                self.explain_as(capability, words, EffectClass::Plain)
            }

            /// As [`Grants::explain`], for a tool called under an effect class.
            ///
            /// # Errors
            /// An unknown capability or an operation that can't be read.
            pub fn explain_as(
                &self,
                capability: &str,
                words: &[&str],
                class: EffectClass,
            ) -> Result<Explanation, String> {
                $( if capability == $name::$marker::NAME {
                    let op = $name::$marker::parse_op(words)?;
                    let explained = Explanation::of::<$name::$marker>(self, &op);
                    let narrowed = class == EffectClass::ReadOnly && $name::$marker::writes(&op);
                    return Ok(explained.narrowed(narrowed));
                } )*
                Err(format!("unknown capability `{capability}`; there are: {}",
                    LISTED.iter().map(|c| c.name).collect::<Vec<_>>().join(", ")))
            }
        }

        /// All capabilities, for listings.
        pub const LISTED: &[Listed] = &[ $( Listed {
            name: $name::$marker::NAME,
            summary: $name::$marker::SUMMARY,
            interfaces: $name::$marker::INTERFACES,
        }, )* ];

        /// Links every room.
        ///
        /// # Errors
        /// A name that two rooms link.
        pub fn link_rooms(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
            $( $name::$marker::link(linker)?; )*
            Ok(())
        }

        #[cfg(test)]
        mod cases {
            /// Each room has a table with at least one allowed and one denied
            /// operation; a room without `tests::CASES` does not compile.
            #[test]
            fn every_room_has_its_cases() {
                $( super::$name::tests::CASES.check::<super::$name::$marker>(); )*
            }

            /// The name in the registry is the one in grants files.
            #[test]
            fn every_room_goes_by_its_name() {
                use super::Capability;
                $( assert_eq!(stringify!($name), super::$name::$marker::NAME); )*
            }
        }
    };
}

#[cfg(test)]
mod coverage;
mod given;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod reference;

registry! {
    files: Files,
    http: Http,
    secrets: Secrets,
    kv: Kv,
    env: Env,
    config: Config,
    clocks: Clocks,
    random: Random,
    log: Log,
    tools: Tools,
    agents: Agents,
    models: Models,
    memory: Memory,
}

/// A capability as listings show it.
#[derive(Debug, Clone, Copy)]
pub struct Listed {
    /// The name in grants files.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// WIT interfaces and accepted versions.
    pub interfaces: &'static [(&'static str, &'static [&'static str])],
}

/// What stands behind an import of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// A capability, by its name; what it gives is decided by the grants.
    Capability(&'static str),
    /// Linked for everyone and reaching nothing, see [`crate::inert`].
    Inert,
}

/// What serves the interface `import`, written `namespace:package/interface@1.2.3`;
/// `None` for what Airlock does not know, which must not be installed.
pub fn served(import: &str) -> Option<Served> {
    let (interface, version) = import.split_once('@')?;
    if serves(crate::inert::INTERFACES, interface, version) {
        return Some(Served::Inert);
    }
    let mut rooms = LISTED.iter();
    let room = rooms.find(|room| serves(room.interfaces, interface, version))?;
    Some(Served::Capability(room.name))
}

/// Whether `interfaces`, a list as [`Capability::INTERFACES`], has this version
/// of `interface`.
pub(crate) fn serves(interfaces: &[(&str, &[&str])], interface: &str, version: &str) -> bool {
    interfaces.iter().any(|(name, accepted)| {
        *name == interface && accepted.iter().any(|accepted| accepts(accepted, version))
    })
}

/// Whether `version` is one that `accepted` stands for, by the rules of the
/// component model: a prerelease matches itself alone, a release all that are
/// semver-compatible.
fn accepts(accepted: &str, version: &str) -> bool {
    let Some(rest) = version.strip_prefix(accepted) else {
        return false;
    };
    let numbers = |rest: &str| rest.split('.').all(|part| part.parse::<u32>().is_ok());
    rest.is_empty() || rest.strip_prefix('.').is_some_and(numbers)
}

/// The JSON schema of what an administrator may grant one plugin.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Grants).to_value()
}

/// What the grants say of one operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Explanation {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The capability.
    pub capability: String,
    /// The operation as it was understood.
    pub operation: String,
    /// Index of the rule that allows it.
    pub rule: Option<usize>,
    /// The rule's text, or the rule that is missing.
    pub because: String,
    /// Tools that are denied it all the same: they are called as read-only, and
    /// it changes something. Empty when one tool was asked about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_for: Vec<String>,
    /// `false`: it is asked of an MCP server of others, which nothing holds to what is
    /// granted; absent otherwise.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub sandboxed: bool,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_yes(value: &bool) -> bool {
    *value
}

impl Explanation {
    /// Turns it into a denial for another reason than the rules.
    pub fn refuse(&mut self, because: String) {
        (self.allowed, self.rule, self.because) = (false, None, because);
    }

    /// Turns it into what is true of a plugin outside of any sandbox.
    pub fn unheld(&mut self) {
        let because = "no grant holds it back: it is an MCP server, which is not sandboxed";
        (self.allowed, self.rule, self.because) = (true, None, because.to_owned());
        (self.not_for, self.sandboxed) = (Vec::new(), false);
    }

    fn of<C: Capability>(grants: &Grants, op: &C::Op) -> Self {
        let (allowed, rule, because) = match C::decide(grants, op) {
            Ok(Allowed::Rule(index)) => {
                let text = serde_json::to_string(&C::rules(grants)[index]).unwrap_or_default();
                (true, Some(index), text)
            }
            Ok(Allowed::Ambient) => (true, None, C::AMBIENT.to_owned()),
            Err(missing) => (false, None, missing.0),
        };
        Self {
            allowed,
            capability: C::NAME.to_owned(),
            operation: op.to_string(),
            rule,
            because,
            not_for: Vec::new(),
            sandboxed: true,
        }
    }
}

impl Explanation {
    /// What a read-only class makes of an operation that changes something.
    fn narrowed(self, narrowed: bool) -> Self {
        if !narrowed {
            return self;
        }
        Self {
            allowed: false,
            rule: None,
            because: "the tool is called as read-only, and this changes something".to_owned(),
            ..self
        }
    }
}

/// The table of allowed and denied operations that each room must have.
#[cfg(test)]
pub(crate) struct Cases {
    /// Grants as TOML, e.g. `files = [{ … }]`.
    pub grants: &'static str,
    /// Operations as `airlock explain` takes them, words separated by spaces,
    /// that the grants allow.
    pub allowed: &'static [&'static str],
    /// Those they deny. A room without rules has none to deny.
    pub denied: &'static [&'static str],
}

#[cfg(test)]
impl Cases {
    pub(crate) fn check<C: Capability>(&self) {
        let grants: Grants = toml::from_str(self.grants).expect(C::NAME);
        grants.validate().expect(C::NAME);
        assert!(!self.allowed.is_empty(), "{} has no allowed case", C::NAME);
        let ruleless = std::mem::size_of::<C::Rule>() == 0 && C::rules(&grants).is_empty();
        assert!(
            ruleless || !self.denied.is_empty(),
            "{} has no denied case",
            C::NAME
        );
        for (cases, expect) in [(self.allowed, true), (self.denied, false)] {
            for case in cases {
                let words: Vec<&str> = case.split(' ').collect();
                let explained = grants.explain(C::NAME, &words).expect(case);
                assert_eq!(
                    explained.allowed,
                    expect,
                    "{} {case}: {explained:?}",
                    C::NAME
                );
            }
        }
        for case in self.allowed.iter().filter(|_| !ruleless) {
            let words: Vec<&str> = case.split(' ').collect();
            let explained = Grants::default().explain(C::NAME, &words).expect(case);
            assert!(
                !explained.allowed,
                "{} {case} is allowed without any grant",
                C::NAME
            );
        }
    }
}
