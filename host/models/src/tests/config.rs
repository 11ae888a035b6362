//! Configurations: what is read, and what is refused with its place.

use crate::client::BaseUrl;
use crate::config::{Config, ConfigError, Fallback, Kind};

const GOOD: &str = r#"
currency = "USD"

[providers.cloud]
kind = "openai-chat"
base_url = "https://api.example.com/v1"
key = "cloud-key"

[providers.own]
kind = "openai-compatible"
base_url = "http://127.0.0.1:11434/v1"

[providers.claude]
kind = "anthropic"
base_url = "https://api.example.org/v1"
key = "claude-key"

[models.small]
provider = "cloud"
id = "small-1"
context_tokens = 128000
output_tokens_max = 16384
prices = { input = "0.15", output = "0.60", cached = "0.075" }

[models.local]
provider = "own"
id = "llama"
context_tokens = 8192
output_tokens_max = 2048
prices = { input = "0", output = "0" }

[models.large]
provider = "claude"
id = "large-1"
context_tokens = 200000
output_tokens_max = 32000
image_tokens_max = 1600
prices = { input = "3", output = "15" }
concurrency = 2
requests_per_minute = 50
timeouts = { first_byte_ms = 5000 }
breaker = { failures = 2 }

[models.vectors]
provider = "cloud"
id = "embed-1"
context_tokens = 8192
embeddings = true
prices = { input = "0.02", output = "0" }

[roles.fast]
models = ["small", "local"]

[roles.careful]
models = ["large", "small"]
fallback = ["error", "refusal"]
retries = 0

[roles.search]
models = ["vectors"]

[redaction]
patterns = ["email", "card"]
reversible = true
"#;

#[test]
fn a_configuration_is_read_with_its_defaults() {
    let config = Config::from_toml(GOOD).expect("it can be used");
    let small = &config.models["small"];
    assert_eq!(
        (small.concurrency, small.queue, small.queue_ms),
        (8, 64, 30_000)
    );
    assert_eq!(small.timeouts.total_ms, 600_000);
    assert_eq!(config.models["large"].timeouts.first_byte_ms, 5_000);
    assert_eq!(config.models["large"].timeouts.idle_ms, 60_000);
    assert_eq!(config.models["large"].breaker.open_ms, 30_000);
    assert_eq!(config.providers["own"].kind, Kind::OpenaiCompatible);
    let fast = &config.roles["fast"];
    assert_eq!(
        fast.fallback,
        [Fallback::Error, Fallback::Timeout, Fallback::RateLimit]
    );
    assert_eq!(fast.retries, 1);
    let empty = Config::from_toml("").expect("nothing is asked for");
    assert_eq!(empty.redaction.patterns.len(), 1);
    assert!(!empty.redaction.reversible);
}

#[test]
fn what_has_another_form_is_refused_with_its_line() {
    let cases = [
        ("curency = \"USD\"", "unknown field `curency`"),
        (
            "[providers.a]\nkind = \"openai\"",
            "unknown variant `openai`",
        ),
        (
            "[providers.a]\nkind = \"anthropic\"",
            "missing field `base_url`",
        ),
        ("[models.a]\nprice = 1", "unknown field `price`"),
        ("[roles.a]\nmodels = \"b\"", "invalid type: string \"…\""),
        (
            "[roles.a]\nmodels = []\nfallback = [\"all\"]",
            "unknown variant `all`",
        ),
        (
            "[redaction]\npatterns = [\"iban\"]",
            "unknown variant `iban`",
        ),
        ("currency = ", "TOML parse error"),
    ];
    for (text, expected) in cases {
        let error = Config::from_toml(text).expect_err(expected);
        assert!(matches!(error, ConfigError::Form(_)));
        let error = error.to_string();
        assert!(error.contains(expected), "{error} has no `{expected}`");
        assert!(error.contains("line "), "{error}");
    }
    let float = GOOD.replace("input = \"0.15\"", "input = 0.15");
    let error = Config::from_toml(&float)
        .expect_err("a float is no price")
        .to_string();
    assert!(error.contains("expected a string"), "{error}");
    let price = GOOD.replace("input = \"0.15\"", "input = \"cheap\"");
    let error = Config::from_toml(&price)
        .expect_err("a word is no price")
        .to_string();
    assert!(error.contains("`cheap` is no price"), "{error}");
}

