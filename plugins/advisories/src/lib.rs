//! Matches a feed of security advisories (RustSec's, one JSON object a line) with
//! the packages of a `Cargo.lock`, and ranks what applies by its CVSS score.
//!
//! What must stay true: what can't be read of the feed is counted and never taken
//! for "does not apply"; the answer is bounded and says when it was cut.

mod feed;
mod lock;
mod range;
mod score;

use airlock_sdk::http;
use airlock_sdk::prelude::*;

const FEED_BYTES_MAX: usize = 8 << 20;
const FINDINGS_DEFAULT: usize = 500;
const FINDINGS_MAX: usize = 1_000;

/// What to match with what.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The feed's address: one JSON object a line.
    feed: String,
    /// The `Cargo.lock`, as a path in the sandbox.
    lock: String,
    /// Whether to name what is only unmaintained, or a notice, as well.
    #[serde(default)]
    informational: bool,
    /// How many findings at most: 1 to 1,000, 500 unless given.
    limit: Option<usize>,
}

/// What applies.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Report {
    /// Packages in the lock file that come from somewhere else.
    packages: usize,
    /// Advisories in the feed.
    advisories: usize,
    /// Lines of the feed that are no advisory.
    unreadable: usize,
    /// The findings, the highest score first.
    findings: Vec<Finding>,
    /// Whether there are more.
    cut: bool,
}

/// An advisory that applies to a package.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Finding {
    /// The advisory's id.
    id: String,
    /// The package.
    package: String,
    /// Its version in the lock file.
    version: String,
    /// The advisory's title, at most 200 characters.
    title: String,
    /// When it was published, `YYYY-MM-DD`.
    date: String,
    /// `unsound`, `unmaintained` or `notice`; absent for a vulnerability.
    #[serde(skip_serializing_if = "Option::is_none")]
    informational: Option<String>,
    /// The CVSS base score, 0.0 to 10.0; absent where the advisory has no vector
    /// that can be scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    /// `critical`, `high`, `medium`, `low`, `none` or `unknown`.
    severity: &'static str,
    /// The CVSS vector.
    #[serde(skip_serializing_if = "Option::is_none")]
    cvss: Option<String>,
    /// Versions that mend it; none where there are none.
    patched: Vec<String>,
    /// More about it.
    url: String,
    /// A range of the advisory that can't be read; it was taken to apply.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable_ranges: Vec<String>,
}

/// Fetches a feed of security advisories, matches it with a Cargo.lock and gives
/// what applies, the highest CVSS score first.
#[tool(read_only, open_world, title = "Check a lock file for advisories")]
fn check(input: Check) -> Result<Report, Error> {
    let limit = input.limit.unwrap_or(FINDINGS_DEFAULT);
    if !(1..=FINDINGS_MAX).contains(&limit) {
        return Err(Error::invalid_input(format!(
            "limit: must be from 1 to {FINDINGS_MAX}"
        )));
    }
    let packages = lock::read(&input.lock)?;
    let request = http::get(&input.feed).max_bytes(FEED_BYTES_MAX);
    let reply = request.header("accept-encoding", "identity").send()?;
    let reply = reply.error_for_status()?;
    let text = std::str::from_utf8(&reply.body)
        .map_err(|_| Error::permanent("the feed is not UTF-8 text"))?;
    let read = feed::read(text, &packages, input.informational);
    if read.advisories == 0 {
        return Err(Error::permanent(format!(
            "the feed holds no advisory; {} lines are none",
            read.unreadable
        )));
    }
    let mut findings = read.findings;
    findings.sort_by(worst_first);
    let cut = findings.len() > limit;
    findings.truncate(limit);
    Ok(Report {
        packages: packages.len(),
        advisories: read.advisories,
        unreadable: read.unreadable,
        findings,
        cut,
    })
}

/// Those without a score come before those that are known to be harmless.
fn worst_first(left: &Finding, right: &Finding) -> std::cmp::Ordering {
    let rank = |finding: &Finding| match (finding.score, &finding.informational) {
        (Some(score), _) => score,
        (None, None) => 4.0,
        (None, Some(_)) => 0.0,
    };
    let by_score = rank(right).total_cmp(&rank(left));
    by_score.then_with(|| {
        let key = |finding: &Finding| (finding.id.clone(), finding.version.clone());
        key(left).cmp(&key(right))
    })
}

plugin! {
    tools: [check],
    wants: [
        want!(http, r#"{ url = "https://example.com/advisories.jsonl", methods = ["GET"] }"#, "To fetch the feed of advisories."),
        want!(files, r#"{ host = "/path/to/folder", guest = "/project", access = "read" }"#, "To read the Cargo.lock in it."),
    ],
}

#[cfg(test)]
mod tests;
