//! Whatever a provider sends, reading it ends, panics nowhere and keeps its bounds.

use airlock_fuzz::{byte_damage, json_damage, text_damage};
use http::{HeaderMap, StatusCode};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::streams::{ALL, read};
use crate::answer::Event;
use crate::config::{Builtin, Config, Kind, Redaction};
use crate::protocol::{Parsed, answer, failure};
use crate::redact::{ConversationKey, Form, Pieces, Redactor, Search, Veil};
use crate::schema::{STEPS_MAX, Schema};
use crate::sse::SseParser;

const KINDS: [Kind; 3] = [Kind::OpenaiChat, Kind::OpenaiResponses, Kind::Anthropic];

/// What holds of everything that is taken for an answer.
fn is_sound(parsed: &Parsed) -> Result<(), TestCaseError> {
    prop_assert!(parsed.finish.is_some());
    let mut ids: Vec<&str> = parsed.calls.iter().map(|call| call.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    prop_assert_eq!(ids.len(), parsed.calls.len());
    prop_assert!(ids.iter().all(|id| !id.is_empty()));
    if let Some(usage) = parsed.usage {
        prop_assert!(usage.cached_tokens <= usage.input_tokens);
    }
    Ok(())
}

fn whole_answers() -> [Value; 3] {
    let call =
        json!({ "id": "i", "type": "function", "function": { "name": "a", "arguments": "{}" } });
    [
        json!({ "choices": [{ "index": 0, "message": { "content": "x", "tool_calls": [call] }, "finish_reason": "tool_calls" }], "usage": { "prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": { "cached_tokens": 1 } } }),
        json!({ "status": "completed", "output": [{ "type": "message", "content": [{ "type": "output_text", "text": "x" }] }, { "type": "function_call", "call_id": "i", "name": "a", "arguments": "{}" }], "usage": { "input_tokens": 1, "output_tokens": 2 } }),
        json!({ "content": [{ "type": "text", "text": "x" }, { "type": "tool_use", "id": "i", "name": "a", "input": {} }], "stop_reason": "tool_use", "usage": { "input_tokens": 1, "output_tokens": 2 } }),
    ]
}

proptest! {
    #![proptest_config(airlock_fuzz::cases(300))]

    #[test]
    fn fuzz_events_are_the_same_however_they_are_divided(
        bytes in vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b':'), Just(b'd'), any::<u8>()], 0..200),
        cuts in vec(1_usize..9, 1..20),
    ) {
        let mut whole = SseParser::new(64);
        let expected = whole.push(&bytes);
        let mut parser = SseParser::new(64);
        let (mut events, mut rest, mut failed) = (Vec::new(), bytes.as_slice(), None);
        for cut in cuts.iter().cycle() {
            if rest.is_empty() || failed.is_some() {
                break;
            }
            let (piece, more) = rest.split_at(rest.len().min(*cut));
            rest = more;
            match parser.push(piece) {
                Ok(more) => events.extend(more),
                Err(error) => failed = Some(error),
            }
        }
        match (expected, failed) {
            (Ok(expected), None) => prop_assert_eq!(expected, events),
            (expected, failed) => prop_assert_eq!(expected.err(), failed),
        }
    }

    #[test]
    fn fuzz_a_damaged_stream_is_read_or_refused(damage in byte_damage(), which in 0..3_usize, each in 1..200_usize) {
        let (kind, text) = ALL[which];
        let (told, parsed) = read(kind, &damage.to(text.as_bytes()), each);
        if let Ok(parsed) = parsed {
            is_sound(&parsed)?;
            let said: String = told.iter().filter_map(|event| match event {
                Event::Text { text } => Some(text.as_str()),
                _ => None,
            }).collect();
            prop_assert_eq!(said, parsed.text);
        }
    }

    #[test]
    fn fuzz_a_damaged_answer_is_read_or_refused(damage in json_damage(), bytes in byte_damage(), which in 0..3_usize) {
        let value = &whole_answers()[which];
        for body in [damage.to(value).to_string().into_bytes(), bytes.to(value.to_string().as_bytes())] {
            if let Ok(parsed) = answer(KINDS[which], &body) {
                is_sound(&parsed)?;
            }
        }
    }

    #[test]
    fn fuzz_any_refusal_has_a_bounded_meaning(status in 100_u16..600, body in prop_oneof![vec(any::<u8>(), 0..300), "\\PC{0,900}".prop_map(|text| json!({ "error": { "message": text } }).to_string().into_bytes())], wait in "\\PC{0,12}") {
        let status = StatusCode::from_u16(status).expect("a status");
        let mut headers = HeaderMap::new();
        if let Ok(value) = wait.parse() {
            headers.insert("retry-after", value);
        }
        let failed = failure::of_response(status, &headers, &body, std::time::SystemTime::now());
        let redactor = Redactor::new(&Redaction::default(), "").expect("patterns");
        let failed = Search::new(&[], None).told(&redactor, failed);
        let text = failed.error.to_string();
        prop_assert!(text.len() < 600 && !text.chars().any(char::is_control), "{}", text);
    }

    #[test]
    fn fuzz_what_is_redacted_comes_back(texts in vec("([a-z]{1,5}@[a-z]{2,5}\\.de|\\+49 30 1234567|4111111111111111|\\[email-|[ \\[\\]a-z\"]{0,6}){0,5}", 1..4), each in 1..20_usize) {
        let config = Redaction { patterns: Builtin::ALL.to_vec(), patterns_file: None, reversible: true };
        let redactor = Redactor::new(&config, "").expect("patterns");
        let key = ConversationKey::new([3; 32]);
        let mut veil = Veil::new(&redactor, &key, &[]);
        let veiled: Vec<String> = texts.iter().map(|text| veil.text(text)).collect();
        let restorer = veil.restorer();
        for (text, veiled) in texts.iter().zip(veiled) {
            // JSON in which something was found is written anew.
            if serde_json::from_str::<Value>(text).is_ok() {
                continue;
            }
            prop_assert_eq!(&restorer.whole(&veiled, Form::Text), text);
            let (mut pieces, mut out) = (Pieces::default(), String::new());
            let chars: Vec<char> = veiled.chars().collect();
            for piece in chars.chunks(each) {
                out += &restorer.piece(&mut pieces, &piece.iter().collect::<String>(), Form::Text);
            }
            out += &pieces.end();
            prop_assert_eq!(&out, text);
        }
    }

    #[test]
    fn fuzz_any_schema_is_used_or_refused(schema in json_damage(), value in json_damage()) {
        let base = json!({ "$defs": { "a": { "type": ["string", "null"], "maxLength": 3 } }, "type": "object", "properties": { "x": { "$ref": "#/$defs/a" }, "y": { "items": { "anyOf": [{ "minimum": 1 }, { "enum": ["b"] }] }, "uniqueItems": true } }, "required": ["x"], "additionalProperties": false, "if": { "const": 1 }, "then": false });
        if let Ok(compiled) = Schema::compile(&schema.to(&base).to_string()) {
            let _ = compiled.check(&value.to(&json!({ "x": "abc", "y": [1, "b", null] })), &mut { STEPS_MAX });
        }
    }

    #[test]
    fn fuzz_any_configuration_is_used_or_refused(damage in text_damage(), patterns in "\\PC{0,60}") {
        let text = "currency = \"USD\"\n[providers.p]\nkind = \"openai-chat\"\nbase_url = \"https://a.test/v1\"\nkey = \"k\"\n[models.m]\nprovider = \"p\"\nid = \"i\"\ncontext_tokens = 100\noutput_tokens_max = 10\nprices = { input = \"0.1\", output = \"2\" }\n[roles.fast]\nmodels = [\"m\"]\n";
        if let Ok(config) = Config::from_toml(&damage.to(text)) {
            prop_assert!(config.check().is_ok());
        }
        let _ = Redactor::new(&Redaction::default(), &patterns);
    }
}
