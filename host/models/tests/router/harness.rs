//! A router over some servers.

use std::sync::{Arc, Mutex};

use airlock_fake_models::{FakeModels, Script, What};
use airlock_models::config::Config;
use airlock_models::{
    Allowance, Answer, Ask, Client, Clock, ConversationKey, Event, Failure, Message, Part,
    Redactor, Request, Router, Secret, Secrets, SystemClock, Tool, ToolChoice,
};

pub const KEY: &str = "sk-provider-key-0123456789";
pub const PLENTY: Allowance = Allowance {
    tokens: u64::MAX,
    cost_micros: u64::MAX,
};

/// One key, and one other secret.
pub struct Vault;

impl Secrets for Vault {
    fn get(&self, name: &str) -> Option<Secret> {
        (name == "key").then(|| Secret::new(KEY))
    }

    fn all(&self) -> Vec<Secret> {
        vec![Secret::new(KEY), Secret::new("hunter2-and-more")]
    }
}

/// A clock that moves when it is told to.
#[derive(Default)]
pub struct SetClock(Mutex<u64>);

impl SetClock {
    pub fn advance(&self, milliseconds: u64) {
        *self.0.lock().expect("no panic") += milliseconds;
    }
}

impl Clock for SetClock {
    fn now_ms(&self) -> u64 {
        *self.0.lock().expect("no panic")
    }
}

/// A server, and a router that knows it under three protocols: `chat`, `responses`
/// and `claude`, each with a role of its name, `fast` for all of them in that order,
/// `search` for vectors.
pub struct World {
    pub server: FakeModels,
    pub router: Router,
    pub clock: Arc<SetClock>,
}

pub const PROTOCOLS: [&str; 3] = ["chat", "responses", "claude"];

pub fn config(url: &str) -> String {
    let mut text = "currency = \"USD\"\n".to_owned();
    for (name, kind) in [
        ("chat", "openai-chat"),
        ("responses", "openai-responses"),
        ("claude", "anthropic"),
    ] {
        text += &format!(
            "[providers.{name}]\nkind = \"{kind}\"\nbase_url = \"{url}\"\nkey = \"key\"\n\
             [models.{name}]\nprovider = \"{name}\"\nid = \"{name}-1\"\ncontext_tokens = 100000\n\
             output_tokens_max = 1000\nimage_tokens_max = 1000\nconcurrency = 2\nqueue = 2\n\
             prices = {{ input = \"2\", output = \"10\", cached = \"1\" }}\n\
             timeouts = {{ first_byte_ms = FIRST_BYTE, idle_ms = IDLE }}\n\
             answer_bytes_max = ANSWER_BYTES\n\
             [roles.{name}]\nmodels = [\"{name}\"]\nbackoff_ms = 1\nretries = RETRIES\n"
        );
    }
    text += "[models.vectors]\nprovider = \"chat\"\nid = \"vectors-1\"\ncontext_tokens = 1000\nembeddings = true\n\
             prices = { input = \"1\", output = \"0\" }\n\
             [roles.search]\nmodels = [\"vectors\"]\n\
             [roles.fast]\nmodels = [\"chat\", \"responses\", \"claude\"]\nbackoff_ms = 1\nretries = RETRIES\nfallback = FALLBACK\n\
             [redaction]\npatterns = [\"email\", \"card\", \"key\"]\nreversible = true\n";
    text
}

/// What a test says otherwise than usual.
pub struct Usual {
    pub first_byte_ms: u64,
    pub idle_ms: u64,
    pub retries: u32,
    pub fallback: &'static str,
    pub answer_bytes: usize,
}

impl Default for Usual {
    fn default() -> Self {
        Self {
            first_byte_ms: 60_000,
            idle_ms: 60_000,
            retries: 0,
            fallback: r#"["error", "timeout", "rate-limit"]"#,
            answer_bytes: 1 << 20,
        }
    }
}

impl Usual {
    pub fn config(&self, url: &str) -> Config {
        let text = config(url)
            .replace("FIRST_BYTE", &self.first_byte_ms.to_string())
            .replace("IDLE", &self.idle_ms.to_string())
            .replace("RETRIES", &self.retries.to_string())
            .replace("FALLBACK", self.fallback)
            .replace("ANSWER_BYTES", &self.answer_bytes.to_string());
        Config::from_toml(&text).expect("a configuration")
    }

    pub async fn world(&self, steps: impl IntoIterator<Item = What>) -> World {
        let mut script = Script::of(steps);
        script.key = Some(KEY.to_owned());
        self.with(script).await
    }

    pub async fn with(&self, script: Script) -> World {
        let server = FakeModels::start(script).await.expect("it listens");
        let config = self.config(&server.base_url());
        let clock = Arc::new(SetClock::default());
        World {
            router: router(&config).with_clock(clock.clone()),
            server,
            clock,
        }
    }
}

pub fn router(config: &Config) -> Router {
    let redactor = Redactor::new(&config.redaction, "").expect("patterns");
    let client = Client::new(None).expect("a client");
    Router::new(config, redactor, client, Arc::new(Vault)).expect("a router")
}

pub async fn world(steps: impl IntoIterator<Item = What>) -> World {
    Usual::default().world(steps).await
}

pub fn key() -> ConversationKey {
    ConversationKey::new([5; 32])
}

impl World {
    /// With the process's own clock.
    pub fn in_time(mut self) -> Self {
        self.router = self.router.with_clock(Arc::new(SystemClock::default()));
        self
    }

    pub async fn ask(&self, request: &Request) -> Result<Answer, Failure> {
        self.ask_with(request, PLENTY).await
    }

    pub async fn ask_with(
        &self,
        request: &Request,
        allowance: Allowance,
    ) -> Result<Answer, Failure> {
        let conversation = key();
        let ask = Ask {
            permitted: None,
            caller: "test",
            conversation: &conversation,
            allowance,
            told: None,
            meter: None,
        };
        self.router.ask(request, ask).await
    }

    /// Asks for a stream; the answer, and what was told.
    pub async fn stream(&self, request: &Request) -> (Result<Answer, Failure>, Vec<Event>) {
        let conversation = key();
        let heard = Mutex::new(Vec::new());
        let hear = |event| heard.lock().expect("no panic").push(event);
        let ask = Ask {
            permitted: None,
            caller: "test",
            conversation: &conversation,
            allowance: PLENTY,
            told: Some(&hear),
            meter: None,
        };
        let answer = self.router.ask(request, ask).await;
        (answer, heard.into_inner().expect("no panic"))
    }
}

pub fn question(role: &str, text: &str) -> Request {
    Request {
        role: role.to_owned(),
        messages: vec![user(text)],
        tools: Vec::new(),
        tool_choice: ToolChoice::Auto,
        output: None,
        max_tokens: None,
        temperature_milli: None,
        stop: Vec::new(),
        seed: None,
    }
}

pub fn user(text: &str) -> Message {
    let text = text.to_owned();
    Message::User {
        parts: vec![Part::Text { text }],
    }
}

pub fn tool(name: &str) -> Tool {
    Tool {
        name: name.to_owned(),
        description: "Does it.".to_owned(),
        input_schema: r#"{"type":"object","properties":{"path":{"type":"string"}},"required":["path"],"additionalProperties":false}"#.to_owned(),
    }
}

/// The text that was told.
pub fn said(events: &[Event]) -> String {
    let texts = events.iter().filter_map(|event| match event {
        Event::Text { text } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}
