//! The one door. Every effect of a plugin's call asks [`Gate::permit`] for a
//! [`Permit`], what an agent's run asks of its host itself [`Grants::permit_run`] for
//! a [`RunPermit`], and what does it takes nothing else, so code that skips the gate
//! does not compile.
//!
//! What must stay true: a permit's fields are private to this module; a permit
//! behind a stream or descriptor is rechecked at each use, so a revoked grant
//! stops a call in flight; each denial is recorded.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::call::{CapabilityUsage, Denial};
use crate::capability::Capability;
use crate::grants::{EffectClass, Grants, GrantsCell};

mod run;
#[cfg(test)]
mod tests;

pub use run::RunPermit;

/// Distinct denials kept per call; further ones are only counted.
pub const DENIALS_MAX: usize = 100;

/// Longest operation text in a denial, bytes.
const OPERATION_BYTES_MAX: usize = 512;

/// Longest text of the missing rule in a denial, bytes; it can repeat what the
/// guest asked for.
const RULE_BYTES_MAX: usize = 1024;

/// Who is calling what, for the records the gate makes.
#[derive(Debug, Clone)]
pub struct CallInfo {
    /// Unique to the call.
    pub call_id: String,
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// The tool's name.
    pub tool: String,
    /// Opaque id of the caller.
    pub principal: String,
    /// The caller's name, for the host's own records.
    pub caller: String,
    /// The effect class in force.
    pub class: EffectClass,
}

/// The gate of one call. Clones share it.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

struct Inner {
    info: CallInfo,
    cell: Arc<GrantsCell>,
    /// What was in force when the call began: what its rooms were prepared for.
    start: (u64, Arc<Grants>),
    budget: Budget,
    ledger: Mutex<Ledger>,
}

/// A capability's name and the index of its rule.
type UsageKey = (&'static str, Option<usize>);

#[derive(Default)]
struct Ledger {
    /// By capability and rule.
    usage: Vec<(UsageKey, CapabilityUsage)>,
    denials: Vec<Denial>,
    last_denial: Option<Denial>,
}

/// The rule that allows an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// The rule with this index in the capability's list.
    Rule(usize),
    /// No rule is needed: bounded by limits alone (clocks, random, log).
    Ambient,
}

impl Allowed {
    fn index(self) -> Option<usize> {
        match self {
            Self::Rule(index) => Some(index),
            Self::Ambient => None,
        }
    }
}

/// Why no rule allows an operation: the rule that is missing, in words that say
/// what an administrator would have to grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(pub String);

impl Missing {
    /// A missing rule described by `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// The proof that a grant allows one concrete operation of a call. Only
/// [`Gate::permit`] makes one:
///
/// ```
/// use airlock_sandbox::capability::log::{Log, Op};
/// use airlock_sandbox::gate::{Gate, Permit};
///
/// fn ask(gate: &Gate) -> Option<Permit<Log>> {
///     gate.permit(Op::Write).ok()
/// }
/// ```
///
/// and nobody else can:
///
/// ```compile_fail,E0451
/// use airlock_sandbox::capability::log::{Log, Op};
/// use airlock_sandbox::gate::{Gate, Permit};
///
/// fn forge(other: Permit<Log>) -> Permit<Log> {
///     Permit { op: Op::Progress, ..other }
/// }
/// ```
///
/// nor change or copy one:
///
/// ```compile_fail,E0616
/// use airlock_sandbox::capability::log::{Log, Op};
/// use airlock_sandbox::gate::Permit;
///
/// fn widen(permit: &mut Permit<Log>) {
///     permit.op = Op::Progress;
/// }
/// ```
///
/// ```compile_fail,E0599
/// use airlock_sandbox::capability::log::Log;
/// use airlock_sandbox::gate::Permit;
///
/// fn copy(permit: &Permit<Log>) -> Permit<Log> {
///     Permit::clone(permit)
/// }
/// ```
pub struct Permit<C: Capability> {
    gate: Gate,
    op: C::Op,
    grants: Mutex<Arc<Grants>>,
    allowed: Allowed,
    version: AtomicU64,
}

impl Gate {
    /// The gate of one call, over the plugin's grants as they stand and change.
    pub fn new(info: CallInfo, cell: Arc<GrantsCell>, host_memory_bytes: u64) -> Self {
        let start = cell.load();
        Self::starting(info, cell, start, host_memory_bytes)
    }

