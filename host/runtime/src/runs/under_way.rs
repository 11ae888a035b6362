//! A request under way: attempt after attempt, until it has its answer or somebody
//! else gives it.
//!
//! What must stay true: a request that is ended during an attempt has an answer; one
//! that is put off is looked at again once nothing keeps it, also where that has just
//! come to be.

use std::sync::Arc;

use airlock_sandbox::agent::{Request, RequestId};
use airlock_sandbox::{CallError, Denial};

use super::effect::{self, Effect};
use super::effects::until;
use super::event::{Event, Told};
use super::fold::Asked;
use super::session::Session;
use super::spending::Spent;
use super::{permit, step};
use crate::runtime::Runtime;

/// A request of a run that is being brought to its answer.
#[derive(Clone)]
pub(super) struct UnderWay {
    pub(super) session: Arc<Session>,
    pub(super) runtime: Arc<Runtime>,
    pub(super) id: RequestId,
    pub(super) effect: Arc<Effect>,
}

/// What is next for it.
pub(super) enum Goes {
    /// Another attempt.
    On,
    /// It has its answer, or somebody else gives it.
    Over,
    /// The kill switch or a block keeps it, or the host stops.
    PutOff,
}

/// How a request of one kind is made.
pub(super) trait Perform: Send {
    /// The request.
    fn work(&self) -> &UnderWay;

    /// One attempt at it, as it stands now.
    fn attempt(&mut self, asked: Asked) -> impl Future<Output = Goes> + Send;
}

/// Brings a request to its answer.
pub(super) async fn perform(mut step: impl Perform) {
    while let Some(asked) = step.work().asked() {
        let plugin = plugin_of(&asked.request).map(str::to_owned);
        until(asked.not_before_ms).await;
        let goes = step.attempt(asked).await;
        let work = step.work();
        if !effect::rests(&work.session, work.id, &work.effect) {
            break;
        }
        match goes {
            Goes::On => {}
            Goes::Over => break,
            Goes::PutOff => return work.put_off(plugin.as_deref()),
        }
    }
    let work = step.work();
    work.session.performed(work.id, &work.effect);
}

/// The plugin that a request calls, where it calls one.
fn plugin_of(request: &Request) -> Option<&str> {
    match request {
        Request::Call { tool, .. } => Some(called(tool)),
        _ => None,
    }
}

/// The plugin of a tool, `plugin/tool`.
pub(super) fn called(tool: &str) -> &str {
    tool.split_once('/').map_or(tool, |(plugin, _)| plugin)
}

impl UnderWay {
    fn asked(&self) -> Option<Asked> {
        self.session.lock().state.requests.get(&self.id).cloned()
    }

    /// Begun again once nothing keeps it, which may be so by now.
    fn put_off(&self, plugin: Option<&str>) {
        self.session.performed(self.id, &self.effect);
        self.session.put_off(self.id);
        if !self.stands_still(plugin) {
            self.session.take_up_calls();
        }
    }

    /// Whether something keeps it from being begun: the kill switch, for its run or for
    /// the plugin it calls, a block, a journal that has as much as it may, or that the
    /// host stops.
    pub(super) fn stands_still(&self, plugin: Option<&str>) -> bool {
        self.session.lock().is_kept() || self.is_held(plugin)
    }

    /// The same, however much its journal has.
    pub(super) fn is_held(&self, plugin: Option<&str>) -> bool {
        let held = self.session.lock().state.holds_effects();
        // Not what its run was told of the kill switch: a call may be cut off before.
        held || self.runtime.ready().is_err()
            || super::stands_still(&self.runtime, &self.session)
            || plugin.is_some_and(|plugin| self.runtime.halts.plugin(plugin))
    }

    /// From here on it may happen: whether it was intended here, so that nothing of it
    /// has before. `None`: it was ended or answered, or its run left memory.
    pub(super) fn begins(&self) -> Option<bool> {
        let mut inner = self.session.lock();
        let is_first = inner.intended.remove(&self.id);
        let is_open = !inner.is_closed() && inner.state.requests.contains_key(&self.id);
        (is_open && self.effect.begins()).then_some(is_first)
    }

