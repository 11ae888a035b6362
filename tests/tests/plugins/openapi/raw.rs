//! Answers that no library gives, and what a call makes of them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::place::{Place, orders};
use super::shop::KEY;

/// Answers every request with the same bytes, and ends the connection.
struct Raw {
    address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
    count: Arc<Mutex<usize>>,
}

impl Raw {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let answer = Arc::new(Mutex::new(Vec::new()));
        let count = Arc::new(Mutex::new(0));
        let raw = Self {
            address,
            answer: Arc::clone(&answer),
            count: Arc::clone(&count),
        };
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &answer, &count);
            }
        });
        raw
    }

    fn base(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What it answers from now on.
    fn answers(&self, answer: &str) {
        *lock(&self.answer) = answer.as_bytes().to_vec();
    }

    /// How many requests came.
    fn count(&self) -> usize {
        *lock(&self.count)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a request that has a length or no body, counts it, and answers.
fn serve(mut stream: TcpStream, answer: &Mutex<Vec<u8>>, count: &Mutex<usize>) -> Option<()> {
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    let mut read = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let mut lengths = head.lines().filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                let is_it = name.eq_ignore_ascii_case("content-length");
                is_it.then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= lengths.next().unwrap_or(0) {
                *lock(count) += 1;
                return stream.write_all(&lock(answer)).ok();
            }
        }
        let more = stream.read(&mut chunk).ok().filter(|more| *more > 0)?;
        read.extend_from_slice(&chunk[..more]);
    }
}

/// A request that changes something, and that was answered with what can't be
/// taken, may have happened.
#[test]
fn an_answer_of_no_use_does_not_undo_what_it_answers() {
    let place = Place::new();
    let raw = Raw::open();
    let (file, base) = (orders().display().to_string(), raw.base());
    let args = [
        "plugin",
        "add",
        "--openapi",
        &file,
        "--base-url",
        &base,
        "--grant",
    ];
    place.ok(&args);
    place.set_secret("orders-key", KEY);
    let large = format!("HTTP/1.1 201 C\r\ncontent-length: {}\r\n\r\n", 9 << 20);
    let header = format!(
        "HTTP/1.1 201 C\r\nx-a: {}\r\ncontent-length: 0\r\n\r\n",
        "x".repeat(300 << 10)
    );
    let cases = [
        ("HTTP/1.1 206 P\r\ncontent-length: 2\r\n\r\n{}", "permanent"),
        (
            "HTTP/1.1 201 C\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
            "permanent",
        ),
        ("HTTP/1.1 201 C\r\n\r\n{}", "permanent"),
        (
            "HTTP/1.1 201 C\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            "permanent",
        ),
        (
            "HTTP/1.1 201 C\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\nno number\r\n",
            "permanent",
        ),
        (
            "HTTP/1.1 101 S\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            "permanent",
        ),
        ("no HTTP at all\r\n\r\n", "permanent"),
        (header.as_str(), "permanent"),
        (large.as_str(), "limit"),
        ("", "transient"),
    ];
    let line = json!({ "customer": "ada", "lines": [] });
    for (answer, of_get) in cases {
        let shown: String = answer.chars().take(60).collect();
        raw.answers(answer);
        let before = raw.count();
        let (_, body) = place.call("orders/create_order", &json!({ "body": line }), None);
        assert_eq!(body["code"], "unknown", "{shown:?}: {body:#}");
        assert_eq!(raw.count(), before + 1, "{shown:?}");
        let (_, body) = place.call("orders/get_order", &json!({ "id": "O-1" }), None);
        assert_eq!(body["code"], of_get, "{shown:?}: {body:#}");
    }
}
