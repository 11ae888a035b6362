//! Models that are bad, in each way that models are.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use airlock_examples::runs::Run;
use airlock_examples::stage::Stage;
use airlock_fake_models::{Damage, Raw, Reply, Step, What};

/// A run that ended takes no longer than this.
const BOUND: Duration = Duration::from_secs(90);

/// How a model is bad, at each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Its text is nothing that was asked for.
    Malformed,
    /// Its answer is none of its protocol.
    NoProtocol,
    /// It never answers.
    Never,
    /// It declines.
    Refuses,
    /// It is asked too often, each time.
    RateLimits,
    /// It says that it calls tools, and calls none.
    ContradictsItself,
    /// Its answer is cut off at the most tokens.
    TooLong,
    /// There is nothing wrong with it; the run may not use as much as one answer takes.
    OverBudget,
}

impl Bad {
    /// All that it says.
    fn step(self) -> Step {
        let answer = |reply: Reply| What::Answer(reply);
        let text = |text: &str| Reply {
            text: text.to_owned(),
            ..Reply::default()
        };
        let finish = |reply: Reply, finish: &str| Reply {
            finish: Some(finish.to_owned()),
            ..reply
        };
        let what = match self {
            Self::Malformed => answer(text("{\"kind\": refund, and so on")),
            Self::NoProtocol => What::Raw(Raw {
                status: 200,
                headers: BTreeMap::from([("content-type".into(), "application/json".into())]),
                body: "<html>Bad gateway</html>".to_owned(),
            }),
            Self::Never => What::Never,
            Self::Refuses => answer(Reply {
                refusal: Some("I can't help with that.".into()),
                ..Reply::default()
            }),
            Self::RateLimits => What::Raw(Raw {
                status: 429,
                headers: BTreeMap::from([("retry-after".into(), "0".into())]),
                body: String::new(),
            }),
            Self::ContradictsItself => answer(finish(text("I call the tool now."), "tool-calls")),
            Self::OverBudget => answer(text("{}")),
            Self::TooLong => answer(finish(
                Reply {
                    damage: Damage::default(),
                    ..text("And then, and then, and then")
                },
                "length",
            )),
        };
        Step {
            model: None,
            has: None,
            again: true,
            what,
        }
    }
}

/// Whatever the model is, a run ends: as the table says, and in time.
#[track_caller]
pub(crate) fn ends_cleanly<'s>(stage: &'s Stage, table: &[(Bad, &str)], run: impl Fn() -> Run<'s>) {
    for (bad, word) in table {
        stage.plays([bad.step()]);
        let over = *bad == Bad::OverBudget;
        stage.bound(over.then_some(10));
        let begun = Instant::now();
        let run = run();
        stage.bound(None);
        let end = run.end().expect("an end");
        assert_eq!(end.word(), *word, "{bad:?}: {end:#?}");
        assert!(
            begun.elapsed() < BOUND,
            "{bad:?} took {:?}",
            begun.elapsed()
        );
        assert_eq!(
            stage.models.seen().is_empty(),
            over,
            "{bad:?}: whether the model was asked"
        );
        println!(
            "{bad:?}: {word} after {:?}, {} requests",
            begun.elapsed(),
            stage.models.seen().len()
        );
    }
}