/// A key that was written into the file by mistake is told to nobody.
#[test]
fn a_key_in_the_file_is_not_repeated() {
    let keys = [
        "sk-proj-abcdefghijklmnop1234",
        "zZ9aa11bb22cc33dd44PASTED!",
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
        "AKIA0123456789ABCDEF",
    ];
    let places = [
        ("key = \"cloud-key\"", "key = \"KEY\""),
        ("key = \"cloud-key\"", "api_key = \"KEY\""),
        ("key = \"cloud-key\"", "key = \"cloud-key\"\nKEY = 1"),
        ("key = \"cloud-key\"", "key = [\"KEY\"]"),
        ("key = \"cloud-key\"", "key = \"KEY"),
        ("key = \"cloud-key\"", "key = KEY"),
        ("kind = \"openai-chat\"", "kind = \"KEY\""),
        ("input = \"0.15\"", "input = \"KEY\""),
        ("context_tokens = ", "context_tokens = \"KEY\" # "),
    ];
    for key in keys {
        for (from, to) in places {
            let text = GOOD.replacen(from, &to.replace("KEY", key), 1);
            assert_ne!(text, GOOD, "{from}");
            let error = Config::from_toml(&text).expect_err(to).to_string();
            assert!(!error.contains(&key[..key.len() - 1]), "{to}: {error}");
            assert!(!error.is_empty());
        }
    }
}

