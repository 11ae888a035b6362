//! Sends the request and follows redirects, which the host gives back unfollowed.

use airlock_sdk::{Error, http, secrets};
use url::Url;

use crate::{Format, Get};

pub(crate) const BYTES_DEFAULT: usize = 512 * 1024;
const BYTES_MAX: usize = 4 * 1024 * 1024;
const REDIRECTS_DEFAULT: u32 = 5;
const REDIRECTS_MAX: u32 = 10;
const USER_AGENT: &str = "airlock-fetch/0.1";

/// The last response, and how it was reached.
pub(crate) struct Fetched {
    pub(crate) response: http::Response,
    pub(crate) url: Url,
    pub(crate) redirects: Vec<String>,
}

pub(crate) fn follow(input: &Get) -> Result<Fetched, Error> {
    let redirects_max = input.max_redirects.unwrap_or(REDIRECTS_DEFAULT);
    if redirects_max > REDIRECTS_MAX {
        return Err(Error::invalid_input(format!(
            "max_redirects: must be at most {REDIRECTS_MAX}"
        )));
    }
    let mut url = start(input)?;
    let origin = url.origin();
    let mut redirects = Vec::new();
    loop {
        let own = url.origin() == origin;
        let response = request(input, &url, own)?.send()?;
        let Some(next) = target(&response, &url)? else {
            return Ok(Fetched {
                response: response.error_for_status()?,
                url,
                redirects,
            });
        };
        if redirects.len() >= redirects_max as usize {
            return Err(Error::permanent(format!(
                "more than {redirects_max} redirects, the last to {next}"
            )));
        }
        redirects.push(url.to_string());
        url = next;
    }
}

fn start(input: &Get) -> Result<Url, Error> {
    let mut url =
        Url::parse(&input.url).map_err(|error| Error::invalid_input(format!("url: {error}")))?;
    check(&url)?;
    if !input.query.is_empty() {
        url.query_pairs_mut().extend_pairs(&input.query);
    }
    url.set_fragment(None);
    Ok(url)
}

fn check(url: &Url) -> Result<(), Error> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Error::invalid_input(format!(
            "url: `{}:` cannot be fetched",
            url.scheme()
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::invalid_input(
            "url: a user or password in it is not sent; use `secret_headers`",
        ));
    }
    Ok(())
}

/// `own`: the address is of the origin that was asked for, so the caller's
/// headers are meant for it.
fn request(input: &Get, url: &Url, own: bool) -> Result<http::Request, Error> {
    let max_bytes = input.max_bytes.unwrap_or(BYTES_DEFAULT);
    if !(1..=BYTES_MAX).contains(&max_bytes) {
        return Err(Error::invalid_input(format!(
            "max_bytes: must be from 1 to {BYTES_MAX}"
        )));
    }
    let accept = match input.format {
        Format::Json => "application/json",
        _ => "text/html, application/json, text/*;q=0.9, */*;q=0.5",
    };
    let mut request = http::get(url.as_str()).cut_at(max_bytes);
    if own {
        for (name, value) in &input.headers {
            request = request.header(name, value);
        }
        for (name, secret) in &input.secret_headers {
            request = request.header(name, secrets::placeholder(secret)?);
        }
    }
    let defaults = [
        ("accept", accept),
        ("accept-encoding", "identity"),
        ("user-agent", USER_AGENT),
    ];
    for (name, value) in defaults {
        if !request
            .headers
            .iter()
            .any(|(given, _)| given.eq_ignore_ascii_case(name))
        {
            request = request.header(name, value);
        }
    }
    Ok(request)
}

/// Where a response redirects to.
fn target(response: &http::Response, url: &Url) -> Result<Option<Url>, Error> {
    if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = response.header("location") else {
        return Err(Error::permanent(format!(
            "{url} redirects, and does not say where"
        )));
    };
    let wrong = |error| Error::permanent(format!("{url} redirects to `{location}`: {error}"));
    let mut next = url.join(location).map_err(wrong)?;
    next.set_fragment(None);
    check(&next)
        .map_err(|error| Error::permanent(format!("{url} redirects to `{location}`: {error}")))?;
    if url.scheme() == "https" && next.scheme() == "http" {
        return Err(Error::permanent(format!(
            "{url} redirects from https to http"
        )));
    }
    Ok(Some(next))
}
