//! Attacks at install: components that must be refused before anything of them
//! can be called.

use std::time::Instant;

use anyhow::Result;

use super::ground::Ground;
use super::neighbour::Neighbour;
use super::report::Outcome;
use crate::commands::install;
use crate::exit::Failure;

/// A component that imports `open` of `evil:host/door@1.0.0`, which nothing serves.
const UNKNOWN_IMPORT: &[u8] = b"\0asm\x0d\0\x01\0\
    \x07\x11\x01\x42\x02\x01\x40\0\x01\0\x04\0\x04open\x01\0\
    \x0a\x19\x01\0\x14evil:host/door@1.0.0\x05\0";

/// The same of an interface that is served, by a version that is not.
const OTHER_VERSION: &[u8] = b"\0asm\x0d\0\x01\0\
    \x07\x11\x01\x42\x02\x01\x40\0\x01\0\x04\0\x04open\x01\0\
    \x0a\x25\x01\0\x20wasi:http/outgoing-handler@0.1.0\x05\0";

struct Refusal {
    class: &'static str,
    name: &'static str,
    component: fn(&Ground) -> Option<Vec<u8>>,
    digest: Option<&'static str>,
    code: &'static str,
    /// What the refusal names.
    names: &'static str,
}

const REFUSALS: &[Refusal] = &[
    Refusal {
        class: "resources",
        name: "never answers when asked for its tools",
        component: |ground| ground.component("evil_metadata").map(<[u8]>::to_vec),
        digest: None,
        code: "metadata-failed",
        names: "limit cpu",
    },
    Refusal {
        class: "resources",
        name: "spins while it is instantiated",
        component: |ground| ground.component("evil_init").map(<[u8]>::to_vec),
        digest: None,
        code: "metadata-failed",
        names: "limit cpu",
    },
    Refusal {
        class: "authority",
        name: "is no component at all",
        component: |_| Some(b"\0asm and then nonsense".to_vec()),
        digest: None,
        code: "component-invalid",
        names: "WebAssembly",
    },
    Refusal {
        class: "authority",
        name: "was cut off",
        component: |ground| {
            let whole = ground.component("evil_resources")?;
            Some(whole[..whole.len() / 2].to_vec())
        },
        digest: None,
        code: "component-invalid",
        names: "end-of-file",
    },
    Refusal {
        class: "authority",
        name: "is another component than the digest says",
        component: |ground| ground.component("evil_resources").map(<[u8]>::to_vec),
        digest: Some("sha256:0000000000000000000000000000000000000000000000000000000000000000"),
        code: "digest-mismatch",
        names: "sha256:",
    },
    Refusal {
        class: "authority",
        name: "imports what nobody offers",
        component: |_| Some(UNKNOWN_IMPORT.to_vec()),
        digest: None,
        code: "unknown-import",
        names: "evil:host/door",
    },
    Refusal {
        class: "authority",
        name: "imports a capability by a version that is not offered",
        component: |_| Some(OTHER_VERSION.to_vec()),
        digest: None,
        code: "unknown-import",
        names: "wasi:http/outgoing-handler@0.1.0",
    },
];

/// Tries to install what must be refused.
pub(super) fn refusals(ground: &Ground, class: Option<&str>) -> Result<Vec<Outcome>> {
    let wanted = |refusal: &&Refusal| class.is_none_or(|class| class == refusal.class);
    REFUSALS
        .iter()
        .filter(wanted)
        .map(|refusal| attempt(ground, refusal))
        .collect()
}

fn attempt(ground: &Ground, refusal: &Refusal) -> Result<Outcome> {
    let Some(bytes) = (refusal.component)(ground) else {
        anyhow::bail!(
            "the guest for `{}` is not there; build them with `cargo xtask plugins`",
            refusal.name
        );
    };
    let neighbour = Neighbour::start(ground);
    let start = Instant::now();
    let result = install(&ground.server.api(), "refused", bytes, refusal.digest);
    let judged = match result {
        Ok(installed) => Err(format!("installed {installed}")),
        Err(error) => judge(refusal, &error),
    };
    let outcome = Outcome {
        class: refusal.class.to_owned(),
        attack: refusal.name.to_owned(),
        expected: format!("refused: {}, naming {}", refusal.code, refusal.names),
        ms: start.elapsed().as_millis() as u64,
        ..Outcome::default()
    };
    Ok(outcome.judged(judged, neighbour.finish()))
}

fn judge(refusal: &Refusal, error: &anyhow::Error) -> Result<String, String> {
    let Some(failure) = error.downcast_ref::<Failure>() else {
        return Err(format!("{error:#}"));
    };
    let told = failure.to_string();
    match failure.code == refusal.code && told.contains(refusal.names) {
        true => Ok(told),
        false => Err(told),
    }
}
