//! CVSS base scores from their vectors. Version 3.0 and 3.1 by the formula of the
//! standard (<https://www.first.org/cvss/v3.1/specification-document>, 7.1 and 7.4),
//! version 4.0 by the crate `cvss`.

use std::str::FromStr as _;

/// The base score, 0.0 to 10.0; `None` for a vector that is not whole, and for
/// other versions.
pub(crate) fn base(vector: &str) -> Option<f64> {
    let (version, metrics) = vector.split_once('/')?;
    match version {
        "CVSS:3.0" => base_v3(metrics).map(round_up_3_0),
        "CVSS:3.1" => base_v3(metrics).map(round_up_3_1),
        "CVSS:4.0" => {
            let vector = cvss::v4::Vector::from_str(vector).ok()?;
            Some(vector.score().value())
        }
        _ => None,
    }
}

/// The qualitative rating, which is the same in all versions.
pub(crate) fn severity(score: Option<f64>) -> &'static str {
    match score {
        None => "unknown",
        Some(score) if score >= 9.0 => "critical",
        Some(score) if score >= 7.0 => "high",
        Some(score) if score >= 4.0 => "medium",
        Some(score) if score > 0.0 => "low",
        Some(_) => "none",
    }
}

/// The base score before it is rounded.
fn base_v3(metrics: &str) -> Option<f64> {
    let metric = |name: &str| {
        let mut parts = metrics.split('/').filter_map(|part| part.split_once(':'));
        parts
            .find(|(given, _)| *given == name)
            .map(|(_, value)| value)
    };
    let changed = match metric("S")? {
        "U" => false,
        "C" => true,
        _ => return None,
    };
    let exploitability =
        8.22 * weight(
            metric("AV")?,
            &[("N", 0.85), ("A", 0.62), ("L", 0.55), ("P", 0.2)],
        )? * weight(metric("AC")?, &[("L", 0.77), ("H", 0.44)])?
            * weight(
                metric("PR")?,
                match changed {
                    false => &[("N", 0.85), ("L", 0.62), ("H", 0.27)],
                    true => &[("N", 0.85), ("L", 0.68), ("H", 0.5)],
                },
            )?
            * weight(metric("UI")?, &[("N", 0.85), ("R", 0.62)])?;
    let mut kept = 1.0;
    for name in ["C", "I", "A"] {
        kept *= 1.0 - weight(metric(name)?, &[("H", 0.56), ("L", 0.22), ("N", 0.0)])?;
    }
    let lost: f64 = 1.0 - kept;
    let impact = match changed {
        false => 6.42 * lost,
        true => 7.52 * (lost - 0.029) - 3.25 * (lost - 0.02).powi(15),
    };
    if impact <= 0.0 {
        return Some(0.0);
    }
    let scope = if changed { 1.08 } else { 1.0 };
    Some((scope * (impact + exploitability)).min(10.0))
}

fn weight(value: &str, weights: &[(&str, f64)]) -> Option<f64> {
    let found = weights.iter().find(|(name, _)| *name == value);
    found.map(|(_, weight)| *weight)
}

/// To the next tenth.
fn round_up_3_0(score: f64) -> f64 {
    (score * 10.0).ceil() / 10.0
}

/// The same, of what 3.1 says a score is after the errors of floating point
/// (appendix A).
fn round_up_3_1(score: f64) -> f64 {
    let hundred_thousandths = (score * 100_000.0).round();
    (hundred_thousandths / 10_000.0).ceil() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_scores_are_those_of_the_standard() {
        let cases = [
            // Examples of FIRST's own documents.
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", Some(6.1)),
            ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", Some(6.4)),
            ("CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", Some(3.1)),
            ("CVSS:3.1/AV:L/AC:L/PR:N/UI:R/S:U/C:H/I:H/A:H", Some(7.8)),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", Some(10.0)),
            ("CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", Some(7.5)),
            ("CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:N/I:N/A:N", Some(0.0)),
            (
                "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H",
                Some(10.0),
            ),
            (
                "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:N/VI:N/VA:N/SC:N/SI:N/SA:N",
                Some(0.0),
            ),
            // Not whole, of another version, or none.
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N", None),
            ("CVSS:3.1/AV:X/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", None),
            ("CVSS:2.0/AV:N/AC:L/Au:N/C:C/I:C/A:C", None),
            ("CVSS:4.0/AV:N", None),
            ("", None),
        ];
        for (vector, score) in cases {
            assert_eq!(base(vector), score, "{vector}");
        }
    }

    /// Every vector of version 3 there is, against another implementation. It
    /// cuts where the standard rounds, which makes a difference in none of them.
    #[test]
    fn every_base_vector_has_the_score_that_others_compute() {
        let mut seen = 0;
        let values = [
            ("AV", "NALP"),
            ("AC", "LH"),
            ("PR", "NLH"),
            ("UI", "NR"),
            ("S", "UC"),
            ("C", "HLN"),
            ("I", "HLN"),
            ("A", "HLN"),
        ];
        let mut vectors = vec![String::new()];
        for (name, values) in values {
            let longer = vectors.iter().flat_map(|vector| {
                values
                    .chars()
                    .map(move |value| format!("{vector}/{name}:{value}"))
            });
            vectors = longer.collect();
        }
        for vector in vectors {
            for version in ["CVSS:3.0", "CVSS:3.1"] {
                let vector = format!("{version}{vector}");
                let other: cvss::Cvss = vector.parse().expect("a vector");
                assert_eq!(base(&vector), Some(other.score()), "{vector}");
                seen += 1;
            }
        }
        assert_eq!(seen, 2 * 4 * 2 * 3 * 2 * 2 * 27);
    }

    #[test]
    fn severity_follows_the_score() {
        for (score, severity_of) in [
            (None, "unknown"),
            (Some(0.0), "none"),
            (Some(0.1), "low"),
            (Some(3.9), "low"),
            (Some(4.0), "medium"),
            (Some(7.0), "high"),
            (Some(8.9), "high"),
            (Some(9.0), "critical"),
        ] {
            assert_eq!(severity(score), severity_of);
        }
    }
}