#[test]
fn what_cannot_be_used_is_refused_with_its_place() {
    let cases = [
        (
            "currency = \"USD\"",
            "currency = \" \"",
            "currency: say what prices are in",
        ),
        (
            "providers.cloud",
            "providers.Cloud",
            "providers.Cloud: a name is",
        ),
        (
            "provider = \"cloud\"\nid = \"small-1\"",
            "provider = \"clod\"\nid = \"small-1\"",
            "models.small.provider: there is no provider `clod`",
        ),
        (
            "https://api.example.com/v1",
            "ftp://api.example.com",
            "providers.cloud.base_url: it begins with",
        ),
        (
            "https://api.example.com/v1",
            "https://u:p@api.example.com",
            "providers.cloud.base_url: it holds a user",
        ),
        (
            "https://api.example.com/v1",
            "https://api.example.com/v1?key=1",
            "providers.cloud.base_url: it has a query",
        ),
        (
            "https://api.example.com/v1",
            "https://api.example.com/v1/chat/completions",
            "leave out `/chat/completions`",
        ),
        (
            "https://api.example.com/v1",
            "api.example.com",
            "providers.cloud.base_url: no URL",
        ),
        (
            "key = \"cloud-key\"",
            "",
            "providers.cloud.key: this provider takes no request without a key",
        ),
        (
            "key = \"cloud-key\"",
            "key = \"\"",
            "providers.cloud.key: name a secret",
        ),
        (
            "id = \"small-1\"",
            "id = \"\"",
            "models.small.id: 1 to 256 bytes",
        ),
        (
            "context_tokens = 128000",
            "context_tokens = 0",
            "models.small.context_tokens: it is 0; 1 to",
        ),
        (
            "output_tokens_max = 16384",
            "",
            "models.small.output_tokens_max: it is 0; 1 to 128000",
        ),
        (
            "output_tokens_max = 16384",
            "output_tokens_max = 128001",
            "models.small.output_tokens_max: it is 128001",
        ),
        (
            "embeddings = true",
            "embeddings = true\noutput_tokens_max = 1",
            "models.vectors.output_tokens_max: a model that makes vectors",
        ),
        (
            "embeddings = true",
            "embeddings = true\nimage_tokens_max = 1",
            "models.vectors.image_tokens_max",
        ),
        (
            "provider = \"cloud\"\nid = \"embed-1\"",
            "provider = \"claude\"\nid = \"embed-1\"",
            "models.vectors.embeddings: this protocol has none",
        ),
        (
            "concurrency = 2",
            "concurrency = 0",
            "models.large.concurrency: it is 0",
        ),
        (
            "concurrency = 2",
            "queue = 100001",
            "models.large.queue: it is 100001",
        ),
        (
            "concurrency = 2",
            "queue_ms = 0",
            "models.large.queue_ms: it is 0",
        ),
        (
            "concurrency = 2",
            "answer_bytes_max = 10",
            "models.large.answer_bytes_max: it is 10",
        ),
        (
            "requests_per_minute = 50",
            "requests_per_minute = 0",
            "models.large.requests_per_minute: it is 0",
        ),
        (
            "first_byte_ms = 5000",
            "idle_ms = 0",
            "models.large.timeouts.idle_ms: it is 0",
        ),
        (
            "failures = 2",
            "failures = 0",
            "models.large.breaker.failures: it is 0",
        ),
        (
            "failures = 2",
            "open_ms = 0",
            "models.large.breaker.open_ms: it is 0",
        ),
        (
            "[\"small\", \"local\"]",
            "[]",
            "roles.fast.models: 1 to 16 models",
        ),
        (
            "[\"small\", \"local\"]",
            "[\"small\", \"small\"]",
            "roles.fast.models: `small` is there twice",
        ),
        (
            "[\"small\", \"local\"]",
            "[\"big\"]",
            "roles.fast.models: there is no model `big`",
        ),
        (
            "[\"small\", \"local\"]",
            "[\"small\", \"vectors\"]",
            "roles.fast.models: some make vectors",
        ),
        (
            "retries = 0",
            "retries = 11",
            "roles.careful.retries: it is 11",
        ),
        (
            "retries = 0",
            "backoff_ms = 0",
            "roles.careful.backoff_ms: it is 0",
        ),
        (
            "[\"error\", \"refusal\"]",
            "[\"error\", \"error\"]",
            "roles.careful.fallback: a word is there twice",
        ),
        (
            "[\"email\", \"card\"]",
            "[\"email\", \"email\"]",
            "redaction.patterns: a pattern is there twice",
        ),
        (
            "reversible = true",
            "patterns_file = \"\"",
            "redaction.patterns_file: name a file",
        ),
    ];
    for (from, to, expected) in cases {
        assert!(GOOD.contains(from), "{from}");
        let error = Config::from_toml(&GOOD.replacen(from, to, 1)).expect_err(expected);
        assert!(matches!(error, ConfigError::Values(_)), "{error}");
        let error = error.to_string();
        assert!(error.contains(expected), "{error} has no `{expected}`");
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let text = GOOD
        .replace("retries = 0", "retries = 11")
        .replace("failures = 2", "failures = 0");
    let text = text.replace("[\"vectors\"]", "[\"vectors\", \"others\"]")
        + "[models.others]\nprovider = \"cloud\"\nid = \"embed-2\"\ncontext_tokens = 1\nembeddings = true\nprices = { input = \"0\", output = \"0\" }\n";
    let Err(ConfigError::Values(problems)) = Config::from_toml(&text) else {
        panic!("it can't be used");
    };
    let places: Vec<&str> = problems.iter().map(|problem| problem.at.as_str()).collect();
    assert_eq!(
        places,
        [
            "models.large.breaker.failures",
            "roles.careful.retries",
            "roles.search.models"
        ]
    );
    assert!(problems[2].message.contains("can't be compared"));
}

#[test]
fn a_configuration_comes_back() {
    let config = Config::from_toml(GOOD).expect("it can be used");
    let text = toml::to_string(&config).expect("it is written");
    assert_eq!(Config::from_toml(&text), Ok(config));
}

#[test]
fn loopback_is_known() {
    let cases = [
        ("http://127.0.0.1:1", true),
        ("http://[::1]/v1", true),
        ("http://localhost:8080", true),
        ("http://10.0.0.1", false),
        ("https://api.example.com", false),
    ];
    for (url, expected) in cases {
        assert_eq!(
            BaseUrl::parse(url).expect(url).is_loopback(),
            expected,
            "{url}"
        );
    }
}

/// The page that describes the configuration has one that can be used.
#[test]
fn the_example_of_the_page_can_be_used() {
    let page = include_str!("../../../../docs/models.md");
    let (_, rest) = page.split_once("```toml\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let config = Config::from_toml(example).expect("it can be used");
    assert_eq!((config.models.len(), config.roles.len()), (2, 1));
}
