//! The agent's side of the host under `cargo test`: what `testing::agent` was given
//! answers; outside of such a run there is nobody to ask.
//!
//! What must stay true: nothing of an agent is executed after its run has ended.
//! Its stack is unwound for that, with [`Over`], which no test sees.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Source;
use crate::Error;
use crate::agent::Outcome;
use crate::testing::run::Run;
use crate::testing::script::Script;
use crate::testing::step::Request;

type Shared = Rc<RefCell<Run>>;

thread_local! {
    /// The run of the agent that is executed on this thread.
    static CURRENT: RefCell<Option<Shared>> = const { RefCell::new(None) };
}

/// The run has ended, wherever its agent is.
struct Over;

/// Runs an agent to the end of its run. Its own panics go through.
pub(crate) fn execute<F>(run: &Shared, agent: impl FnOnce() -> F)
where
    F: Future<Output = Result<Outcome, Error>>,
{
    let ran = within(Some(Rc::clone(run)), || {
        catch_unwind(AssertUnwindSafe(|| crate::task::block_on(agent())))
    });
    let is_over = run.borrow().is_over();
    match ran {
        _ if is_over => {}
        Ok(end) => run.borrow_mut().ended(end),
        Err(panic) => resume_unwind(panic),
    }
}

/// Does something with another run, or none, in place of the thread's.
fn within<T>(run: Option<Shared>, body: impl FnOnce() -> T) -> T {
    struct Restore(Option<Shared>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _restore = Restore(CURRENT.replace(run));
    body()
}

fn running() -> Option<Shared> {
    CURRENT.with_borrow(Clone::clone)
}

/// Whether an agent is executed on this thread.
pub(crate) fn is_running() -> bool {
    running().is_some()
}

/// Tells an author what the host would refuse: nothing of a tool's capabilities is
/// linked for an agent.
///
/// # Panics
/// In an agent under test.
pub(crate) fn has_no(capability: &str, instead: &str) {
    assert!(
        !is_running(),
        "an agent has no `{capability}`, and the host refuses a component that imports it: {instead}"
    );
}

fn current() -> Shared {
    running().expect(
        "an agent asks for something and there is no host: run it natively by \
         `airlock_sdk::testing::agent().run(run, \"goal\", json!({ … }))`",
    )
}

/// Lets the agent do something. When its run is over, with that or before, nothing
/// more of it is executed; what is dropped by that (`None`) counts for nothing.
fn act<T>(run: &Shared, act: impl FnOnce(&mut Run) -> T) -> Option<T> {
    let is_over = run.borrow().is_over();
    let acted = (!is_over).then(|| act(&mut run.borrow_mut()));
    let is_over = run.borrow().is_over();
    if is_over && !std::thread::panicking() {
        resume_unwind(Box::new(Over));
    }
    acted.filter(|_| !is_over)
}

/// Asks for something; `None`: the run is over.
fn request(request: Request, held: bool) -> Option<Awaits> {
    let run = current();
    let asked = act(&run, |run| run.asks(request.clone(), held)).flatten();
    let (id, live) = asked?;
    if live {
        let script = Rc::clone(&run.borrow().script);
        // The test's own code is no part of the agent.
        let coming = match &request {
            Request::Chat { request, .. } => {
                let seen = run.borrow().chats.seen(id).cloned()?;
                let told = run.borrow().told.clone();
                within(None, || Script::chat(&script, request, &seen, &told))
            }
            _ => within(None, || Script::perform(&script, &request)),
        };
        act(&run, |run| run.answers(id, coming))?;
    }
    Some(Awaits { run, id })
}

/// An answer that is waited for.
#[derive(Clone)]
pub(crate) struct Awaits {
    run: Shared,
    id: usize,
}

impl Awaits {
    fn is_of(&self, run: &Shared) -> bool {
        Rc::ptr_eq(&self.run, run)
    }
}

/// A timer on the run's clock; `None`: no agent runs, or the time is over already.
pub(crate) fn timer(delay: Duration) -> Option<Source> {
    running()?;
    let ms = u64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    if ms == 0 {
        return None;
    }
    request(Request::Timer { ms }, false).map(Source::Answer)
}

pub(crate) fn is_ready(awaits: &Awaits) -> bool {
    let running = running().is_some_and(|run| awaits.is_of(&run));
    let ready = || act(&awaits.run, |run| run.ready(&[awaits.id]));
    running && ready().is_some_and(|ready| !ready.is_empty())
}

/// The indices of the sources that are ready, waiting on the run's clock; `None`:
/// no agent runs.
pub(crate) fn wait_any(sources: &[&Source]) -> Option<Vec<usize>> {
    let run = running()?;
    let now = Instant::now();
    let id = |source: &Source| match source {
        Source::Answer(awaits) if awaits.is_of(&run) => Some(awaits.id),
        _ => None,
    };
    let is_past = |source: &Source| matches!(source, Source::Moment(moment) if *moment <= now);
    let ids: Vec<usize> = sources.iter().filter_map(|source| id(source)).collect();
    let at_once = sources.iter().any(|source| is_past(source));
    let ready = match at_once {
        true => act(&run, |run| run.ready(&ids)),
        false => act(&run, |run| run.wait(&ids)),
    };
    let ready = ready.unwrap_or_default();
    let is_ready =
        |source: &Source| is_past(source) || id(source).is_some_and(|id| ready.contains(&id));
    Some(
        (0..sources.len())
            .filter(|&index| is_ready(sources[index]))
            .collect(),
    )
}

/// What an agent asks of the host.
pub(crate) mod host {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::{Awaits, act, current, request, running};
    use crate::Error;
    use crate::agent::{Budget, Outcome, PlanTask, Question, ToolInfo};
    use crate::backend::Source;
    use crate::log::Level;
    use crate::testing::Note;
    use crate::testing::ProgressReport;
    use crate::testing::step::Request;

    /// A request, and later its answer; `None`: its run is over.
    pub(crate) struct Handle(Option<Awaits>);

    impl Handle {
        pub(crate) fn subscribe(&self) -> Source {
            let over = || Source::Moment(std::time::Instant::now());
            self.0.clone().map_or_else(over, Source::Answer)
        }

        pub(crate) fn answer(&self) -> Option<Result<String, Error>> {
            let awaits = self.0.as_ref()?;
            act(&awaits.run, |run| run.answer(awaits.id)).flatten()
        }

        pub(crate) fn cancel(&self) {
            if let Some(awaits) = &self.0 {
                act(&awaits.run, |run| run.cancel(awaits.id));
            }
        }
    }

    impl Drop for Handle {
        /// A difference that shows here ends the run at the agent's next step.
        fn drop(&mut self) {
            if let Some(awaits) = &self.0 {
                let mut run = awaits.run.borrow_mut();
                if !run.is_over() {
                    run.let_go(awaits.id);
                }
            }
        }
    }

    fn asked(asked: Request) -> Handle {
        Handle(request(asked, true))
    }

    pub(crate) fn call(tool: &str, input: &str) -> Handle {
        asked(Request::Call {
            tool: tool.to_owned(),
            input: input.to_owned(),
        })
    }

    pub(crate) fn sleep(milliseconds: u64) -> Handle {
        asked(Request::Sleep { ms: milliseconds })
    }

    pub(crate) fn signal(name: &str) -> Handle {
        asked(Request::Signal {
            name: name.to_owned(),
        })
    }

    pub(crate) fn ask(question: Question) -> Handle {
        asked(Request::Ask(question))
    }

    pub(crate) fn record(value: &str) -> Handle {
        asked(Request::Record {
            value: value.to_owned(),
        })
    }

    pub(crate) fn start(agent: &str, goal: &str, input: &str, budget: Budget) -> Handle {
        asked(Request::Start {
            agent: agent.to_owned(),
            goal: goal.to_owned(),
            input: input.to_owned(),
            budget,
        })
    }

    pub(crate) fn chat(request: &str, after: Option<&Handle>) -> Handle {
        asked(Request::Chat {
            request: request.to_owned(),
            after: after.map(|after| after.0.as_ref().map_or(usize::MAX, |awaits| awaits.id)),
        })
    }

    pub(crate) fn embed(request: &str) -> Handle {
        asked(Request::Embed {
            request: request.to_owned(),
        })
    }

    pub(crate) fn memory(request: &str) -> Handle {
        asked(Request::Memory {
            request: request.to_owned(),
        })
    }

    pub(crate) fn tools() -> Vec<ToolInfo> {
        act(&current(), |run| run.tools()).unwrap_or_default()
    }

    pub(crate) fn now() -> SystemTime {
        match running() {
            Some(run) => UNIX_EPOCH + Duration::from_millis(run.borrow().now_ms),
            None => SystemTime::now(),
        }
    }

    pub(crate) fn get_state(key: &str) -> Option<String> {
        act(&current(), |run| run.state.get(key).cloned()).flatten()
    }

    pub(crate) fn set_state(key: &str, value: Option<&str>) {
        act(&current(), |run| run.set_state(key, value));
    }

    pub(crate) fn finish(end: Result<Outcome, Error>) -> ! {
        act(&current(), |run| run.finish(end));
        unreachable!("an agent that is unwound has ended already")
    }

    fn note(note: Note) {
        act(&current(), |run| run.note(note));
    }

    pub(crate) fn plan(tasks: &[PlanTask]) {
        note(Note::Plan(tasks.to_vec()));
    }

    pub(crate) fn progress(done: f64, total: Option<f64>, message: &str) {
        let finite = |number: f64| if number.is_finite() { number } else { 0.0 };
        note(Note::Progress(ProgressReport {
            done: finite(done),
            total: total.map(finite),
            message: message.to_owned(),
        }));
    }

    pub(crate) fn log(_level: Level, message: &str) {
        note(Note::Log(message.to_owned()));
    }
}
