//! The binary: it serves a script, and says where.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// Ends the server with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(script: &str) -> (Running, String) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let mut child = Command::new(env!("CARGO_BIN_EXE_airlock-fake-models"))
        .args(["--script", &format!("{path}{script}")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let stdout = child.stdout.take().expect("its output");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    (Running(child), line.trim().to_owned())
}

fn post(url: &str, path: &str, body: &str) -> String {
    let address = url.trim_start_matches("http://").trim_end_matches("/v1");
    let mut stream = TcpStream::connect(address).expect("it listens");
    let length = body.len();
    let head =
        format!("POST /v1/{path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(head.as_bytes()).expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn it_answers_as_the_script_says() {
    let (_running, url) = start("script.example.json");
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    let ask = |model: &str| {
        format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]}}"#)
    };
    let called = post(&url, "chat/completions", &ask("other"));
    assert!(
        called.contains("files_read"),
        "the first step is for another model: {called}"
    );
    let hello = post(&url, "chat/completions", &ask("small"));
    assert!(hello.contains(r#""content":"Hello.""#), "{hello}");
    let limited = post(&url, "chat/completions", &ask("small"));
    assert!(
        limited.starts_with("HTTP/1.1 429") && limited.contains("retry-after: 2"),
        "{limited}"
    );
    let refused = post(&url, "messages", &ask("small"));
    assert!(
        refused.starts_with("HTTP/1.1 400") && refused.contains("anthropic-version"),
        "{refused}"
    );
    let unknown = post(
        &url,
        "chat/completions",
        &ask("small").replace("messages", "mesages"),
    );
    assert!(unknown.starts_with("HTTP/1.1 400"), "{unknown}");
}

/// What the help says of a script is one, and the page it names has the rest.
#[test]
fn the_help_has_a_script() {
    let help = Command::new(env!("CARGO_BIN_EXE_airlock-fake-models"))
        .arg("--help")
        .output()
        .expect("it starts");
    let help = String::from_utf8(help.stdout).expect("a text");
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, script) = help.split_once("a JSON file: ").expect("a script");
    let (script, _) = script.split_once(". Each").expect("its end");
    let script: airlock_fake_models::Script = serde_json::from_str(script).expect(script);
    assert_eq!(script.steps.len(), 1, "{help}");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    for named in ["docs/models.md", "tests/models/script.example.json"] {
        assert!(help.contains(named), "{help}");
        let text = std::fs::read_to_string(format!("{root}/{named}")).expect(named);
        assert!(text.contains("again"), "{named}");
    }
}
