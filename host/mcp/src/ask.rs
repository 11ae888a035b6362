//! Questions of a run, offered to the person in front of a client that can ask
//! one (elicitation).
//!
//! What must stay true: only a question that this token may decide is offered,
//! whole, and only to a client that said it can; the answer goes the way of every
//! decision, for the very question that was shown. No tool and no argument
//! decides anything: those are a model's.

use std::sync::Arc;
use std::time::Duration;

use airlock_runtime::{ApprovalView, Decide, Principal, RunError, Runtime};
use airlock_text::is_unseen;
use rmcp::ErrorData;
use rmcp::model::{
    ClientCapabilities, ElicitRequest, ElicitRequestParams, ElicitResult, ElicitationAction,
    ElicitationSchema, InputRequest, InputRequests, InputRequiredResult, RequestStateCodec,
    SealOptions,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The name of the question among those of one result.
const QUESTION: &str = "question";
/// The most that is shown of a question; a larger one is not offered, since
/// nobody should approve what was not seen, bytes.
const SHOWN_BYTES_MAX: usize = 32 << 10;
/// How long an answer may take.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(600);

/// Whether a client can show a form to a person.
pub(crate) fn can_ask(client: Option<&ClientCapabilities>) -> bool {
    let elicitation = client.and_then(|client| client.elicitation.as_ref());
    elicitation.is_some_and(|modes| modes.form.is_some() || modes.url.is_none())
}

/// A question that can be shown.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) view: ApprovalView,
    message: String,
    schema: ElicitationSchema,
}

impl Question {
    /// `None`: it is too large to be shown, or has no answers to choose from.
    pub(crate) fn of(view: ApprovalView) -> Option<Self> {
        let message = message(&view);
        let schema = json!({
            "type": "object",
            "properties": {
                "decision": { "type": "string", "title": "Decision", "enum": view.choices },
                "note": { "type": "string", "title": "Note", "description": "For the record." },
            },
            "required": ["decision"],
        });
        let schema = serde_json::from_value(schema).ok()?;
        let shown = message.len() <= SHOWN_BYTES_MAX && !view.choices.is_empty();
        shown.then_some(Self {
            view,
            message,
            schema,
        })
    }

    /// As a request to the client.
    pub(crate) fn params(&self) -> ElicitRequestParams {
        ElicitRequestParams::FormElicitationParams {
            meta: None,
            message: self.message.clone(),
            requested_schema: self.schema.clone(),
        }
    }

    /// As a result that the client answers by making its request again.
    pub(crate) fn required(&self, asking: &Asking<'_>) -> InputRequiredResult {
        let request = InputRequest::Elicitation(ElicitRequest::new(self.params()));
        let requests = InputRequests::from([(QUESTION.to_owned(), request)]);
        let state = asking.seal(&Shown {
            run: self.view.run.clone(),
            question: self.view.id.clone(),
            binding: self.view.binding.clone(),
        });
        InputRequiredResult::new(Some(requests), Some(state))
    }
}

/// In the words of the host, with the agent's own apart.
fn message(view: &ApprovalView) -> String {
    let text = plain(&view.text);
    let mut message = format!(
        "The agent `{}` asks (run {}):\n\n{text}",
        view.agent, view.run
    );
    if let Some(payload) = &view.payload {
        // JSON has no control characters of its own but line ends.
        let payload = serde_json::to_string_pretty(payload).unwrap_or_default();
        message.push_str("\n\n");
        message.push_str(&plain(&payload));
    }
    if view.approvers > 1 {
        let (so_far, of) = (view.approvals.len(), view.approvers);
        message.push_str(&format!("\n\nApproved so far: {so_far} of {of}."));
    }
    message
}

/// With what is not seen as an escape.
fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c != '\n' && is_unseen(c) {
            true => c.escape_unicode().collect::<Vec<_>>(),
            false => vec![c],
        })
        .collect()
}

/// What a client gives back with its answer, sealed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    pub(crate) run: String,
    question: String,
    #[serde(default)]
    binding: Option<String>,
}

/// Who asks whom for what: what a sealed state belongs to.
pub(crate) struct Asking<'a> {
    pub(crate) codec: &'a RequestStateCodec,
    pub(crate) who: &'a Principal,
    /// The tool.
    pub(crate) tool: &'a str,
}

impl Asking<'_> {
    fn belongs(&self) -> Vec<u8> {
        json!([self.who.name, self.who.token_id, self.tool])
            .to_string()
            .into_bytes()
    }

    fn seal(&self, shown: &Shown) -> String {
        let belongs = self.belongs();
        let options = SealOptions::new()
            .associated_data(&belongs)
            .ttl(ANSWER_WITHIN);
        // Three texts are JSON.
        self.codec
            .seal_json_with(shown, &options)
            .unwrap_or_default()
    }

    /// What was shown, by the state that came back.
    pub(crate) fn open(&self, state: &str) -> Result<Shown, ErrorData> {
        let opened = self.codec.open_json_with(state, &self.belongs());
        opened.map_err(|error| {
            // Which check failed is nobody's business.
            tracing::debug!(%error, "a requestState was refused");
            ErrorData::invalid_params("requestState: it is not good any more: ask anew", None)
        })
    }
}

/// An answer.
#[derive(Deserialize)]
struct Answer {
    decision: String,
    #[serde(default)]
    note: Option<String>,
}

