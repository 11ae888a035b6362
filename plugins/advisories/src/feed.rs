//! The feed: one advisory a line, held against the packages.

use std::borrow::Cow;
use std::collections::BTreeMap;

use airlock_sdk::prelude::*;
use semver::{Version, VersionReq};

use crate::{Finding, range, score};

const TITLE_CHARS_MAX: usize = 200;

#[derive(Deserialize)]
struct Advisory<'a> {
    id: String,
    #[serde(borrow)]
    package: Cow<'a, str>,
    #[serde(default)]
    date: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    informational: Option<String>,
    #[serde(default)]
    withdrawn: Withdrawn,
    #[serde(default)]
    cvss: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    patched: Vec<String>,
    #[serde(default)]
    unaffected: Vec<String>,
}

/// Whether it was, or when.
#[derive(Deserialize)]
#[serde(untagged)]
enum Withdrawn {
    Is(bool),
    Since(#[allow(dead_code, reason = "that there is one is all")] String),
    Never(()),
}

impl Default for Withdrawn {
    fn default() -> Self {
        Self::Never(())
    }
}

/// What was read.
#[derive(Default)]
pub(crate) struct Read {
    pub(crate) advisories: usize,
    pub(crate) unreadable: usize,
    pub(crate) findings: Vec<Finding>,
}

pub(crate) fn read(
    text: &str,
    packages: &BTreeMap<String, Vec<Version>>,
    informational: bool,
) -> Read {
    let mut read = Read::default();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let Ok(advisory) = serde_json::from_str::<Advisory<'_>>(line) else {
            read.unreadable += 1;
            continue;
        };
        read.advisories += 1;
        let told = matches!(&advisory.informational, Some(kind) if kind != "unsound");
        let withdrawn = !matches!(
            advisory.withdrawn,
            Withdrawn::Is(false) | Withdrawn::Never(())
        );
        if withdrawn || (told && !informational) {
            continue;
        }
        for version in packages.get(&*advisory.package).into_iter().flatten() {
            read.findings.extend(finding(&advisory, version));
        }
    }
    read
}

/// The finding, unless a range says that the version is mended or never had it.
fn finding(advisory: &Advisory<'_>, version: &Version) -> Option<Finding> {
    let mut unreadable = Vec::new();
    for text in advisory.patched.iter().chain(&advisory.unaffected) {
        match VersionReq::parse(text) {
            Ok(wanted) if range::covers(&wanted, version) => return None,
            Ok(_) => {}
            Err(_) => unreadable.push(text.clone()),
        }
    }
    let score = advisory.cvss.as_deref().and_then(score::base);
    Some(Finding {
        id: advisory.id.clone(),
        package: advisory.package.clone().into_owned(),
        version: version.to_string(),
        title: advisory.title.chars().take(TITLE_CHARS_MAX).collect(),
        date: advisory.date.clone(),
        informational: advisory.informational.clone(),
        score,
        severity: score::severity(score),
        cvss: advisory.cvss.clone(),
        patched: advisory.patched.clone(),
        url: advisory.url.clone().unwrap_or_default(),
        unreadable_ranges: unreadable,
    })
}
