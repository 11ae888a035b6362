//! Asking for vectors. What was redacted stays so: a vector can't be put back.

use super::Lane;
use super::attempt::{Job, Prepared, Read, unfit};
use crate::answer::{EmbedRequest, Usage};
use crate::at_length::at_length;
use crate::client::Reply;
use crate::error::{Failed, Fate, Why};
use crate::protocol::embeddings;
use crate::redact::Search;

/// A request for vectors, as it may leave the host.
pub(super) struct Embed<'a> {
    pub(super) request: &'a EmbedRequest,
}

impl Job for Embed<'_> {
    type Out = Vec<Vec<f32>>;

    fn prepare(&self, lane: &Lane) -> Result<Prepared, Failed> {
        if !lane.model.embeddings {
            return Err(unfit("the model makes answers, not vectors"));
        }
        let body = embeddings::body(&lane.model.id, self.request).map_err(|error| Failed {
            why: Why::Rejected,
            fate: Fate::NotSent,
            error,
        })?;
        // Each text has the model's context for itself.
        let texts = self.request.texts.len() as u64;
        let context = texts.saturating_mul(u64::from(lane.model.context_tokens));
        let usage = Usage {
            input_tokens: (body.len() as u64).min(context),
            ..Usage::default()
        };
        Ok(Prepared::new(lane, (embeddings::PATH, body, false), usage))
    }

    fn weight(&self) -> usize {
        self.request.texts.iter().map(String::len).sum()
    }

    async fn read(
        &self,
        mut reply: Reply,
        _: &Lane,
        _: &Search,
    ) -> Result<Read<Self::Out>, Failed> {
        let body = reply.all().await?;
        let read = at_length(body.len(), || embeddings::answer(self.request, &body));
        let (out, usage) = read?;
        Ok(Read {
            out,
            usage,
            bytes: 0,
        })
    }

    fn verdict(&self, _: &Self::Out) -> Option<Why> {
        None
    }
}
