//! Asking for an answer.

use super::Lane;
use super::attempt::{Job, Prepared, Read, unfit};
use super::tell::Teller;
use crate::answer::{ANSWER_BYTES_MAX, Event, Fault, Finish, Usage};
use crate::at_length::at_length;
use crate::client::Reply;
use crate::error::{Failed, Fate, ModelError, Why};
use crate::faults::Checks;
use crate::names::Names;
use crate::protocol::{self, Parsed, Writing};
use crate::redact::{Form, Restorer, Search, Veil};
use crate::request::{Message, Part, Request, ToolCall};
use crate::sse::SseParser;

/// Tokens that providers add to a request and count, e.g. to tell a model how tools
/// are called: in all, and for each tool and message.
const ADDED_TOKENS: u64 = 1_024;
const ADDED_TOKENS_EACH: u64 = 32;
/// The members that ask for a stream, at least as long as any protocol's.
const STREAM_BYTES: usize = 64;

/// A request for an answer, ready for any model.
pub(super) struct Chat<'a> {
    request: &'a Request,
    /// As it may leave the host.
    veiled: Request,
    names: Names,
    restorer: Restorer,
    checks: Checks,
    told: Option<&'a (dyn Fn(Event) + Send + Sync)>,
}

/// An answer as the agent gets it.
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) refusal: Option<String>,
    pub(crate) calls: Vec<ToolCall>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) finish: Finish,
}

impl<'a> Chat<'a> {
    pub(super) fn new(
        request: &'a Request,
        veil: &mut Veil<'_>,
        told: Option<&'a (dyn Fn(Event) + Send + Sync)>,
    ) -> Result<Self, ModelError> {
        let veiled = veil.request(request)?;
        Ok(Self {
            request,
            names: Names::of(&veiled).without_ids_of(request),
            veiled,
            restorer: veil.restorer(),
            checks: Checks::of(request)?,
            told,
        })
    }

    /// The most tokens that the request can count for: no token is less than a byte,
    /// and images are counted as the model's configuration says.
    fn most_input(&self, lane: &Lane, body: &str) -> u64 {
        let parts = self
            .veiled
            .messages
            .iter()
            .flat_map(|message| match message {
                Message::User { parts } => parts.as_slice(),
                _ => &[],
            });
        let image_bytes: usize = parts
            .map(|part| match part {
                Part::Image { data, .. } => data.len(),
                Part::Text { .. } => 0,
            })
            .sum();
        let images = self.request.images() * u64::from(lane.model.image_tokens_max);
        let each = (self.request.tools.len() + self.request.messages.len()) as u64;
        // Asking for a stream takes some bytes, and no tokens.
        let stream_bytes = if self.streams(lane) { STREAM_BYTES } else { 0 };
        let text = body.len().saturating_sub(image_bytes + stream_bytes) as u64;
        let all = text + images + ADDED_TOKENS + ADDED_TOKENS_EACH * each;
        all.min(u64::from(lane.model.context_tokens))
    }

    /// Whether the answer is asked for piece by piece.
    fn streams(&self, lane: &Lane) -> bool {
        self.told.is_some() && lane.model.stream
    }

    /// Where the text is JSON, what is put back into it has to leave it JSON.
    fn text_form(&self) -> Form {
        match self.request.output {
            Some(_) => Form::Json,
            None => Form::Text,
        }
    }

    /// As the agent gets it: without secrets of the host, and with what was redacted.
    fn said(&self, parsed: Parsed, search: &Search) -> Said {
        let whole = |text: &str, form| self.restorer.whole(&search.whole(text), form);
        let calls = parsed.calls.iter().enumerate().map(|(at, call)| ToolCall {
            id: search.id(&self.names, &call.id, at),
            name: search.name(&self.names, &call.name),
            arguments: whole(&call.arguments, Form::Json),
        });
        let mut said = Said {
            text: whole(&parsed.text, self.text_form()),
            refusal: parsed.refusal.map(|text| whole(&text, Form::Text)),
            calls: calls.collect(),
            faults: Vec::new(),
            finish: parsed.finish.unwrap_or(Finish::Other),
        };
        said.faults = self.checks.faults(self.request, &self.names, &said);
        said
    }

