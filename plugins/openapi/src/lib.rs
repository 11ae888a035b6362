//! Serves the operations of an OpenAPI document as tools. The document is compiled
//! by `airlock plugin add --openapi`, which puts what is left of it into a copy of
//! this component; by itself the component has no tools.
//!
//! What must stay true: a call makes the one request that its plan says, to the one
//! server that stands there; the secret is a placeholder here.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use airlock_openapi::limits::{IMAGE_BYTES_MAX, RESPONSE_BYTES_MAX};
use airlock_openapi::{Image, Listing, MARKER, Outcome, Plan, Source};
use airlock_sdk::dynamic::{Dynamic, DynamicTool, DynamicWant};
use airlock_sdk::http::{self, Method};
use airlock_sdk::{Context, Effects, Error, secrets};

const WORDS: usize = IMAGE_BYTES_MAX / size_of::<u64>();

/// Empty memory, which takes no bytes of the component. Nothing here writes to it:
/// a segment of data that is added to the component does.
static AREA: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

/// Says where the area is: `airlock_openapi::pack` looks for the marker.
#[repr(C)]
struct Place {
    marker: [u8; MARKER.len()],
    area: &'static [AtomicU64; WORDS],
    bytes: u32,
}

static PLACE: Place = Place {
    marker: *MARKER,
    area: &AREA,
    #[expect(clippy::cast_possible_truncation, reason = "4 MiB")]
    bytes: IMAGE_BYTES_MAX as u32,
};

/// The area, of which the compiler must not believe that it is empty.
struct Area;

impl Source for Area {
    fn read(&self, start: usize, len: usize) -> Vec<u8> {
        let place = black_box(&PLACE);
        if place.marker != *MARKER {
            return Vec::new();
        }
        let bytes = place.bytes as usize;
        let end = start.saturating_add(len).min(bytes);
        let first = start / size_of::<u64>();
        let last = end.div_ceil(size_of::<u64>());
        let words = place.area.get(first..last).unwrap_or_default();
        let read = words
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes());
        let skipped = start - first * size_of::<u64>();
        read.skip(skipped).take(end.saturating_sub(start)).collect()
    }
}

/// The tools of the document in the area.
pub struct OpenApi;

airlock_sdk::export_dynamic!(OpenApi);

fn image() -> Result<Option<Image<'static, Area>>, Error> {
    Image::open(&Area).map_err(|why| Error::permanent(format!("the component's tools: {why}")))
}

impl Dynamic for OpenApi {
    fn tools() -> Vec<DynamicTool> {
        let Ok(Some(image)) = image() else {
            return Vec::new();
        };
        let tool = |entry| {
            let listing = image.listing(entry).ok()?;
            Some(tool(entry.name.clone(), listing))
        };
        image.index.tools.iter().filter_map(tool).collect()
    }

    fn wants() -> Vec<DynamicWant> {
        let Ok(Some(image)) = image() else {
            return Vec::new();
        };
        let want = |want: airlock_openapi::Want| DynamicWant {
            capability: want.capability,
            scope: want.scope,
            reason: want.reason,
            optional: false,
        };
        image.index.wants.into_iter().map(want).collect()
    }

    fn call(name: &str, input: &str, context: &Context) -> Result<String, Error> {
        let unknown = || Error::not_found(format!("no tool `{name}` in this plugin"));
        let image = image()?.ok_or_else(unknown)?;
        let plan = image.plan(name).map_err(Error::permanent)?;
        serve(&plan.ok_or_else(unknown)?, input, context)
    }
}

fn tool(name: String, listing: Listing) -> DynamicTool {
    DynamicTool {
        name,
        title: listing.title,
        description: listing.description,
        input_schema: listing.input.to_string(),
        output_schema: Some(listing.output.to_string()),
        effects: Effects {
            read_only: listing.read_only,
            idempotent: listing.idempotent,
            destructive: listing.destructive,
            open_world: true,
        },
    }
}

/// Makes the one request of a call.
///
/// # Errors
/// The input is wrong, a grant is missing, or what the server answered.
pub fn serve(plan: &Plan, input: &str, context: &Context) -> Result<String, Error> {
    let secret = plan
        .auth
        .as_ref()
        .map(|auth| secrets::placeholder(&auth.secret));
    let secret = secret.transpose()?;
    let key = context.idempotency_key.as_deref();
    let made = airlock_openapi::request(plan, input, secret.as_deref(), key)
        .map_err(Error::invalid_input)?;
    let mut request = http::request(method(&made.method)?, made.url)
        .cut_at(RESPONSE_BYTES_MAX)
        .body(made.body);
    for (name, value) in made.headers {
        request = request.header(name, value);
    }
    let response = request.send()?;
    let response = airlock_openapi::Response {
        status: response.status,
        headers: response.headers,
        body: response.body,
        cut: response.cut,
    };
    match airlock_openapi::outcome(plan, &response) {
        Outcome::Output(output) => Ok(output),
        Outcome::InvalidInput(message) => Err(Error::invalid_input(message)),
        Outcome::NotFound(message) => Err(Error::not_found(message)),
        Outcome::Transient(message, seconds) => {
            Err(Error::transient(message, seconds.map(Duration::from_secs)))
        }
        Outcome::Permanent(message) => Err(Error::permanent(message)),
        Outcome::Unknown(message) => Err(Error::unknown(message)),
        Outcome::TooLarge(bytes) => Err(Error::limit("response", format!("{bytes} bytes"))),
    }
}

fn method(name: &str) -> Result<Method, Error> {
    Ok(match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        other => return Err(Error::permanent(format!("{other} can't be sent"))),
    })
}

#[cfg(test)]
mod tests;
