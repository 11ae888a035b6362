//! An answer told as it comes: without the host's key, tools' names as the request has
//! them, and what was redacted put back.

use std::collections::BTreeMap;

use crate::answer::Event;
use crate::names::Names;
use crate::redact::{Form, Held, Pieces, Restorer, Search};

/// A text of the answer, as far as it came.
#[derive(Default)]
struct Line {
    held: Held,
    pieces: Pieces,
}

/// Tells events.
pub(crate) struct Teller<'a> {
    names: &'a Names,
    restorer: &'a Restorer,
    search: &'a Search,
    text_form: Form,
    told: &'a (dyn Fn(Event) + Send + Sync),
    text: Line,
    refusal: Line,
    arguments: BTreeMap<u32, Line>,
}

impl<'a> Teller<'a> {
    pub(crate) fn new(
        names: &'a Names,
        restorer: &'a Restorer,
        search: &'a Search,
        text_form: Form,
        told: &'a (dyn Fn(Event) + Send + Sync),
    ) -> Self {
        Self {
            names,
            restorer,
            search,
            text_form,
            told,
            text: Line::default(),
            refusal: Line::default(),
            arguments: BTreeMap::new(),
        }
    }

    pub(crate) fn tell(&mut self, event: Event) {
        let (search, restorer) = (self.search, self.restorer);
        let event = match event {
            Event::Text { text } => Event::Text {
                text: self.text.piece(search, restorer, &text, self.text_form),
            },
            Event::Refusal { text } => Event::Refusal {
                text: self.refusal.piece(search, restorer, &text, Form::Text),
            },
            Event::Arguments { index, text } => {
                let line = self.arguments.entry(index).or_default();
                let text = line.piece(search, restorer, &text, Form::Json);
                Event::Arguments { index, text }
            }
            Event::Call { index, id, name } => Event::Call {
                index,
                id: search.id(self.names, &id, index as usize),
                name: search.name(self.names, &name),
            },
            Event::Started { model } => Event::Started { model },
        };
        self.pass_on(event);
    }

    /// The answer is whole: what was held back is no key and no placeholder.
    pub(crate) fn end(mut self) {
        let (search, restorer) = (self.search, self.restorer);
        let text = std::mem::take(&mut self.text).end(search, restorer, self.text_form);
        self.pass_on(Event::Text { text });
        let text = std::mem::take(&mut self.refusal).end(search, restorer, Form::Text);
        self.pass_on(Event::Refusal { text });
        for (index, line) in std::mem::take(&mut self.arguments) {
            let text = line.end(search, restorer, Form::Json);
            self.pass_on(Event::Arguments { index, text });
        }
    }

    fn pass_on(&self, event: Event) {
        let empty = match &event {
            Event::Text { text } | Event::Refusal { text } | Event::Arguments { text, .. } => {
                text.is_empty()
            }
            Event::Started { .. } | Event::Call { .. } => false,
        };
        if !empty {
            (self.told)(event);
        }
    }
}

impl Line {
    fn piece(&mut self, search: &Search, restorer: &Restorer, text: &str, form: Form) -> String {
        let text = search.piece(&mut self.held, text, form == Form::Json);
        restorer.piece(&mut self.pieces, &text, form)
    }

    fn end(mut self, search: &Search, restorer: &Restorer, form: Form) -> String {
        let rest = search.rest(&mut self.held);
        let mut text = restorer.piece(&mut self.pieces, &rest, form);
        text.push_str(&self.pieces.end());
        text
    }
}
