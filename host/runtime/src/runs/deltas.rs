//! What language models answer, told as it comes to those who follow a run.
//!
//! What must stay true: nothing of it is a record, and what was told counts only
//! once the answer is in the journal; an answer is held here until it has come or
//! has come to nothing, and no more of it than a journal would take; a follower that reads slowly is told the same in larger
//! pieces.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use airlock_models::Event;
use airlock_sandbox::agent::RequestId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::news::{Ear, News};

/// More of an answer that a model is giving.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunDelta {
    /// The request of the run that is answered.
    pub id: RequestId,
    /// What came.
    #[serde(flatten)]
    pub delta: Delta,
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "delta", rename_all = "kebab-case")]
pub enum Delta {
    /// A model begins to answer. What was told of the request before, if anything,
    /// counts no more.
    Started {
        /// Its name in the configuration.
        model: String,
    },
    /// More of the text.
    Text {
        /// Some characters.
        text: String,
    },
    /// More of the words for declining.
    Refusal {
        /// Some characters.
        text: String,
    },
    /// A call of a tool begins.
    Call {
        /// Counts the calls of the answer from 0.
        index: u32,
        /// The tool's name.
        name: String,
    },
    /// More of a call's arguments.
    Arguments {
        /// The call.
        index: u32,
        /// Some characters of JSON.
        text: String,
    },
}

/// An answer so far.
#[derive(Default)]
struct Draft {
    /// How many models have begun it, over all requests of this process.
    begun: u64,
    bytes: usize,
    model: String,
    text: String,
    refusal: String,
    calls: BTreeMap<u32, (String, String)>,
}

/// What a follower was told of a draft: which, and how many bytes of each part.
#[derive(Default)]
struct Told {
    begun: u64,
    text: usize,
    refusal: usize,
    calls: BTreeMap<u32, usize>,
}

/// What is held of an answer, bytes of text: a longer one is no answer anyway.
const DRAFT_BYTES_MAX: usize = 1 << 20;

type Drafts = BTreeMap<RequestId, Draft>;

/// The answers that are being given, by run.
#[derive(Clone, Default)]
pub(crate) struct Deltas {
    drafts: Arc<Mutex<HashMap<String, Drafts>>>,
    news: News,
}

impl Deltas {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Drafts>> {
        self.drafts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request of a run is sent.
    pub(super) fn begin(&self, run: &str, id: RequestId) -> Telling {
        Telling {
            deltas: self.clone(),
            run: run.to_owned(),
            id,
        }
    }

    /// Follows the answers of a run.
    pub(super) fn follow(&self, run: &str) -> DeltaFollower {
        DeltaFollower {
            ear: self.news.follow(run),
            deltas: self.clone(),
            told: BTreeMap::new(),
        }
    }
}

/// An answer that is being given; forgotten when this is dropped.
pub(super) struct Telling {
    deltas: Deltas,
    run: String,
    id: RequestId,
}

impl Telling {
    /// Takes what came.
    pub(super) fn tell(&self, event: Event) {
        use std::sync::atomic::{AtomicU64, Ordering};
        static BEGUN: AtomicU64 = AtomicU64::new(1);
        let mut all = self.deltas.lock();
        let drafts = all.entry(self.run.clone()).or_default();
        let draft = drafts.entry(self.id).or_default();
        let text = match &event {
            Event::Text { text } | Event::Refusal { text } | Event::Arguments { text, .. } => text,
            Event::Started { .. } => "",
            Event::Call { name, .. } => name,
        };
        if draft.bytes + text.len() > DRAFT_BYTES_MAX {
            return;
        }
        draft.bytes += text.len();
        match event {
            Event::Started { model } => {
                *draft = Draft {
                    begun: BEGUN.fetch_add(1, Ordering::Relaxed),
                    model,
                    ..Draft::default()
                }
            }
            Event::Text { text } => draft.text.push_str(&text),
            Event::Refusal { text } => draft.refusal.push_str(&text),
            Event::Call { index, name, .. } => {
                draft.calls.insert(index, (name, String::new()));
            }
            Event::Arguments { index, text } => {
                draft.calls.entry(index).or_default().1.push_str(&text);
            }
        }
        drop(all);
        self.deltas.news.grew(&self.run);
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let mut all = self.deltas.lock();
        if let Some(drafts) = all.get_mut(&self.run) {
            drafts.remove(&self.id);
            if drafts.is_empty() {
                all.remove(&self.run);
            }
        }
    }
}

/// Somebody who follows the answers of a run.
pub struct DeltaFollower {
    ear: Ear,
    deltas: Deltas,
    told: BTreeMap<RequestId, Told>,
}

impl DeltaFollower {
    /// What came since this was asked last.
    pub fn read(&mut self) -> Vec<RunDelta> {
        self.ear.heard();
        let all = self.deltas.lock();
        let Some(drafts) = all.get(self.ear.run()) else {
            self.told.clear();
            return Vec::new();
        };
        self.told.retain(|id, _| drafts.contains_key(id));
        let mut found = Vec::new();
        for (id, draft) in drafts {
            let told = self.told.entry(*id).or_default();
            let deltas = draft.since(told);
            found.extend(deltas.into_iter().map(|delta| RunDelta { id: *id, delta }));
        }
        found
    }