    /// Like [`Gate::new`], for a call that begins under the grants `start`: the
    /// ones its rooms were prepared for, whatever the cell holds by now.
    pub(crate) fn starting(
        info: CallInfo,
        cell: Arc<GrantsCell>,
        start: (u64, Arc<Grants>),
        host_memory_bytes: u64,
    ) -> Self {
        let inner = Inner {
            info,
            cell,
            start,
            budget: Budget::new(host_memory_bytes),
            ledger: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Asks the grants for a permit to do `op`. What allows it is a rule that was
    /// in force when the call began and still is: an index of a rule always means
    /// the rules that the rooms were prepared for.
    ///
    /// # Errors
    /// The denial, already recorded, naming the rule that was missing.
    pub fn permit<C: Capability>(&self, op: C::Op) -> Result<Permit<C>, Denial> {
        let (version, grants) = &self.inner.start;
        match self.decide::<C>(grants, &op) {
            Ok(allowed) => {
                let permit = Permit {
                    gate: self.clone(),
                    op,
                    grants: Mutex::new(Arc::clone(grants)),
                    allowed,
                    version: AtomicU64::new(*version),
                };
                permit.recheck()?;
                self.count(C::NAME, allowed.index(), |usage| usage.allowed += 1);
                Ok(permit)
            }
            Err(missing) => Err(self.deny(C::NAME, &op, missing)),
        }
    }

    fn decide<C: Capability>(&self, grants: &Grants, op: &C::Op) -> Result<Allowed, Missing> {
        if self.inner.info.class == EffectClass::ReadOnly && C::writes(op) {
            return Err(Missing::new(format!(
                "the tool `{}` is called as read-only, and this changes something",
                self.inner.info.tool
            )));
        }
        C::decide(grants, op)
    }

    /// Records a denial that a room found itself, e.g. a quota or an address
    /// that only resolution showed to be private.
    pub fn deny(
        &self,
        capability: &'static str,
        op: &dyn fmt::Display,
        missing: Missing,
    ) -> Denial {
        let denial = Denial::clipped(capability, &op.to_string(), &missing.0);
        self.count(capability, None, |usage| usage.denied += 1);
        let mut ledger = self.ledger();
        if ledger.denials.len() < DENIALS_MAX && !ledger.denials.contains(&denial) {
            ledger.denials.push(denial.clone());
        }
        ledger.last_denial = Some(denial.clone());
        denial
    }

    /// The most recent denial of this call.
    pub fn last_denial(&self) -> Option<Denial> {
        self.ledger().last_denial.clone()
    }

    /// The distinct denials of this call so far, at most [`DENIALS_MAX`].
    pub fn denials(&self) -> Vec<Denial> {
        self.ledger().denials.clone()
    }

    /// What was used so far, per capability and rule.
    pub fn usage(&self) -> Vec<CapabilityUsage> {
        let ledger = self.ledger();
        ledger
            .usage
            .iter()
            .map(|(_, usage)| usage.clone())
            .collect()
    }

    /// The grants in force now, e.g. to list the names a room may ask for. What
    /// they hold reaches the guest through [`Gate::permit`] alone.
    pub fn grants(&self) -> Arc<Grants> {
        self.inner.cell.load().1
    }

    /// The call's total of host-side bytes.
    pub fn budget(&self) -> &Budget {
        &self.inner.budget
    }

    /// The call this gate belongs to.
    pub fn info(&self) -> &CallInfo {
        &self.inner.info
    }

    fn count(
        &self,
        name: &'static str,
        rule: Option<usize>,
        change: impl FnOnce(&mut CapabilityUsage),
    ) {
        let mut ledger = self.ledger();
        let key = (name, rule);
        let found = ledger.usage.binary_search_by_key(&key, |(key, _)| *key);
        let at = found.unwrap_or_else(|at| {
            let usage = CapabilityUsage {
                capability: name.into(),
                rule,
                ..CapabilityUsage::default()
            };
            ledger.usage.insert(at, (key, usage));
            at
        });
        change(&mut ledger.usage[at].1);
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.inner
            .ledger
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Capability> Permit<C> {
    /// The operation this permit is for.
    pub fn op(&self) -> &C::Op {
        &self.op
    }

    /// Index of the rule that allows it; `None` where no rule is needed.
    pub fn rule_index(&self) -> Option<usize> {
        self.allowed.index()
    }

    /// The rule that allows it.
    pub fn rule(&self) -> Option<C::Rule> {
        let grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        self.rule_index()
            .and_then(|index| C::rules(&grants).get(index).cloned())
    }

    /// The gate that made it.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Whether the operation is still allowed, by the same rule text, under the
    /// grants in force now. Costs one atomic load while nothing changed.
    ///
    /// # Errors
    /// The denial, already recorded.
    pub fn recheck(&self) -> Result<(), Denial> {
        let cell = &self.gate.inner.cell;
        if cell.version() == self.version.load(Ordering::Acquire) {
            return Ok(());
        }
        let (version, grants) = cell.load();
        let decided = self.gate.decide::<C>(&grants, &self.op);
        match decided {
            Ok(_) if self.same_rule(&grants) => {
                self.version.store(version, Ordering::Release);
                Ok(())
            }
            Ok(_) => Err(self.gate.deny(
                C::NAME,
                &self.op,
                Missing::new("the rule that allowed it was changed during the call"),
            )),
            Err(missing) => Err(self.gate.deny(C::NAME, &self.op, missing)),
        }
    }

    fn same_rule(&self, grants: &Grants) -> bool {
        let Some(index) = self.rule_index() else {
            return true;
        };
        let held = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        let rule = C::rules(&held).get(index);
        rule.is_some() && C::rules(grants).iter().any(|other| Some(other) == rule)
    }

    /// Counts bytes that came into the guest under this permit.
    pub fn count_in(&self, bytes: u64) {
        self.gate
            .count(C::NAME, self.rule_index(), |usage| usage.bytes_in += bytes);
    }

    /// Counts bytes that left the guest under this permit.
    pub fn count_out(&self, bytes: u64) {
        self.gate
            .count(C::NAME, self.rule_index(), |usage| usage.bytes_out += bytes);
    }
}

impl<C: Capability> fmt::Debug for Permit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({} {})", C::NAME, self.op)
    }
}

impl Denial {
    /// A denial no longer than a record takes, whatever was tried.
    #[must_use]
    pub fn clipped(capability: &str, operation: &str, rule: &str) -> Self {
        Self {
            capability: capability.to_owned(),
            operation: clip(operation, OPERATION_BYTES_MAX),
            rule: clip(rule, RULE_BYTES_MAX),
        }
    }
}

fn clip(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes_max);
    format!("{}… ({} bytes)", &text[..end], text.len())
}

/// A total of bytes the host may hold for one call. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget {
    inner: Arc<BudgetInner>,
}

#[derive(Debug)]
struct BudgetInner {
    limit: u64,
    held: AtomicU64,
}

/// Bytes reserved from a [`Budget`]; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    bytes: u64,
}

/// A call tried to hold more than its limit. As a wasmtime error it ends the
/// call with `limit`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limit {limit} reached ({value})")]
pub struct LimitReached {
    /// The limit's name as in a grants file.
    pub limit: &'static str,
    /// Its value with its unit.
    pub value: String,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            inner: Arc::new(BudgetInner {
                limit,
                held: AtomicU64::new(0),
            }),
        }
    }

    /// Reserves `bytes` until the reservation is dropped.
    ///
    /// # Errors
    /// [`LimitReached`] when the total would exceed the limit.
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, LimitReached> {
        let fits = |held: u64| {
            held.checked_add(bytes)
                .filter(|sum| *sum <= self.inner.limit)
        };
        match self
            .inner
            .held
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
        {
            Ok(_) => Ok(Reservation {
                budget: self.clone(),
                bytes,
            }),
            Err(_) => Err(LimitReached {
                limit: "host_memory",
                value: crate::limits::ByteSize(self.inner.limit).to_string(),
            }),
        }
    }

    /// Bytes held now.
    pub fn held(&self) -> u64 {
        self.inner.held.load(Ordering::Acquire)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget
            .inner
            .held
            .fetch_sub(self.bytes, Ordering::AcqRel);
    }
}
