//! Tools' names as providers allow them, and back; calls' ids that are used once.
//!
//! What must stay true: a request's names have one spelling each, the same for the
//! same request; a spelling stands for one name alone; no call of an answer has the id
//! of a call before it.

use std::collections::{BTreeMap, BTreeSet};

use crate::request::{Message, Request, ToolCall, ToolChoice, plain};

/// Longest name that all providers take.
const SPELLING_BYTES_MAX: usize = 64;

/// Both ways.
#[derive(Debug, Default)]
pub(crate) struct Names {
    spelled: BTreeMap<String, String>,
    meant: BTreeMap<String, String>,
    /// What the model may call.
    tools: BTreeSet<String>,
    /// Ids of the calls so far.
    ids: BTreeSet<String>,
    /// By spelling, the number that was last tried to make it another one.
    numbers: BTreeMap<String, usize>,
}

impl Names {
    /// Of all tools that a request offers or speaks of.
    pub(crate) fn of(request: &Request) -> Self {
        let mut names = Self::default();
        let offered = request.tools.iter().map(|tool| &tool.name);
        names.tools = offered.clone().cloned().collect();
        let called = calls(request);
        names.ids = called.clone().map(|call| call.id.clone()).collect();
        let all: Vec<&String> = offered.chain(called.map(|call| &call.name)).collect();
        // Those that need no change keep their name, whoever comes first.
        let (fit, unfit): (Vec<_>, Vec<_>) = all.into_iter().partition(|name| fits(name));
        for name in fit.into_iter().chain(unfit) {
            names.add(name);
        }
        names
    }

    /// Also without the ids of the same calls as their agent knows them.
    pub(crate) fn without_ids_of(mut self, request: &Request) -> Self {
        self.ids.extend(calls(request).map(|call| call.id.clone()));
        self
    }

    fn add(&mut self, name: &str) {
        if self.spelled.contains_key(name) {
            return;
        }
        let plain_name: String = name
            .chars()
            .map(|c| if plain(c) { c } else { '_' })
            .collect();
        let plain_name = &plain_name[..plain_name.len().min(SPELLING_BYTES_MAX)];
        let mut spelling = plain_name.to_owned();
        let number = self.numbers.entry(spelling.clone()).or_insert(1);
        while self.meant.contains_key(&spelling) {
            *number += 1;
            let end = format!("_{number}");
            let kept = plain_name.len().min(SPELLING_BYTES_MAX - end.len());
            spelling = format!("{}{end}", &plain_name[..kept]);
        }
        self.meant.insert(spelling.clone(), name.to_owned());
        self.spelled.insert(name.to_owned(), spelling);
    }

    /// As the provider sees it.
    pub(crate) fn spelled<'a>(&'a self, name: &'a str) -> &'a str {
        self.spelled.get(name).map_or(name, String::as_str)
    }

    /// As the request has it; a name that is none of its tools' stays as it is.
    pub(crate) fn meant<'a>(&'a self, spelling: &'a str) -> &'a str {
        self.meant.get(spelling).map_or(spelling, String::as_str)
    }

    /// The id of a call of the answer. Some servers count them from the start in each
    /// answer, and others refuse a conversation in which one is there twice.
    pub(crate) fn id(&self, given: &str) -> String {
        let mut id = given.to_owned();
        let mut number = self.ids.len();
        while self.ids.contains(&id) {
            number += 1;
            id = format!("{given}_{number}");
        }
        id
    }

    /// Whether the request offers a tool with this name.
    pub(crate) fn offers(&self, name: &str) -> bool {
        self.tools.contains(name)
    }

    /// The tool that has to be called, as the provider sees it.
    pub(crate) fn chosen<'a>(&'a self, choice: &'a ToolChoice) -> Option<&'a str> {
        match choice {
            ToolChoice::Tool(name) => Some(self.spelled(name)),
            _ => None,
        }
    }
}

fn calls(request: &Request) -> impl Iterator<Item = &ToolCall> + Clone {
    request.messages.iter().flat_map(|message| match message {
        Message::Assistant { calls, .. } => calls.as_slice(),
        _ => &[],
    })
}

fn fits(name: &str) -> bool {
    name.len() <= SPELLING_BYTES_MAX && name.chars().all(plain)
}