/// What became of a question that was shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// It was decided, or there is nothing to decide any more.
    Decided,
    /// The person left it open.
    LeftOpen,
}

/// The answer in the responses that came with a request.
pub(crate) fn response(
    responses: Option<&std::collections::BTreeMap<String, Value>>,
) -> Result<Option<ElicitResult>, ErrorData> {
    let Some(response) = responses.and_then(|all| all.get(QUESTION)) else {
        return Ok(None);
    };
    let read = serde_json::from_value(response.clone());
    let bad = |error| ErrorData::invalid_params(format!("inputResponses: {error}"), None);
    read.map(Some).map_err(bad)
}

/// Decides as the person said, as `who`.
pub(crate) async fn decide(
    runtime: &Arc<Runtime>,
    who: &Principal,
    question: &str,
    binding: Option<String>,
    result: ElicitResult,
) -> Result<Answered, RunError> {
    if result.action != ElicitationAction::Accept {
        return Ok(Answered::LeftOpen);
    }
    let read = serde_json::from_value::<Answer>(result.content.unwrap_or_default());
    let answer = read.map_err(|error| RunError::Invalid(format!("the answer: {error}")))?;
    let decide = Decide {
        decision: answer.decision,
        binding,
        note: answer.note.filter(|note| !note.is_empty()),
    };
    let (runtime, who, id) = (Arc::clone(runtime), who.clone(), question.to_owned());
    // It goes on when the client leaves.
    let work = async move { runtime.decide_approval(&who, &id, decide).await };
    match tokio::spawn(work).await {
        Ok(Ok(())) => Ok(Answered::Decided),
        // Somebody else was faster, or it is asked anew: what holds now is told.
        Ok(Err(RunError::NoQuestion(_) | RunError::ApprovalChanged(_))) => Ok(Answered::Decided),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(RunError::NotKept),
    }
}

impl Shown {
    /// The question's id.
    pub(crate) fn question(&self) -> &str {
        &self.question
    }

    /// Decides as the person said.
    pub(crate) async fn decide(
        self,
        runtime: &Arc<Runtime>,
        who: &Principal,
        result: ElicitResult,
    ) -> Result<Answered, RunError> {
        decide(runtime, who, &self.question, self.binding, result).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(text: &str) -> ApprovalView {
        let view = json!({
            "id": "run_1.0", "run": "run_1", "agent": "a", "text": text,
            "choices": ["approve", "deny"], "binding": "sha256:1",
            "role": "approver", "approvers": 1, "at_ms": 0,
        });
        serde_json::from_value(view).expect("a question")
    }

    fn who(name: &str) -> Principal {
        Principal {
            token_id: Some(name.to_owned()),
            ..Principal::local_admin(name)
        }
    }

    #[test]
    fn what_is_shown_hides_nothing_and_is_whole() {
        let question = Question::of(view("a\u{1b}[2Jb\u{202e}c\nd")).expect("a question");
        let text = serde_json::to_value(question.params()).expect("JSON");
        let message = text["message"].as_str().expect("text");
        assert!(message.contains("a\\u{1b}[2Jb\\u{202e}c\nd"), "{message}");
        assert_eq!(text["mode"], "form");
        for unseen in "\u{ad}\u{61c}\u{200b}\u{2028}\u{2066}\u{feff}\u{e0041}\u{e0100}".chars() {
            let shown = plain(&format!("a{unseen}b"));
            assert_eq!(shown, format!("a{}b", unseen.escape_unicode()));
        }
        let choices = &text["requestedSchema"]["properties"]["decision"]["enum"];
        assert_eq!(*choices, json!(["approve", "deny"]));
        let large = view(&"x".repeat(SHOWN_BYTES_MAX));
        assert!(Question::of(large).is_none());
    }

    #[test]
    fn a_state_is_for_whom_and_what_it_was_made() {
        let codec = RequestStateCodec::try_new([7; 32]).expect("a key");
        let (anna, ben) = (who("anna"), who("ben"));
        let asking = |who, tool| Asking {
            codec: &codec,
            who,
            tool,
        };
        let question = Question::of(view("May it?")).expect("a question");
        let required = question.required(&asking(&anna, "a"));
        let state = required.request_state.expect("a state");
        let shown = asking(&anna, "a").open(&state).expect("opens");
        assert_eq!((&*shown.run, &*shown.question), ("run_1", "run_1.0"));
        assert_eq!(shown.binding.as_deref(), Some("sha256:1"));
        let mut forged = state.clone();
        forged.insert(5, 'A');
        let refused = [
            asking(&ben, "a").open(&state),
            asking(&anna, "b").open(&state),
            asking(&anna, "a").open(&forged),
            asking(&anna, "a").open(""),
        ];
        for refused in refused {
            assert!(refused.is_err(), "{refused:?}");
        }
    }

    #[test]
    fn only_clients_that_can_show_a_form_are_asked() {
        let table = [
            (json!({}), false),
            (json!({ "elicitation": {} }), true),
            (json!({ "elicitation": { "form": {} } }), true),
            (json!({ "elicitation": { "form": {}, "url": {} } }), true),
            (json!({ "elicitation": { "url": {} } }), false),
        ];
        for (capabilities, expect) in table {
            let client = serde_json::from_value(capabilities.clone()).expect("capabilities");
            assert_eq!(can_ask(Some(&client)), expect, "{capabilities}");
        }
        assert!(!can_ask(None));
    }
}
