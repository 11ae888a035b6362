//! OpenAI's embeddings, which compatible servers speak too.
//! <https://platform.openai.com/docs/api-reference/embeddings>

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{parse, parse_flat, written};
use crate::answer::{EmbedRequest, Usage};
use crate::error::{Failed, ModelError};

/// Most texts of one request.
const TEXTS_MAX: usize = 2_048;
/// Longest vector.
const DIMENSIONS_MAX: u32 = 65_536;

/// Where the request goes, below the provider's base URL.
pub(crate) const PATH: &str = "embeddings";

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: &'a [String],
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
}

#[derive(Deserialize)]
struct Reply {
    data: Vec<Vector>,
    /// In any form.
    #[serde(default)]
    usage: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Vector {
    index: usize,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct Counted {
    #[serde(default)]
    prompt_tokens: Option<u64>,
}

impl EmbedRequest {
    /// Whether it can be asked at all.
    ///
    /// # Errors
    /// [`ModelError::InvalidInput`] with what is wrong and where.
    pub fn check(&self) -> Result<(), ModelError> {
        if self.texts.is_empty() || self.texts.len() > TEXTS_MAX {
            return Err(ModelError::invalid(format!("texts: 1 to {TEXTS_MAX}")));
        }
        if let Some(at) = self.texts.iter().position(String::is_empty) {
            return Err(ModelError::invalid(format!("texts[{at}]: it is empty")));
        }
        let bytes: usize = self.texts.iter().map(String::len).sum();
        if bytes > crate::request::REQUEST_BYTES_MAX {
            return Err(ModelError::Limit {
                limit: "request_bytes".to_owned(),
                value: crate::request::REQUEST_BYTES_MAX.to_string(),
            });
        }
        match self.dimensions {
            Some(length) if !(1..=DIMENSIONS_MAX).contains(&length) => Err(ModelError::invalid(
                format!("dimensions: 1 to {DIMENSIONS_MAX}"),
            )),
            _ => Ok(()),
        }
    }
}

pub(crate) fn body(id: &str, request: &EmbedRequest) -> Result<String, ModelError> {
    written(&Body {
        model: id,
        input: &request.texts,
        encoding_format: "float",
        dimensions: request.dimensions,
    })
}

/// The vectors in the texts' order.
pub(crate) fn answer(
    request: &EmbedRequest,
    body: &[u8],
) -> Result<(Vec<Vec<f32>>, Option<Usage>), Failed> {
    let reply: Reply = parse_flat(body)?;
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; request.texts.len()];
    for vector in reply.data {
        let fits = vectors
            .get_mut(vector.index)
            .is_some_and(|place| place.replace(vector.embedding).is_none());
        if !fits {
            return Err(Failed::garbled("the answer has a vector of no text"));
        }
    }
    let Some(vectors) = vectors.into_iter().collect::<Option<Vec<_>>>() else {
        return Err(Failed::garbled("the answer has too few vectors"));
    };
    let length = request
        .dimensions
        .map_or(vectors[0].len(), |length| length as usize);
    if length == 0 || vectors.iter().any(|vector| vector.len() != length) {
        return Err(Failed::garbled("the answer's vectors have not one length"));
    }
    if vectors.iter().flatten().any(|number| !number.is_finite()) {
        return Err(Failed::garbled("a number of the answer is not finite"));
    }
    let counted = reply.usage.and_then(|usage| {
        let counted: Counted = parse(usage.get().as_bytes()).ok()?;
        counted.prompt_tokens
    });
    let usage = counted.map(|input_tokens| Usage {
        input_tokens,
        ..Usage::default()
    });
    Ok((vectors, usage))
}
