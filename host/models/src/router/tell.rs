//! An answer told as it comes: tools' names as the request has them, and what was
//! redacted put back.

use std::collections::BTreeMap;

use crate::answer::Event;
use crate::names::Names;
use crate::redact::{Form, Pieces, Restorer};

/// Tells events.
pub(crate) struct Teller<'a> {
    names: &'a Names,
    restorer: &'a Restorer,
    text_form: Form,
    told: &'a (dyn Fn(Event) + Send + Sync),
    text: Pieces,
    refusal: Pieces,
    arguments: BTreeMap<u32, Pieces>,
}

impl<'a> Teller<'a> {
    pub(crate) fn new(
        names: &'a Names,
        restorer: &'a Restorer,
        text_form: Form,
        told: &'a (dyn Fn(Event) + Send + Sync),
    ) -> Self {
        Self {
            names,
            restorer,
            text_form,
            told,
            text: Pieces::default(),
            refusal: Pieces::default(),
            arguments: BTreeMap::new(),
        }
    }

    pub(crate) fn tell(&mut self, event: Event) {
        let event = match event {
            Event::Text { text } => Event::Text {
                text: self.restorer.piece(&mut self.text, &text, self.text_form),
            },
            Event::Refusal { text } => Event::Refusal {
                text: self.restorer.piece(&mut self.refusal, &text, Form::Text),
            },
            Event::Arguments { index, text } => {
                let pieces = self.arguments.entry(index).or_default();
                let text = self.restorer.piece(pieces, &text, Form::Json);
                Event::Arguments { index, text }
            }
            Event::Call { index, id, name } => Event::Call {
                index,
                id: self.names.id(&id),
                name: self.names.meant(&name).to_owned(),
            },
            Event::Started { model } => Event::Started { model },
        };
        self.pass_on(event);
    }

    /// The answer is whole: what was held back is no placeholder.
    pub(crate) fn end(mut self) {
        let text = std::mem::take(&mut self.text).end();
        self.pass_on(Event::Text { text });
        let text = std::mem::take(&mut self.refusal).end();
        self.pass_on(Event::Refusal { text });
        for (index, pieces) in std::mem::take(&mut self.arguments) {
            let text = pieces.end();
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
