//! One installed server: the connection there is, and what was seen of its tools.
//!
//! What must stay true: before a call its tools were listed not long ago, and
//! compared with what was pinned; a connection that was closed is not used again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use airlock_mcp_client::{Difference, Fault, Link, Pinned, Tool};
use tokio::sync::watch;

use crate::ids;
use crate::remote::Remotes;

/// How long a list of tools is good for.
const LISTED_FOR: Duration = Duration::from_secs(60);

/// A server, as long as this version of it is in force.
pub(crate) struct Remote {
    plugin: String,
    digest: String,
    state: Mutex<State>,
    /// Changes with each closing, which ends what was begun before it.
    closings: watch::Sender<()>,
    /// Held by whoever connects or lists, with how that failed last.
    turn: tokio::sync::Mutex<Option<(Instant, Fault)>>,
}

#[derive(Default)]
struct State {
    linked: Option<Arc<Linked>>,
    listed: Option<Instant>,
    seen: Option<Arc<Seen>>,
    /// Whether it is in force no more: nothing connects to it again.
    left: bool,
    /// Counts what the server said of changes: a list that was asked for before one
    /// is good for no call after it.
    changes: u64,
}

/// A connection, and what was pinned.
pub(crate) struct Linked {
    pub(crate) link: Link,
    pub(crate) pinned: Arc<Pinned>,
}

/// What a server listed last, beside what was pinned.
pub(crate) struct Seen {
    pub(crate) tools: Vec<Tool>,
    pub(crate) differs: Difference,
    pub(crate) at_ms: u64,
    changed: BTreeSet<String>,
    gone: BTreeSet<String>,
}

/// Why a tool is not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// It says something else of itself than when it was pinned.
    Changed,
    /// Its server lists it no more.
    Gone,
}

impl Seen {
    fn new(pinned: &Pinned, tools: Vec<Tool>) -> Self {
        let differs = pinned.differs(&tools);
        let own = |names: &[String]| {
            let named = pinned
                .tools
                .iter()
                .filter(|tool| names.contains(&tool.name));
            named.map(Tool::own_name).collect()
        };
        Self {
            changed: own(&differs.changed),
            gone: own(&differs.removed),
            at_ms: ids::now_ms(),
            differs,
            tools,
        }
    }
}

impl Remote {
    pub(crate) fn new(plugin: &str, digest: &str) -> Arc<Self> {
        Arc::new(Self {
            plugin: plugin.to_owned(),
            digest: digest.to_owned(),
            state: Mutex::default(),
            closings: watch::Sender::default(),
            turn: tokio::sync::Mutex::default(),
        })
    }

    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen last; `None`: nothing since the start.
    pub(crate) fn seen(&self) -> Option<Arc<Seen>> {
        self.state().seen.clone()
    }

    /// Whether other tools are withheld than were `before`.
    pub(crate) fn offers_others_than(&self, before: Option<&Seen>) -> bool {
        let of = |seen: Option<&Seen>| {
            seen.map_or_else(Default::default, |seen| {
                (seen.changed.clone(), seen.gone.clone())
            })
        };
        of(self.state().seen.as_deref()) != of(before)
    }

    /// Why a tool is not called; `None`: it may be.
    pub(crate) fn withheld(&self, tool: &str) -> Option<Withheld> {
        let state = self.state();
        let seen = state.seen.as_ref()?;
        match (seen.changed.contains(tool), seen.gone.contains(tool)) {
            (true, _) => Some(Withheld::Changed),
            (_, true) => Some(Withheld::Gone),
            _ => None,
        }
    }

    /// Ends the connection, if there is one. The next call makes another.
    pub(crate) fn close(&self) {
        let linked = {
            let mut state = self.state();
            self.closings.send_replace(());
            state.linked.take()
        };
        if let Some(linked) = linked {
            linked.link.close();
        }
    }

    /// Ends the connection for good.
    pub(crate) fn leave(&self) {
        self.state().left = true;
        self.close();
    }

    /// Resolves once nothing of it goes on, which takes [`Remote::leave`] first.
    pub(crate) async fn left(&self) {
        drop(self.turn.lock().await);
    }

