//! Whether a range of an advisory covers a version.
//!
//! `semver` leaves pre-releases out of ranges that name none, which is right for
//! choosing a dependency. Here a pre-release is a version like any other, ordered
//! as the standard says (Semantic Versioning 2.0.0, 11): `1.3.0-rc.1` has what was
//! mended in `>= 1.2.4`, and has not what was mended in `>= 1.3.0`.

use semver::{Comparator, Op, Prerelease, Version, VersionReq};

pub(crate) fn covers(range: &VersionReq, version: &Version) -> bool {
    if version.pre.is_empty() || range.matches(version) {
        return range.matches(version);
    }
    range
        .comparators
        .iter()
        .all(|comparator| covers_pre_release(comparator, version))
}

fn covers_pre_release(comparator: &Comparator, version: &Version) -> bool {
    let at = Version {
        major: comparator.major,
        minor: comparator.minor.unwrap_or(0),
        patch: comparator.patch.unwrap_or(0),
        pre: comparator.pre.clone(),
        build: semver::BuildMetadata::EMPTY,
    };
    let order = version.cmp_precedence(&at);
    match comparator.op {
        Op::Less => order.is_lt(),
        Op::GreaterEq => order.is_ge(),
        // What is written short stands for all versions that begin so.
        Op::Greater | Op::LessEq | Op::Exact if comparator.patch.is_none() => {
            comparator.matches(&release(version))
        }
        Op::Greater => order.is_gt(),
        Op::LessEq => order.is_le(),
        Op::Exact => order.is_eq(),
        _ => order.is_ge() && comparator.matches(&release(version)),
    }
}

/// The version that the pre-release leads to.
fn release(version: &Version) -> Version {
    Version {
        pre: Prerelease::EMPTY,
        ..version.clone()
    }
}