    /// Resolves when more came since the last [`DeltaFollower::read`].
    pub async fn grown(&mut self) {
        self.ear.grown().await;
    }
}

impl Draft {
    fn since(&self, told: &mut Told) -> Vec<Delta> {
        let mut found = Vec::new();
        if told.begun != self.begun {
            *told = Told {
                begun: self.begun,
                ..Told::default()
            };
            let model = self.model.clone();
            found.push(Delta::Started { model });
        }
        let text = rest(&self.text, &mut told.text);
        found.extend(text.map(|text| Delta::Text { text }));
        let refusal = rest(&self.refusal, &mut told.refusal);
        found.extend(refusal.map(|text| Delta::Refusal { text }));
        for (index, (name, arguments)) in &self.calls {
            let index = *index;
            let told = told.calls.entry(index).or_insert_with(|| {
                let name = name.clone();
                found.push(Delta::Call { index, name });
                0
            });
            let more = rest(arguments, told);
            found.extend(more.map(|text| Delta::Arguments { index, text }));
        }
        found
    }
}

/// What is behind the first `told` bytes, if there is something.
fn rest(text: &str, told: &mut usize) -> Option<String> {
    let rest = text.get(*told..).filter(|rest| !rest.is_empty())?;
    *told = text.len();
    Some(rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Event {
        let text = text.to_owned();
        Event::Text { text }
    }

    fn started(model: &str) -> Event {
        let model = model.to_owned();
        Event::Started { model }
    }

    /// Deltas in short: `4>small` begun, `4+text`, `4-refusal`, `4!0 call`, `4!0+{}`.
    fn short(deltas: Vec<RunDelta>) -> String {
        let short = deltas
            .into_iter()
            .map(|RunDelta { id, delta }| match delta {
                Delta::Started { model } => format!("{id}>{model}"),
                Delta::Text { text } => format!("{id}+{text}"),
                Delta::Refusal { text } => format!("{id}-{text}"),
                Delta::Call { index, name } => format!("{id}!{index} {name}"),
                Delta::Arguments { index, text } => format!("{id}!{index}+{text}"),
            });
        short.collect::<Vec<_>>().join(" ")
    }

    #[tokio::test]
    async fn each_follower_is_told_all_of_it_in_its_own_pieces() {
        let deltas = Deltas::default();
        let (mut quick, mut other) = (deltas.follow("a"), deltas.follow("b"));
        let telling = deltas.begin("a", 4);
        telling.tell(started("small"));
        telling.tell(text("é"));
        quick.grown().await;
        assert_eq!(short(quick.read()), "4>small 4+é");
        assert_eq!(short(quick.read()), "");
        telling.tell(text("1"));
        let mut late = deltas.follow("a");
        let second = deltas.begin("a", 5);
        second.tell(started("large"));
        let (id, name) = ("x".to_owned(), "files__read".to_owned());
        second.tell(Event::Call { index: 0, id, name });
        assert_eq!(short(quick.read()), "4+1 5>large 5!0 files__read");
        let json = "{}".to_owned();
        second.tell(Event::Arguments {
            index: 0,
            text: json,
        });
        assert_eq!(short(quick.read()), "5!0+{}");
        assert_eq!(
            short(late.read()),
            "4>small 4+é1 5>large 5!0 files__read 5!0+{}"
        );
        // Another attempt begins anew, and is no longer.
        telling.tell(started("large"));
        telling.tell(text("x"));
        assert_eq!(short(quick.read()), "4>large 4+x");
        drop((telling, second));
        assert_eq!(short(late.read()), "", "what has come is in the journal");
        assert!(deltas.lock().is_empty());
        let told = tokio::time::timeout(std::time::Duration::from_millis(20), other.grown());
        assert!(told.await.is_err(), "another run's model said something");
    }
}