    /// Ends the connection where the server was given a secret, which it has another
    /// value of than is right by now. One that is being made may have been given it.
    pub(crate) fn secret_changed(&self, name: &str) {
        let linked = self.state().linked.clone();
        let given = |linked: Arc<Linked>| linked.pinned.server.secrets().any(|given| given == name);
        if linked.is_none_or(given) {
            self.close();
        }
    }

    /// A connection whose tools were compared not long ago; `by`: for whose call.
    ///
    /// # Errors
    /// What kept it from being there; always [`Fault::NotSent`].
    pub(crate) async fn linked(
        &self,
        remotes: &Arc<Remotes>,
        by: &str,
    ) -> Result<Arc<Linked>, Fault> {
        if let Some(linked) = self.fresh() {
            return Ok(linked);
        }
        let asked = Instant::now();
        let mut turn = self.turn.lock().await;
        if let Some(linked) = self.fresh() {
            return Ok(linked);
        }
        // Whoever had the turn meanwhile found out for all who waited.
        if let Some((_, fault)) = turn.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(fault.clone());
        }
        let made = self.renewed(remotes, by).await.map_err(Fault::before);
        *turn = made
            .as_ref()
            .err()
            .map(|fault| (Instant::now(), fault.clone()));
        made
    }

    fn fresh(&self) -> Option<Arc<Linked>> {
        let mut state = self.state();
        let linked = state.linked.clone()?;
        if linked.link.closed().is_some() {
            state.linked = None;
            return None;
        }
        if linked.link.take_changed() {
            state.listed = None;
            state.changes += 1;
        }
        let listed = state.listed?;
        (listed.elapsed() < LISTED_FOR).then_some(linked)
    }

    async fn renewed(&self, remotes: &Arc<Remotes>, by: &str) -> Result<Arc<Linked>, Fault> {
        let (before, mut closings, changes) = {
            let state = self.state();
            if state.left {
                return Err(closed());
            }
            (
                state.linked.clone(),
                self.closings.subscribe(),
                state.changes,
            )
        };
        let linked = match before {
            Some(linked) => linked,
            None => tokio::select! {
                linked = self.connect(remotes, by) => Arc::new(linked?),
                _ = closings.changed() => return Err(closed()),
            },
        };
        let listed = tokio::select! {
            listed = linked.link.tools(&linked.pinned.server) => listed.map_err(Fault::before),
            _ = closings.changed() => Err(closed()),
        };
        let mut state = self.state();
        let listed = match listed {
            Ok(listed) if closings.has_changed().is_ok_and(|changed| !changed) => listed,
            other => {
                state.linked = None;
                drop(state);
                linked.link.close();
                return Err(other.err().unwrap_or_else(closed));
            }
        };
        let seen = Arc::new(Seen::new(&linked.pinned, listed));
        if !seen.differs.is_none() {
            let (changed, added, removed) = (
                &seen.differs.changed,
                &seen.differs.added,
                &seen.differs.removed,
            );
            tracing::warn!(
                plugin = self.plugin,
                ?changed,
                ?added,
                ?removed,
                "an MCP server lists other tools than those that were accepted"
            );
        }
        state.seen = Some(seen);
        state.listed = (state.changes == changes).then(Instant::now);
        state.linked = Some(Arc::clone(&linked));
        Ok(linked)
    }

    async fn connect(&self, remotes: &Arc<Remotes>, by: &str) -> Result<Linked, Fault> {
        let (reading, digest) = (Arc::clone(remotes), self.digest.clone());
        let read = tokio::task::spawn_blocking(move || {
            let pinned = reading.pinned(&digest)?;
            reading.check_paths(&pinned.server).map(|()| pinned)
        });
        let read = read
            .await
            .unwrap_or_else(|_| Err("the work was interrupted".to_owned()));
        let pinned = Arc::new(read.map_err(Fault::NotSent)?);
        let link = remotes.connect(&self.plugin, &pinned.server, by).await;
        let link = link.map_err(Fault::before)?;
        Ok(Linked { link, pinned })
    }
}

fn closed() -> Fault {
    Fault::NotSent("it was closed meanwhile".to_owned())
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.close();
    }
}
