//! Server-sent events.

use crate::sse::{SseError, SseEvent, SseParser};

fn event(name: &str, data: &str) -> SseEvent {
    SseEvent {
        name: name.to_owned(),
        data: data.to_owned(),
    }
}

/// All events of a stream, whose bytes come in pieces of one size.
fn read(bytes: &[u8], each: usize) -> Result<Vec<SseEvent>, SseError> {
    let mut parser = SseParser::new(1_000);
    let mut events = Vec::new();
    for piece in bytes.chunks(each) {
        events.extend(parser.push(piece)?);
    }
    Ok(events)
}

#[test]
fn streams_are_read_however_they_are_divided() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("", &[]),
        ("data: a\n\n", &[("", "a")]),
        ("data: a\r\n\r\n", &[("", "a")]),
        ("data: a\r\r", &[("", "a")]),
        (
            "data: a\n\ndata: b\r\n\r\ndata: c\r\r",
            &[("", "a"), ("", "b"), ("", "c")],
        ),
        ("data:a\n\n", &[("", "a")]),
        ("data:  a\n\n", &[("", " a")]),
        ("data: a\ndata: b\ndata\ndata:\n\n", &[("", "a\nb\n\n")]),
        ("data\n\n", &[("", "")]),
        ("event: x\ndata: a\n\ndata: b\n\n", &[("x", "a"), ("", "b")]),
        ("event: x\n\ndata: b\n\n", &[("", "b")]),
        (": comment\n\n: another\ndata: a\n\n", &[("", "a")]),
        ("id: 1\nretry: 5\nfoo: bar\nbar\ndata: a\n\n", &[("", "a")]),
        ("\u{feff}data: a\n\n", &[("", "a")]),
        ("data: a\n\n\u{feff}data: b\n\n", &[("", "a")]),
        ("data: a: b\n\n", &[("", "a: b")]),
        ("data: é🎉\n\n", &[("", "é🎉")]),
        ("data: whole\n\ndata: not ended", &[("", "whole")]),
        ("data: whole\n\ndata: not ended\n", &[("", "whole")]),
    ];
    for (text, expected) in cases {
        let expected: Vec<SseEvent> = expected
            .iter()
            .map(|(name, data)| event(name, data))
            .collect();
        for each in [1, 2, 3, 7, 1_000] {
            assert_eq!(
                read(text.as_bytes(), each),
                Ok(expected.clone()),
                "{text:?} by {each}"
            );
        }
    }
}

#[test]
fn what_grows_without_end_or_is_no_text_is_refused() {
    let line = format!("data: {}", "x".repeat(2_000));
    let event = "data: 12345678\n".repeat(200);
    for text in [line.as_bytes(), event.as_bytes()] {
        for each in [1, 64, 5_000] {
            assert_eq!(read(text, each), Err(SseError::TooLarge(1_000)));
        }
    }
    assert_eq!(read(b"data: \xff\n\n", 1), Err(SseError::NotUtf8));
}
