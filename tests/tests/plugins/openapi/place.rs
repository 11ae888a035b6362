//! A server, a shop's service, and the commands that make tools of its document.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use airlock::client::Request;
use airlock::harness::Server;
use airlock_tests::{airlock, root};
use serde_json::Value;

use super::shop::{KEY, Shop};

/// The document that the service follows.
pub(crate) fn orders() -> PathBuf {
    root().join("plugins/openapi/examples/orders.yaml")
}

pub(crate) struct Place {
    pub(crate) server: Server,
    pub(crate) shop: Shop,
    pub(crate) folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let server =
            Server::start(&airlock(), &folder.path().join("data"), &[]).expect("the server starts");
        Self {
            server,
            shop: Shop::open(),
            folder,
        }
    }

    /// What a command printed, and its exit code.
    pub(crate) fn run(&self, args: &[&str], stdin: &str) -> (i32, String, String) {
        let mut child = Command::new(airlock())
            .args(args)
            .env("AIRLOCK_DATA", self.folder.path().join("data"))
            .env_remove("AIRLOCK_TOKEN")
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut pipe = child.stdin.take().expect("stdin");
        std::io::Write::write_all(&mut pipe, stdin.as_bytes()).ok();
        drop(pipe);
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        (code, text(&output.stdout), text(&output.stderr))
    }

    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let (code, out, err) = self.run(args, "");
        assert_eq!(code, 0, "{args:?}: {out}{err}");
        out
    }

    /// Installs the example for the service here.
    pub(crate) fn add(&self, more: &[&str]) -> Value {
        let file = orders().display().to_string();
        let base = self.shop.base();
        let args = [
            "plugin",
            "add",
            "orders",
            "--openapi",
            &file,
            "--base-url",
            &base,
            "--json",
        ];
        let out = self.ok(&[&args[..], more].concat());
        serde_json::from_str(&out).unwrap_or_else(|_| panic!("no JSON: {out}"))
    }

    pub(crate) fn set_secret(&self, name: &str, value: &str) {
        let path = format!("/v1/secrets/{name}");
        let secret = Request::bytes("PUT", path, "application/octet-stream", value.into());
        self.server.api().ok(&secret).expect("the secret is stored");
    }

    /// What a call answers: status and body, in neither of which the key is.
    pub(crate) fn call(&self, tool: &str, input: &Value, key: Option<&str>) -> (u16, Value) {
        let mut request = Request::json("POST", format!("/v1/tools/{tool}"), input);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let reply = self
            .server
            .api()
            .send(&request)
            .expect("the server answers");
        let text = String::from_utf8_lossy(&reply.body);
        assert!(!text.contains(KEY), "the key got out: {text}");
        let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
        (reply.status, body)
    }

    /// The output of a call that must succeed.
    pub(crate) fn good(&self, tool: &str, input: Value) -> Value {
        let (status, body) = self.call(&format!("orders/{tool}"), &input, None);
        assert_eq!(status, 200, "{tool} {input}: {body:#}");
        body["output"].clone()
    }

    /// The code of a call that must fail, and its words.
    pub(crate) fn bad(&self, tool: &str, input: Value, code: &str, says: &str) {
        let (status, body) = self.call(&format!("orders/{tool}"), &input, None);
        let detail = body["detail"].as_str().unwrap_or_default();
        assert!(
            status >= 400 && body["code"] == code && detail.contains(says),
            "{tool} {input}: {status} {body:#}"
        );
    }
}
