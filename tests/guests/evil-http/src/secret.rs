//! Getting at a secret's value, or getting it sent elsewhere.

use airlock_sdk::prelude::*;
use airlock_sdk::secrets::placeholder;
use airlock_sdk::serde_json::Value;
use wasip2::http::outgoing_handler::handle;

use crate::exchange::{Attack, exchange, outgoing, told, wait};

/// `PLACEHOLDER` in any part of the request becomes the secret's placeholder.
fn filled(mut input: Attack) -> Result<Attack, Error> {
    let word = placeholder(&input.secret)?;
    let fill = |text: &str| text.replace("PLACEHOLDER", &word);
    input.authority = fill(&input.authority);
    input.path = fill(&input.path);
    input.body = fill(&input.body);
    input.method = fill(&input.method);
    for (name, value) in &mut input.headers {
        (*name, *value) = (fill(name), fill(value));
    }
    Ok(input)
}

/// Puts a placeholder wherever it is told.
#[tool]
pub fn place_secret(input: Attack) -> Result<Value, Error> {
    let attack = filled(input)?;
    Ok(exchange(&attack, None).unwrap_or_else(|told| told).json())
}

/// Reads the answer in pieces of `amount` bytes.
#[tool]
pub fn read_in_pieces(input: Attack) -> Result<Value, Error> {
    let attack = filled(input)?;
    let request = outgoing(&attack).map_err(|_| Error::permanent("refused"))?;
    let future = handle(request, None).map_err(|code| Error::permanent(format!("{code:?}")))?;
    let response = wait(&future).map_err(|code| Error::permanent(format!("{code:?}")))?;
    Ok(told(response, attack.amount).json())
}