    /// It is answered by a denial, which goes on record.
    pub(super) fn denied(&self, denial: Denial) -> Goes {
        let (id, by) = (self.id, None);
        let audit = permit::denied(&self.session, &denial);
        let withheld = denial.capability == step::AUTONOMY;
        let withheld = withheld.then_some(Event::Withheld { id });
        let answer = Told::Error(CallError::Denied(denial));
        let used = Spent::default();
        let answered = Event::Answered {
            id,
            answer,
            by,
            used,
        };
        let events = withheld.into_iter().chain([answered]);
        self.session.settle_all(id, events, audit);
        Goes::Over
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::PathBuf;
    use std::sync::Weak;
    use std::time::Duration;

    use super::*;
    use crate::config::RuntimeConfig;
    use crate::halt::HaltRequest;
    use crate::principal::Principal;
    use crate::runs::event::{Block, Record};

    pub(in crate::runs) async fn open(dir: &tempfile::TempDir) -> Arc<Runtime> {
        let config = RuntimeConfig {
            compiler: PathBuf::new(),
            ..RuntimeConfig::new(dir.path().join("data"), dir.path().join("keys"))
        };
        Runtime::open(config).await.expect("opens")
    }

    fn call(tool: &str) -> Request {
        Request::Call {
            tool: tool.to_owned(),
            input: "{}".to_owned(),
        }
    }

    /// The request 0 of a run to which this happened.
    pub(in crate::runs) fn work(
        runtime: &Arc<Runtime>,
        events: impl IntoIterator<Item = Event>,
    ) -> UnderWay {
        let start = Event::Started(crate::runs::tests::begins());
        let events = [start].into_iter().chain(events);
        let records: Vec<Record> = events.map(|event| Record { at_ms: 1, event }).collect();
        let id = "run_1".to_owned();
        UnderWay {
            session: Session::of(id.clone(), id, Weak::new(), &records),
            runtime: Arc::clone(runtime),
            id: 0,
            effect: Arc::default(),
        }
    }

    /// Each by itself: it is answered, its run is another session's, it was ended.
    #[tokio::test]
    async fn what_is_over_does_not_begin() {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = open(&dir).await;
        let asked = || {
            let (id, request, begun) = (0, call("p/t"), None);
            work(&runtime, [Event::Requested { id, request, begun }])
        };
        for is_first in [true, false] {
            let open = asked();
            if is_first {
                open.session.lock().intended.insert(0);
            }
            assert_eq!(open.begins(), Some(is_first));
        }
        assert_eq!(work(&runtime, []).begins(), None, "answered");
        let left = asked();
        left.session.lock().retired = true;
        assert_eq!(left.begins(), None, "another session's");
        let ended = asked();
        assert!(ended.session.performing(0, &ended.effect));
        effect::cancel(&ended.session, 0);
        assert_eq!(ended.begins(), None, "ended");
    }

    /// Each by itself: a block, a halt, that the host stops.
    #[tokio::test]
    async fn what_is_not_sent_yet_is_kept_by_each_that_may() {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = open(&dir).await;
        let work = |blocked: Option<Block>| {
            let blocked = blocked.map(|why| Event::Blocked { why });
            work(&runtime, blocked)
        };
        assert!(!work(None).is_held(None));
        let (tool, times) = ("p/t".to_owned(), 20);
        assert!(work(Some(Block::Loop { tool, times })).is_held(None));
        let who = Arc::new(Principal::local_admin("test"));
        for halted in [true, false] {
            let request = HaltRequest {
                halted,
                ..HaltRequest::default()
            };
            runtime.halt(&who, request).await.expect("halted");
            assert_eq!(work(None).is_held(None), halted);
        }
        runtime.shutdown(Duration::ZERO).await;
        assert!(work(None).is_held(None), "it stops");
    }

    /// What a plugin's halt keeps, and its lift takes up.
    #[test]
    fn a_call_is_kept_with_its_plugin_and_nothing_else_is() {
        for (request, plugin) in [
            (call("keeper/add"), Some("keeper")),
            (call("keeper/a/b"), Some("keeper")),
            (Request::Timer { due_ms: 1 }, None),
        ] {
            assert_eq!(plugin_of(&request), plugin);
        }
    }
}
