//! What the run of an agent asks of its host itself, models, the memory, tools and
//! children: judged by the agent's grants as they stand, outside of any call.
//!
//! What must stay true: the fields of a [`RunPermit`] are private to this module, and
//! [`Grants::permit_run`] alone makes one; a denial is no longer than a record takes.

use std::fmt;

use super::Allowed;
use crate::call::Denial;
use crate::capability::Capability;
use crate::grants::Grants;

/// The proof that an agent's grants allow one concrete operation of its run. It says
/// what held when it was made: what takes its time asks for another one. Only
/// [`Grants::permit_run`] makes one:
///
/// ```
/// use airlock_sandbox::Grants;
/// use airlock_sandbox::capability::tools::{Op, Tools};
/// use airlock_sandbox::gate::RunPermit;
///
/// fn ask(grants: &Grants, tool: &str) -> Option<RunPermit<Tools>> {
///     grants.permit_run(Op { tool: tool.to_owned() }).ok()
/// }
/// ```
///
/// and nobody else can:
///
/// ```compile_fail,E0451
/// use airlock_sandbox::capability::tools::{Op, Tools};
/// use airlock_sandbox::gate::RunPermit;
///
/// fn forge(op: Op, other: RunPermit<Tools>) -> RunPermit<Tools> {
///     RunPermit { op, ..other }
/// }
/// ```
///
/// nor change or copy one:
///
/// ```compile_fail,E0616
/// use airlock_sandbox::capability::tools::{Op, Tools};
/// use airlock_sandbox::gate::RunPermit;
///
/// fn widen(permit: &mut RunPermit<Tools>, op: Op) {
///     permit.op = op;
/// }
/// ```
///
/// ```compile_fail,E0599
/// use airlock_sandbox::capability::tools::Tools;
/// use airlock_sandbox::gate::RunPermit;
///
/// fn copy(permit: &RunPermit<Tools>) -> RunPermit<Tools> {
///     RunPermit::clone(permit)
/// }
/// ```
pub struct RunPermit<C: Capability> {
    op: C::Op,
    rule: C::Rule,
}

impl Grants {
    /// Asks an agent's grants for a permit to do `op` in its run. A rule has to allow
    /// it, also where a call would need none.
    ///
    /// # Errors
    /// The denial, naming the rule that is missing. Whoever asks puts it on record.
    pub fn permit_run<C: Capability>(&self, op: C::Op) -> Result<RunPermit<C>, Denial> {
        let missing = match C::decide(self, &op) {
            Ok(Allowed::Rule(index)) => match C::rules(self).get(index) {
                Some(rule) => {
                    let rule = rule.clone();
                    return Ok(RunPermit { op, rule });
                }
                None => format!("there is no {} rule {index}", C::NAME),
            },
            Ok(Allowed::Ambient) => format!("no run uses {} without a rule", C::NAME),
            Err(missing) => missing.0,
        };
        Err(Denial::clipped(C::NAME, &op.to_string(), &missing))
    }
}

impl<C: Capability> RunPermit<C> {
    /// The operation this permit is for.
    pub fn op(&self) -> &C::Op {
        &self.op
    }

    /// The rule that allows it.
    pub fn rule(&self) -> &C::Rule {
        &self.rule
    }
}

impl<C: Capability> fmt::Debug for RunPermit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunPermit({} {})", C::NAME, self.op)
    }
}
