//! Messages as far as they have to be understood to be passed on.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Where a request says which version it speaks.
const VERSION_IN_META: &str = "io.modelcontextprotocol/protocolVersion";
/// The first version without sessions.
const SESSIONLESS: &str = "2026-07-28";

/// One message.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) text: Vec<u8>,
    pub(super) id: Option<Box<RawValue>>,
    pub(super) method: Option<String>,
    /// What the message is about: `name` or `uri` of its parameters.
    pub(super) name: Option<String>,
    /// The version that the message itself says.
    pub(super) version: Option<String>,
    cancels: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    id: Option<Box<RawValue>>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Params,
}

#[derive(Default, Deserialize)]
struct Params {
    #[serde(default)]
    name: Option<Value>,
    #[serde(default)]
    uri: Option<Value>,
    #[serde(default, rename = "requestId")]
    request_id: Option<Box<RawValue>>,
    #[serde(default, rename = "_meta")]
    meta: Value,
}

#[derive(Deserialize)]
struct Answered {
    #[serde(default)]
    id: Option<Box<RawValue>>,
    #[serde(default)]
    method: Option<String>,
}

impl Message {
    /// Reads one line.
    pub(super) fn read(line: &[u8]) -> Result<Self, &'static str> {
        let text = line.trim_ascii();
        // Several at once would be read as the members of one.
        let head = match text.first() {
            Some(b'{') => serde_json::from_slice::<Head>(text).ok(),
            Some(b'[') => return Err("several messages at once are not taken"),
            _ => None,
        };
        let head = head.ok_or("the line is not a message of JSON-RPC")?;
        let text_of =
            |value: Option<Value>| value.as_ref().and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            text: text.to_vec(),
            id: head.id,
            method: head.method,
            name: text_of(head.params.name).or_else(|| text_of(head.params.uri)),
            version: head.params.meta[VERSION_IN_META]
                .as_str()
                .map(str::to_owned),
            cancels: head.params.request_id,
        })
    }

    /// What a client says once its session has begun.
    pub(super) fn initialized() -> Self {
        let message = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        Self {
            text: message.to_string().into_bytes(),
            id: None,
            method: Some("notifications/initialized".to_owned()),
            name: None,
            version: None,
            cancels: None,
        }
    }

    pub(super) fn is(&self, method: &str) -> bool {
        self.method.as_deref() == Some(method)
    }

    /// Whether it speaks a version without sessions.
    pub(super) fn is_sessionless(&self) -> bool {
        let version = self.version.as_deref();
        version.is_some_and(|version| version >= SESSIONLESS)
    }

    /// Its id as text.
    pub(super) fn key(&self) -> String {
        self.id
            .as_ref()
            .map_or_else(String::new, |id| id.get().to_owned())
    }

    /// The id of the request that it takes back.
    pub(super) fn cancels(&self) -> String {
        let id = self.cancels.as_ref();
        id.map_or_else(String::new, |id| id.get().to_owned())
    }

    pub(super) fn id_value(&self) -> Value {
        serde_json::from_str(&self.key()).unwrap_or_default()
    }

    /// Whether `said` is the answer to this request.
    pub(super) fn is_answered_by(&self, said: &[u8]) -> bool {
        let answered = serde_json::from_slice::<Answered>(said);
        answered.is_ok_and(|said| {
            let id = said.id.map(|id| id.get().to_owned());
            said.method.is_none() && id == Some(self.key())
        })
    }
}

/// An error of JSON-RPC.
pub(super) fn error(id: &Value, code: i64, message: &str, data: Option<&Value>) -> Vec<u8> {
    let mut error = json!({ "code": code, "message": message });
    if let Some(data) = data {
        error["data"] = data.clone();
    }
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
        .to_string()
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart() {
        let call = br#"{"jsonrpc":"2.0","id":"7","method":"tools/call","params":{"name":"a__b","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let call = Message::read(call).expect("a message");
        assert_eq!(
            (call.key().as_str(), call.name.as_deref()),
            ("\"7\"", Some("a__b"))
        );
        assert!(call.is("tools/call") && call.is_sessionless());
        assert_eq!(call.id_value(), json!("7"));
        let table = [
            (r#"{"jsonrpc":"2.0","id":"7","result":{}}"#, true),
            (r#"{"jsonrpc":"2.0","id":"7","error":{}}"#, true),
            (r#"{"jsonrpc":"2.0","id":7,"result":{}}"#, false),
            (
                r#"{"jsonrpc":"2.0","id":"7","method":"elicitation/create"}"#,
                false,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/message"}"#,
                false,
            ),
            ("", false),
        ];
        for (said, expect) in table {
            assert_eq!(call.is_answered_by(said.as_bytes()), expect, "{said}");
        }
        let cancel = br#"{"method":"notifications/cancelled","params":{"requestId":"7"}}"#;
        let cancel = Message::read(cancel).expect("a message");
        assert_eq!((cancel.cancels(), cancel.id.is_none()), (call.key(), true));
        let old = Message::read(br#"{"id":1,"method":"ping"}"#).expect("a message");
        assert!(!old.is_sessionless());
        for bad in ["[]", "{", "1", "\"a\"", r#"{"method":1}"#] {
            assert!(Message::read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
