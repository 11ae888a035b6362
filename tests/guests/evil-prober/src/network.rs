//! Network and secrets.

use std::net::{TcpStream, ToSocketAddrs, UdpSocket};

use airlock_sdk::http::{self, Method};
use airlock_sdk::prelude::*;
use airlock_sdk::secrets;
use airlock_sdk::serde_json::{Value, json};

use crate::outcome;

#[derive(Deserialize, JsonSchema)]
pub struct Request {
    /// The URL.
    url: String,
    /// Whether to POST instead of GET.
    #[serde(default)]
    post: bool,
    /// A header to send.
    #[serde(default)]
    header: Option<(String, String)>,
}

#[derive(Deserialize, JsonSchema)]
pub struct Address {
    /// Host and port.
    address: String,
}

#[derive(Deserialize, JsonSchema)]
pub struct Secret {
    /// The URL.
    url: String,
    /// The secret's name.
    name: String,
    /// `header`, `query`, `path` or `body`.
    place: String,
}

fn send(request: http::Request) -> Result<Value, Error> {
    outcome(request.send().map(|response| {
        let text = response.text().unwrap_or("(not text)").to_owned();
        let location = response.header("location").unwrap_or_default().to_owned();
        json!({ "status": response.status, "text": text, "location": location })
    }))
}

/// Sends a request.
#[tool]
pub fn request(input: Request) -> Result<Value, Error> {
    let mut request = if input.post {
        http::post(input.url).body("x")
    } else {
        http::get(input.url)
    };
    if let Some((name, value)) = input.header {
        request = request.header(name, value);
    }
    send(request)
}

/// Puts a secret's placeholder somewhere into a request.
#[tool]
pub fn secret(input: Secret) -> Result<Value, Error> {
    let placeholder = match secrets::placeholder(&input.name) {
        Ok(placeholder) => placeholder,
        Err(error) => return outcome::<Value, _>(Err(error)),
    };
    send(match input.place.as_str() {
        "header" => http::get(input.url).header("authorization", format!("Bearer {placeholder}")),
        "query" => http::get(input.url).query("key", &placeholder),
        "path" => http::get(format!("{}/{placeholder}", input.url)),
        _ => http::request(Method::Post, input.url).body(placeholder),
    })
}

/// Opens a TCP connection.
#[tool]
pub fn tcp(input: Address) -> Result<Value, Error> {
    outcome(TcpStream::connect(&input.address).map(|_| true))
}

/// Sends a UDP packet.
#[tool]
pub fn udp(input: Address) -> Result<Value, Error> {
    outcome(
        UdpSocket::bind("0.0.0.0:0")
            .and_then(|socket| socket.send_to(b"x", &input.address))
            .map(|_| true),
    )
}

/// Resolves a name.
#[tool]
pub fn resolve(input: Address) -> Result<Value, Error> {
    outcome(
        input
            .address
            .to_socket_addrs()
            .map(|found| found.count() as u64),
    )
}
