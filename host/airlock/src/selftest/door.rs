//! Attacks on the API's own door: requests that must be turned away before any
//! route sees them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::ground::Ground;
use super::neighbour::Neighbour;
use super::report::Outcome;

const TIMEOUT: Duration = Duration::from_secs(30);

struct Knock {
    name: &'static str,
    /// What is put in place of the server's own address.
    host: Option<&'static str>,
    /// Whether the first admin token is sent.
    token: bool,
    header: &'static str,
    status: u16,
}

const KNOCKS: &[Knock] = &[
    Knock {
        name: "comes as a client should",
        host: None,
        token: true,
        header: "x-nothing: 1",
        status: 200,
    },
    Knock {
        name: "rebinds a name of its own to the server's address",
        host: Some("evil.test"),
        token: true,
        header: "x-nothing: 1",
        status: 421,
    },
    Knock {
        name: "calls the API from another page",
        host: None,
        token: true,
        header: "origin: http://evil.test",
        status: 403,
    },
    Knock {
        name: "calls the API without a token",
        host: None,
        token: false,
        header: "x-nothing: 1",
        status: 401,
    },
    Knock {
        name: "calls the API with a token it made up",
        host: None,
        token: false,
        header: "authorization: Bearer airlock_00000000000000000000000000000000",
        status: 401,
    },
];

/// Knocks at the API in every wrong way; part of the class `authority`.
pub(super) fn refusals(ground: &Ground, class: Option<&str>) -> Result<Vec<Outcome>> {
    if class.is_some_and(|class| class != "authority") {
        return Ok(Vec::new());
    }
    KNOCKS.iter().map(|knock| attempt(ground, knock)).collect()
}

fn attempt(ground: &Ground, knock: &Knock) -> Result<Outcome> {
    let neighbour = Neighbour::start(ground);
    let start = Instant::now();
    let told = send(ground, knock).context("asking the server's API")?;
    let judged = match told.split(' ').nth(1) == Some(&knock.status.to_string()) {
        true => Ok(told),
        false => Err(told),
    };
    let outcome = Outcome {
        class: "authority".to_owned(),
        attack: knock.name.to_owned(),
        expected: format!("status {}", knock.status),
        ms: start.elapsed().as_millis() as u64,
        ..Outcome::default()
    };
    Ok(outcome.judged(judged, neighbour.finish()))
}

/// Asks for the plugins and returns the status line.
fn send(ground: &Ground, knock: &Knock) -> Result<String> {
    let address = ground.server.base().trim_start_matches("http://");
    let token = match knock.token {
        true => format!("authorization: Bearer {}\r\n", ground.server.token()),
        false => String::new(),
    };
    let request = format!(
        "GET /v1/plugins HTTP/1.1\r\nhost: {}\r\n{token}{}\r\nconnection: close\r\n\r\n",
        knock.host.unwrap_or(address),
        knock.header
    );
    let mut stream = TcpStream::connect(address).context("connecting")?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(request.as_bytes())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    Ok(reply.lines().next().unwrap_or_default().to_owned())
}
