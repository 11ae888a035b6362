//! What a delivery claims, and whether its headers can be believed as far as
//! that shows without its secret. Pure.
//!
//! What must stay true: nothing here depends on whether there is such a hook.

use airlock_sandbox::capability::secrets::Mac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{HookError, Scheme};

/// How old a delivery may be, or how far ahead its clock.
pub(super) const TOLERANCE_S: u64 = 300;
/// Longest id of a delivery, bytes.
const ID_BYTES_MAX: usize = 255;
/// Signatures of one delivery, as while its sender changes the secret.
const SIGNATURES_MAX: usize = 8;

/// The headers of a delivery, as they came.
#[derive(Debug, Clone, Copy, Default)]
pub struct HookHead<'a> {
    /// `webhook-id`.
    pub id: Option<&'a str>,
    /// `webhook-timestamp`.
    pub timestamp: Option<&'a str>,
    /// `webhook-signature`.
    pub signature: Option<&'a str>,
    /// `x-github-delivery`.
    pub github_id: Option<&'a str>,
    /// `x-hub-signature-256`.
    pub github_signature: Option<&'a str>,
}

/// Headers that make sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) scheme: Scheme,
    pub(super) id: String,
    /// What is signed before the body.
    pub(super) prefix: String,
    pub(super) signatures: Vec<Mac>,
}

/// Reads the headers.
pub(super) fn claim(head: &HookHead<'_>, now_ms: u64) -> Result<Claim, HookError> {
    match (head.signature, head.github_signature) {
        (Some(signature), None) => standard(head, signature, now_ms),
        (None, Some(signature)) => github(head, signature),
        (Some(_), Some(_)) => header("`webhook-signature` and `x-hub-signature-256`: give one"),
        (None, None) => header(
            "there is no signature: `webhook-id`, `webhook-timestamp` and `webhook-signature`, or `x-hub-signature-256` and `x-github-delivery`, are needed",
        ),
    }
}

fn header<T>(problem: &str) -> Result<T, HookError> {
    Err(HookError::Header(problem.to_owned()))
}

/// Standard Webhooks: `id.timestamp.body` is signed.
fn standard(head: &HookHead<'_>, signature: &str, now_ms: u64) -> Result<Claim, HookError> {
    let id = delivery_id("webhook-id", head.id)?;
    let Some(timestamp) = head.timestamp else {
        return header("`webhook-timestamp` is missing");
    };
    let digits = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let Some(at_s) = digits.then(|| timestamp.parse::<u64>().ok()).flatten() else {
        return header("`webhook-timestamp` is not seconds since 1970");
    };
    let now_s = now_ms / 1_000;
    if now_s.abs_diff(at_s) > TOLERANCE_S {
        return Err(HookError::Time {
            off_s: now_s.abs_diff(at_s),
            ahead: at_s > now_s,
        });
    }
    let mut signatures = Vec::new();
    for part in signature.split(' ').filter(|part| !part.is_empty()) {
        // Other versions may stand beside ours.
        let Some(text) = part.strip_prefix("v1,") else {
            continue;
        };
        let mac = STANDARD.decode(text).ok();
        match mac.and_then(|mac| Mac::try_from(mac).ok()) {
            Some(mac) if signatures.len() < SIGNATURES_MAX => signatures.push(mac),
            Some(_) => return header("`webhook-signature` has more than 8 signatures"),
            None => return header("`webhook-signature` is not `v1,` and 32 bytes in base64"),
        }
    }
    if signatures.is_empty() {
        return header("`webhook-signature` has no signature that begins with `v1,`");
    }
    Ok(Claim {
        scheme: Scheme::Standard,
        prefix: format!("{id}.{timestamp}."),
        id,
        signatures,
    })
}

/// GitHub's: the body alone is signed.
fn github(head: &HookHead<'_>, signature: &str) -> Result<Claim, HookError> {
    let id = delivery_id("x-github-delivery", head.github_id)?;
    let mac = signature.strip_prefix("sha256=").and_then(from_hex);
    let Some(mac) = mac else {
        return header("`x-hub-signature-256` is not `sha256=` and 64 hexadecimal digits");
    };
    Ok(Claim {
        scheme: Scheme::Github,
        id,
        prefix: String::new(),
        signatures: vec![mac],
    })
}

fn delivery_id(name: &str, id: Option<&str>) -> Result<String, HookError> {
    match id {
        None => header(&format!("`{name}` is missing")),
        Some(id) => {
            let fits = id
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'.');
            match fits && (1..=ID_BYTES_MAX).contains(&id.len()) {
                true => Ok(id.to_owned()),
                // With a dot, two deliveries could be signed as one.
                false => header(&format!(
                    "`{name}` is 1 to {ID_BYTES_MAX} printable ASCII characters without spaces and dots"
                )),
            }
        }
    }
}

fn from_hex(text: &str) -> Option<Mac> {
    let mut mac = Mac::default();
    if text.len() != 2 * mac.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in mac.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(mac)
}

#[cfg(test)]
mod tests {
    use airlock_fuzz::cases;
    use proptest::option::of;
    use proptest::prelude::*;

    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            (0..600_u64).prop_map(|off| (NOW_MS / 1_000 - 300 + off).to_string()),
            "(v1,[A-Za-z0-9+/]{43}= ?){1,10}",
            "sha256=[0-9a-f]{64}",
            "[!-~]{1,260}",
        ]
    }

    proptest! {
        #![proptest_config(cases(500))]

        #[test]
        fn fuzz_whatever_the_headers_a_claim_is_bounded(
            texts in [of(text()), of(text()), of(text()), of(text()), of(text())],
        ) {
            let [id, timestamp, signature, github_id, github_signature] =
                texts.each_ref().map(Option::as_deref);
            let head = HookHead { id, timestamp, signature, github_id, github_signature };
            let Ok(claim) = claim(&head, NOW_MS) else {
                return Ok(());
            };
            prop_assert!((1..=SIGNATURES_MAX).contains(&claim.signatures.len()));
            prop_assert!(!claim.id.contains('.') && claim.id.len() <= ID_BYTES_MAX);
            match claim.scheme {
                Scheme::Github => prop_assert_eq!(claim.prefix, ""),
                Scheme::Standard => {
                    let timestamp = timestamp.unwrap_or_default();
                    let at_s: u64 = timestamp.parse().expect("a number");
                    prop_assert!(at_s.abs_diff(NOW_MS / 1_000) <= TOLERANCE_S);
                    prop_assert_eq!(claim.prefix, format!("{}.{timestamp}.", claim.id));
                }
            }
        }
    }
}
