//! An agent that reconciles a folder of invoices with the contracts they name:
//! reads the invoices, fetches the contracts, compares, writes a report. What
//! can't be read is put before a person, and the rest is finished meanwhile.
//!
//! What must stay true: it decides by its input and by what tools and people
//! answered, and by nothing else; nothing outside is changed but by the one write
//! of the report, which the host asks a person about.

mod compare;
#[cfg(test)]
mod tests;
mod work;

use std::collections::BTreeMap;

use airlock_sdk::prelude::*;

/// What to reconcile with what.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The folder of the invoices as `files` and `table` see it, e.g. `/invoices`.
    pub invoices: String,
    /// The address that a contract's id is put behind, e.g.
    /// `https://api.example.com/v1/contracts`.
    pub contracts: String,
    /// Headers of a secret for that address: the header's name to the secret's.
    #[serde(default)]
    pub secret_headers: BTreeMap<String, String>,
    /// The file to write as `files` sees it, e.g. `/out/report.html`. It is
    /// replaced.
    pub report: String,
    /// For how long a person is asked about an invoice that can't be read, in
    /// hours; 72 unless given.
    pub patience_hours: Option<u32>,
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Reconciled {
    /// Files that were read.
    pub files: usize,
    /// Lines in them.
    pub lines: usize,
    /// Contracts that the invoices name and that there are.
    pub contracts: usize,
    /// Lines that disagree with their contract.
    pub disagree: usize,
    /// Invoices that are there more than once.
    pub twice: usize,
    /// The report, where it was written.
    pub report: Option<String>,
    /// Why it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_written: Option<String>,
    /// Files that can't be read, with what a person said to each.
    pub escalated: Vec<Escalated>,
}

/// A file that is left to a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Escalated {
    /// The file.
    pub path: String,
    /// Why it can't be read.
    pub problem: String,
    /// What a person decided; `None`: nobody did in time.
    pub decision: Option<String>,
    /// What the person added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
