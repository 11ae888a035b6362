//! An agent that answers one request for a refund: looks up the order, holds the
//! request against the policy, drafts the answer, and refunds, asks or hands over.
//!
//! What must stay true: the policy comes with the run and never from the
//! customer's words; a run asks for at most one refund, under one key.

mod policy;
#[cfg(test)]
mod tests;
mod work;

use airlock_sdk::prelude::*;

/// A request and what may be done about it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// What the customer asks for.
    pub request: Request,
    /// What may be done without a person, and with one.
    pub policy: Policy,
    /// For how long a person is asked, in hours; 72 unless given.
    pub patience_hours: Option<u32>,
}

/// A customer's request.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Its id with the support desk.
    pub id: String,
    /// Who asks, as the desk knows them; the order must be theirs.
    pub customer: String,
    /// The order's id.
    pub order: String,
    /// How much, in the currency's minor units; all that is left unless given.
    pub amount: Option<u64>,
    /// What they wrote; shown to people, and never acted on.
    pub text: String,
}

/// When an order is refunded.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Days after the payment within which it is refunded.
    pub days: u32,
    /// Above this a person is asked, in minor units.
    pub ask_above: u64,
    /// Above this a person takes over, in minor units.
    pub never_above: u64,
}

/// What came of it.
#[derive(Debug, PartialEq, Serialize)]
pub struct Answered {
    /// `refunded` or `declined`.
    pub decision: &'static str,
    /// Why.
    pub reason: String,
    /// The refund's id, where there is one.
    pub refund: Option<String>,
    /// What was refunded, in minor units.
    pub amount: u64,
    /// A draft of the answer to the customer.
    pub answer: String,
}
