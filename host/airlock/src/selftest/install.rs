//! Attacks at install: components that must be refused before anything of them
//! can be called.

use std::time::Instant;

use anyhow::Result;

use super::ground::Ground;
use super::neighbour::Neighbour;
use super::report::Outcome;
use crate::commands::install;
use crate::exit::Failure;

struct Refusal {
    class: &'static str,
    name: &'static str,
    component: fn(&Ground) -> Option<Vec<u8>>,
    codes: &'static [&'static str],
}

const REFUSALS: &[Refusal] = &[
    Refusal {
        class: "resources",
        name: "never answers when asked for its tools",
        component: |ground| ground.component("evil_metadata").map(<[u8]>::to_vec),
        codes: &["metadata-failed"],
    },
    Refusal {
        class: "resources",
        name: "spins while it is instantiated",
        component: |ground| ground.component("evil_init").map(<[u8]>::to_vec),
        codes: &["metadata-failed"],
    },
    Refusal {
        class: "authority",
        name: "is no component at all",
        component: |_| Some(b"\0asm and then nonsense".to_vec()),
        codes: &["component-invalid"],
    },
    Refusal {
        class: "authority",
        name: "was cut off",
        component: |ground| {
            ground
                .component("evil_resources")
                .map(|bytes| bytes[..bytes.len() / 2].to_vec())
        },
        codes: &["component-invalid"],
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
    let (refused, seen) = match install(&ground.server.api(), "refused", bytes, None) {
        Ok(installed) => (false, format!("installed {installed}")),
        Err(error) => match error.downcast_ref::<Failure>() {
            Some(failure) => (
                refusal.codes.contains(&failure.code.as_str()),
                failure.to_string(),
            ),
            None => (false, format!("{error:#}")),
        },
    };
    let calls = neighbour.finish();
    Ok(Outcome {
        class: refusal.class.to_owned(),
        attack: refusal.name.to_owned(),
        expected: format!("refused: {}", refusal.codes.join(" or ")),
        seen,
        held: refused && calls.failed == 0 && calls.succeeded > 0,
        neighbour_calls: calls.succeeded,
        ms: start.elapsed().as_millis() as u64,
    })
}
