//! Taking all that the host will hold.

use airlock_sdk::prelude::*;
use airlock_sdk::serde_json::{Value, json};
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{Fields, OutgoingRequest};

use crate::exchange::{Attack, outgoing, told, wait};

/// One list of headers with `amount` bytes.
#[tool]
pub fn headers_out(input: Attack) -> Result<Value, Error> {
    let fields = Fields::new();
    let mut set = 0;
    while set < input.amount && fields.append(&format!("x-{set}"), &[b'x'; 1000]).is_ok() {
        set += 1000;
    }
    Ok(json!(set))
}

/// One request, answered with many headers.
#[tool]
pub fn headers_in(input: Attack) -> Result<Value, Error> {
    let request = outgoing(&input).map_err(|_| Error::permanent("refused"))?;
    let future = handle(request, None).map_err(|code| Error::permanent(format!("{code:?}")))?;
    Ok(match wait(&future) {
        Ok(response) => told(response, 4096).json(),
        Err(code) => json!({ "error": format!("{code:?}") }),
    })
}

/// Fills `amount` field lists with 12,000 bytes each, and keeps them.
#[tool]
pub fn many_fields(input: Attack) -> Result<Value, Error> {
    let mut kept = Vec::new();
    for _ in 0..input.amount {
        let fields = Fields::new();
        for _ in 0..12 {
            let _ = fields.append("x", &[b'x'; 1000]);
        }
        kept.push(fields);
    }
    Ok(json!({ "kept": kept.len(), "bytes": 12_000 * kept.len() }))
}

/// Writes ahead into `amount` bodies that are never sent.
#[tool]
pub fn many_bodies(input: Attack) -> Result<Value, Error> {
    let mut kept = Vec::new();
    let mut bytes = 0_u64;
    for _ in 0..input.amount {
        let request = OutgoingRequest::new(Fields::new());
        let body = request.body().expect("taken once");
        let stream = body.write().expect("taken once");
        while let Ok(room) = stream.check_write() {
            if room == 0 || stream.write(&vec![b'x'; room as usize]).is_err() {
                break;
            }
            bytes += room;
        }
        // The child goes before its parent, or the host ends the call.
        kept.push((stream, body, request));
    }
    Ok(json!({ "kept": kept.len(), "bytes": bytes }))
}

/// Starts `amount` requests and waits for none.
#[tool]
pub fn many_requests(input: Attack) -> Result<Value, Error> {
    let mut kept = Vec::new();
    for _ in 0..input.amount {
        let request = outgoing(&input).map_err(|_| Error::permanent("refused"))?;
        kept.push(handle(request, None));
    }
    Ok(json!({ "kept": kept.len() }))
}

/// Takes `amount` responses and reads none of their bodies.
#[tool]
pub fn read_nothing(input: Attack) -> Result<Value, Error> {
    let mut kept = Vec::new();
    for _ in 0..input.amount {
        let request = outgoing(&input).map_err(|_| Error::permanent("refused"))?;
        let future = handle(request, None).map_err(|code| Error::permanent(format!("{code:?}")))?;
        kept.push(wait(&future).map_err(|code| Error::permanent(format!("{code:?}")))?);
    }
    Ok(json!({ "kept": kept.len() }))
}