    async fn streamed(
        &self,
        mut reply: Reply,
        lane: &Lane,
        search: &Search,
    ) -> Result<Parsed, Failed> {
        let mut sse = SseParser::new(lane.model.answer_bytes_max);
        let mut decoder = protocol::decoder(lane.provider.kind);
        let silent = |_| {};
        let told = self.told.unwrap_or(&silent);
        let form = self.text_form();
        let mut teller = Teller::new(&self.names, &self.restorer, search, form, told);
        let (mut events, mut told_bytes) = (Vec::new(), 0);
        while !decoder.is_over() {
            let Some(bytes) = reply.next().await? else {
                break;
            };
            let found = sse.push(&bytes);
            for event in found.map_err(|error| Failed::garbled(error.to_string()))? {
                decoder.event(&event, &mut events)?;
                told_bytes += events.iter().map(Event::bytes).sum::<usize>();
                if told_bytes > ANSWER_BYTES_MAX {
                    return Err(too_large());
                }
                events.drain(..).for_each(|event| teller.tell(event));
            }
        }
        let parsed = decoder.end()?;
        teller.end();
        Ok(parsed)
    }

    /// An answer that came whole is told in one piece.
    fn tell_whole(&self, said: &Said) {
        let Some(told) = self.told else { return };
        if !said.text.is_empty() {
            let text = said.text.clone();
            told(Event::Text { text });
        }
        if let Some(text) = said.refusal.clone() {
            told(Event::Refusal { text });
        }
        for (index, call) in (0_u32..).zip(&said.calls) {
            let (id, name) = (call.id.clone(), call.name.clone());
            told(Event::Call { index, id, name });
            let text = call.arguments.clone();
            told(Event::Arguments { index, text });
        }
    }
}

/// What it counts for is not known: it was not read to its end.
fn too_large() -> Failed {
    Failed {
        why: Why::Garbled,
        fate: Fate::Answered,
        error: ModelError::Limit {
            limit: "answer_bytes".to_owned(),
            value: ANSWER_BYTES_MAX.to_string(),
        },
    }
}

impl Job for Chat<'_> {
    type Out = Said;

    fn prepare(&self, lane: &Lane) -> Result<Prepared, Failed> {
        let model = &lane.model;
        if model.embeddings {
            return Err(unfit("the model makes vectors, not answers"));
        }
        if self.request.images() > 0 && model.image_tokens_max == 0 {
            return Err(unfit("the model sees no images"));
        }
        if let Some(lack) = protocol::lacks(lane.provider.kind, self.request) {
            return Err(unfit(lack));
        }
        let most = model.output_tokens_max;
        let writing = Writing {
            kind: lane.provider.kind,
            id: &model.id,
            names: &self.names,
            max_tokens: self
                .request
                .max_tokens
                .map_or(most, |asked| asked.min(most)),
            stream: self.streams(lane),
        };
        let body = writing.body(&self.veiled).map_err(|error| Failed {
            why: Why::Rejected,
            fate: Fate::NotSent,
            error,
        })?;
        let usage = Usage {
            input_tokens: self.most_input(lane, &body),
            output_tokens: u64::from(writing.max_tokens),
            ..Usage::default()
        };
        Ok(Prepared::new(
            lane,
            (writing.path(), body, writing.stream),
            usage,
        ))
    }

    fn weight(&self) -> usize {
        self.request.bytes()
    }

    async fn read(
        &self,
        mut reply: Reply,
        lane: &Lane,
        search: &Search,
    ) -> Result<Read<Said>, Failed> {
        if let Some(told) = self.told {
            let model = lane.name.clone();
            told(Event::Started { model });
        }
        let streamed = self.streams(lane) && reply.is_stream();
        let parsed = match streamed {
            true => self.streamed(reply, lane, search).await?,
            false => {
                let body = reply.all().await?;
                at_length(body.len(), || protocol::answer(lane.provider.kind, &body))?
            }
        };
        let usage = parsed.usage;
        let calls = parsed
            .calls
            .iter()
            .map(|call| call.name.len() + call.arguments.len());
        let refusal = parsed.refusal.as_ref().map_or(0, String::len);
        let bytes = (parsed.text.len() + refusal + calls.sum::<usize>()) as u64;
        // Checking against a schema takes its own time, however short the answer is.
        let is_checked = !parsed.calls.is_empty() || self.request.output.is_some();
        let weight = if is_checked {
            usize::MAX
        } else {
            parsed.text.len()
        };
        let said = at_length(weight, || self.said(parsed, search));
        if !streamed {
            self.tell_whole(&said);
        }
        Ok(Read {
            out: said,
            usage,
            bytes,
        })
    }

    fn verdict(&self, said: &Said) -> Option<Why> {
        match said.finish {
            Finish::Refusal | Finish::ContentFilter => Some(Why::Refusal),
            _ if !said.faults.is_empty() => Some(Why::Faulty),
            _ => None,
        }
    }
}
