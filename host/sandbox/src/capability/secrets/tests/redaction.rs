//! What is found in answers, in whatever form and frames it comes, and what is
//! held back meanwhile.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use crate::capability::secrets::secret::VALUE_BYTES_MAX;
use crate::capability::secrets::{Matcher, Redactor, Secret};

const VALUE: &str = "pa$$ w/o+rd?é<\"'&>\\";

/// What redaction makes of `text`, taken in parts of `size` bytes.
fn redact(text: &[u8], size: usize) -> Vec<u8> {
    redact_value(VALUE, text, size)
}

fn redact_value(value: &str, text: &[u8], size: usize) -> Vec<u8> {
    let mut redactor = Redactor::new(Arc::new(Matcher::new([&Secret::new(value)])));
    let mut out = Vec::new();
    for part in text.chunks(size) {
        out.extend_from_slice(&redactor.push(part));
    }
    out.extend_from_slice(&redactor.finish());
    out
}

/// `value` with each character written by `write`.
fn written(value: &str, write: impl FnMut(char) -> String) -> String {
    value.chars().map(write).collect()
}

/// `value` with each character that `plain` does not accept written by `write`.
fn but(value: &str, plain: &str, write: impl Fn(char) -> String) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || plain.contains(c);
    written(value, |c| if keep(c) { c.into() } else { write(c) })
}

fn bytes_as(c: char, write: impl Fn(u8) -> String) -> String {
    c.to_string().bytes().map(write).collect()
}

/// What formats make of `value`, named.
fn formats(value: &str) -> Vec<(&'static str, String)> {
    let url = |c| bytes_as(c, |byte| format!("%{byte:02X}"));
    let units = |c: char| -> String {
        c.encode_utf16(&mut [0; 2])
            .iter()
            .map(|unit| format!("\\u{unit:04x}"))
            .collect()
    };
    let pairs = |between: &str| {
        value
            .bytes()
            .map(|byte| format!("{byte:02X}"))
            .collect::<Vec<_>>()
            .join(between)
    };
    let json = serde_json::to_string(value)
        .unwrap()
        .trim_matches('"')
        .to_owned();
    vec![
        ("quote of Python", but(value, "/-._~", url)),
        ("quote of Python, a path and a sign", but(value, "/+", url)),
        (
            "the sign alone",
            written(value, |c| if c == '+' { "%2B".into() } else { c.into() }),
        ),
        (
            "twice",
            but(value, "/", |c| {
                but(&url(c), "", |c| format!("%{:02x}", u32::from(c)))
            }),
        ),
        (
            "%u",
            but(value, "", |c| {
                written(&units(c), |c| if c == '\\' { '%' } else { c }.into())
            }),
        ),
        (
            "json of Go",
            json.replace('<', "\\u003c")
                .replace('>', "\\u003e")
                .replace('&', "\\u0026"),
        ),
        (
            "json in json",
            serde_json::to_string(&format!("x{json}x")).unwrap()[2..]
                .strip_suffix("x\"")
                .unwrap()
                .to_owned(),
        ),
        (
            "json of a quoted path",
            but(value, "/", url).replace('/', "\\/"),
        ),
        (
            "html, decimal",
            but(value, "", |c| format!("&#{};", u32::from(c))),
        ),
        (
            "html, zeros",
            but(value, "", |c| format!("&#0{};", u32::from(c))),
        ),
        (
            "html, hexadecimal",
            but(value, "", |c| format!("&#x{:X};", u32::from(c))),
        ),
        (
            "html, numbers alone",
            written(value, |c| format!("&#{};", u32::from(c))),
        ),
        (
            "html, the sign alone",
            value.replace('&', "&amp;").replace('+', "&#43;"),
        ),
        (
            "html, names",
            value
                .replace('&', "&amp;")
                .replace('/', "&sol;")
                .replace('=', "&equals;"),
        ),
        ("html in json", json.replace('&', "\\u0026amp;")),
        ("csv", value.replace('"', "\"\"")),
        ("sql", value.replace('\'', "''")),
        (
            "quoted-printable",
            but(value, "/+", |c| bytes_as(c, |byte| format!("={byte:02X}"))),
        ),
        (
            "quoted-printable, cut",
            but(value, "", |c| bytes_as(c, |b| format!("={b:02X}=\r\n")))
                .trim_end_matches("=\r\n")
                .to_owned(),
        ),
        ("hexadecimal", pairs("")),
        ("hexadecimal, colons", pairs(":")),
        ("hexadecimal, spaces", pairs(" ")),
        ("hexadecimal, dump", pairs(", 0x")),
        ("\\x", pairs("\\x")),
        (
            "\\x of some",
            but(value, "", |c| bytes_as(c, |byte| format!("\\x{byte:02x}"))),
        ),
        (
            "octal",
            but(value, "", |c| bytes_as(c, |byte| format!("\\{byte:03o}"))),
        ),
        ("\\u", written(value, units)),
        (
            "\\u{}",
            but(value, "", |c| format!("\\u{{{:x}}}", u32::from(c))),
        ),
        ("capitals", but(&value.to_ascii_uppercase(), "", url)),
    ]
}

#[test]
fn whichever_bytes_a_format_escapes_nothing_stays() {
    let tricky = "100%41 &amp; \\u0041=41 00";
    for value in [
        "s3cr3t/+Value=",
        "q\"uo't\\e<d>&",
        "ä€😀/+kéy",
        "0123456789/+",
        tricky,
    ] {
        for (format, text) in formats(value) {
            let expected = format!("<{}>", "*".repeat(text.len()));
            for size in [1, 3, 7, 1000] {
                let masked = redact_value(value, format!("<{text}>").as_bytes(), size);
                assert_eq!(
                    String::from_utf8_lossy(&masked),
                    expected,
                    "{format}: {text}"
                );
            }
        }
    }
}

/// Base32 as the standard's own example gives it: "foobar".
#[test]
fn bases_are_masked_wherever_the_value_begins() {
    for (text, masked) in [
        ("<MZXW6YTBOI======>", "<**********======>"),
        ("<mzxw6ytboi>", "<**********>"),
    ] {
        assert_eq!(
            redact_value("foobar", text.as_bytes(), 3),
            masked.as_bytes()
        );
    }
    let wide: Vec<u8> = VALUE.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let texts = [STANDARD_NO_PAD.encode(&wide), URL_SAFE_NO_PAD.encode(&wide)];
    for text in texts {
        assert_eq!(redact(text.as_bytes(), 5), vec![b'*'; text.len()]);
        for end in ["\r\n", "\n", "\\n"] {
            let cut = format!("{}{end}{}", &text[..9], &text[9..]);
            assert_eq!(redact(cut.as_bytes(), 5), vec![b'*'; cut.len()], "{cut}");
        }
    }
}

/// Whatever comes, so much of it and no more.
#[test]
fn little_is_held_back() {
    let secret = Secret::new("s3cr3t/+Value=");
    let matcher = Arc::new(Matcher::new([&secret]));
    const FRAME: usize = 300;
    for filler in [
        " ", "=\r\n", "\n", "%25", "&#0", "&", "\\u", "\"", "73 ", "s3cr3t/", "0x",
    ] {
        let mut redactor = Redactor::new(Arc::clone(&matcher));
        let text = format!("73 {}", filler.repeat(2000));
        let frames = text.as_bytes().chunks(FRAME);
        let passed: usize = frames.map(|frame| redactor.push(frame).len()).sum();
        let held = text.len() - passed;
        assert_eq!(held as u64, matcher.held_bytes(), "{filler:?}");
        assert!(held < 1 << 10, "{held}");
        assert_eq!(passed + redactor.finish().len(), text.len());
    }
}

/// The longest value, in the longest form that is read.
#[test]
fn what_is_held_back_has_a_bound() {
    let value: String = ('a'..='z').cycle().take(VALUE_BYTES_MAX).collect();
    let matcher = Matcher::new([&Secret::new(value)]);
    assert!(matcher.held_bytes() <= 64 << 10, "{}", matcher.held_bytes());
}

/// The lengths of the parts in which `text` is passed on that comes in frames of
/// `size` bytes.
fn parts(matcher: &Arc<Matcher>, text: &[u8], size: usize) -> Vec<usize> {
    let mut redactor = Redactor::new(Arc::clone(matcher));
    let mut parts: Vec<usize> = text
        .chunks(size)
        .map(|part| redactor.push(part).len())
        .collect();
    parts.push(redactor.finish().len());
    parts
}

/// A value's character in the longest escapes, also one inside another, and with
/// what is dropped behind it.
const LONG: [fn(char) -> String; 5] = [
    |c| written(&format!("&#x{:010x};", u32::from(c)), braced),
    |c| braced(c) + &braced('\n').repeat(8),
    |c| bytes_as(c, |byte| format!("={byte:02X}")) + &"=\r\n".repeat(8),
    |c| format!("{c}{}", "\n".repeat(8)),
    |c| format!("&#{:011};", u32::from(c)),
];

fn braced(c: char) -> String {
    format!("\\u{{{:010x}}}", u32::from(c))
}

/// A server that repeats what it was asked is no oracle: a guess that begins the
/// value, or one of the forms it is looked for in, comes back as any other text.
#[test]
fn what_is_held_back_does_not_tell_what_it_is() {
    let value = "sk_live_0123456789/abcdefghij+ABC";
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![
        value.to_owned(),
        value.chars().rev().collect(),
        STANDARD.encode(value),
        hex,
    ];
    forms.extend(formats(value).into_iter().map(|(_, text)| text));
    forms.extend(LONG.map(|write| written(value, write)));
    let matcher = Arc::new(Matcher::new([&Secret::new(value)]));
    let before = "No results for ".repeat(80);
    let mut checked = 0;
    for (form, size) in forms
        .iter()
        .flat_map(|form| [1, 2, 3, 7, 20, 64, 1000].map(|size| (form, size)))
    {
        // Each frame ends another beginning of the form.
        let text = format!("{before}{}\\&%", &form[..form.len() - 1]);
        let other = "_".repeat(text.len());
        let [found, expected] =
            [text.as_bytes(), other.as_bytes()].map(|text| parts(&matcher, text, size));
        assert!(expected[..expected.len() - 1].iter().any(|part| *part > 0));
        assert_eq!(found, expected, "{form} in frames of {size}");
        checked += found.len();
    }
    assert!(checked > 10_000, "{checked}");
}

#[test]
fn common_encodings_are_masked() {
    let bytes = VALUE.as_bytes();
    let hex = |upper: bool| -> String {
        let digits = bytes.iter().map(|b| {
            if upper {
                format!("{b:02X}")
            } else {
                format!("{b:02x}")
            }
        });
        digits.collect()
    };
    let json = serde_json::to_string(VALUE).unwrap();
    let escaped: String = VALUE
        .encode_utf16()
        .map(|unit| format!("\\u{unit:04x}"))
        .collect();
    let mut texts = vec![
        VALUE.to_owned(),
        url::form_urlencoded::byte_serialize(bytes).collect(),
        url::form_urlencoded::byte_serialize(bytes)
            .collect::<String>()
            .replace('+', "%20"),
        bytes.iter().map(|b| format!("%{b:02X}")).collect(),
        bytes.iter().map(|b| format!("%{b:02x}")).collect(),
        url::Url::parse(&format!("http://a/?{VALUE}"))
            .unwrap()
            .query()
            .unwrap()
            .to_owned(),
        hex(true),
        hex(false),
        json.trim_matches('"').to_owned(),
        json[1..json.len() - 1].to_owned(),
        json[1..json.len() - 1].replace('/', "\\/"),
        VALUE.chars().rev().collect(),
        VALUE.to_ascii_uppercase(),
        VALUE
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;"),
    ];
    texts.push(escaped);
    for before in ["", "u", "us", "usr:"] {
        let text = format!("{before}{VALUE}");
        for after in ["", "x", "xy", "xyz"] {
            let text = format!("{text}{after}");
            texts.push(STANDARD.encode(&text));
            texts.push(STANDARD_NO_PAD.encode(&text));
            texts.push(URL_SAFE.encode(&text));
            texts.push(URL_SAFE_NO_PAD.encode(&text));
        }
    }
    for text in &texts[1..] {
        let masked = redact(format!("<<{text}>>").as_bytes(), 7);
        let masked = String::from_utf8_lossy(&masked);
        assert_eq!(masked.len(), text.len() + 4);
        let stars = masked.matches('*').count();
        // All but the up to six characters at the rim that depend on the neighbours.
        assert!(stars + 16 >= text.len() && stars > 8, "{text}: {masked}");
    }
    // Alone, nothing of it stays: not the bits in the last character either.
    for alone in [STANDARD_NO_PAD.encode(VALUE), URL_SAFE_NO_PAD.encode(VALUE)] {
        assert_eq!(
            redact(alone.as_bytes(), 5),
            vec![b'*'; alone.len()],
            "{alone}"
        );
    }
    let wide: Vec<u8> = VALUE.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(redact(&wide, 3), vec![b'*'; wide.len()]);
}

/// Nothing but a whole value is masked, wherever an answer ends: else whoever
/// knows how a value begins would have it told which character is the next.
#[test]
fn the_beginning_of_a_value_comes_back_as_any_other_text() {
    let value = "sk_live_0123456789/abcdefghij+ABC";
    for form in [
        value.to_owned(),
        value.chars().rev().collect(),
        STANDARD.encode(value),
        value.bytes().map(|byte| format!("{byte:02x}")).collect(),
        written(value, |c| format!("&#{:011};", u32::from(c))),
    ] {
        for end in 1..form.len() {
            for size in [5, 1000] {
                let passed = redact_value(value, &form.as_bytes()[..end], size);
                assert_eq!(String::from_utf8_lossy(&passed), form[..end]);
            }
        }
        let whole = redact_value(value, form.as_bytes(), 5);
        assert_eq!(whole, vec![b'*'; form.len()], "{form}");
    }
}

/// A value is found as far as its formats spread it, in whatever frames; one that
/// is spread further is not, and hides none behind it.
#[test]
fn a_value_is_found_within_its_span() {
    let value: String = ('a'..='z').cycle().take(60).collect();
    let stars = "*".repeat(value.len());
    for size in [1, 7, 500, 10_000] {
        let found = written(&value, |c| format!("\\U{:08x}", u32::from(c)));
        let masked = redact_value(&value, found.as_bytes(), size);
        assert_eq!(masked, vec![b'*'; found.len()], "frames of {size}");
        for write in &LONG[..3] {
            let (begun, rest) = value.split_at(30);
            let begun = written(begun, write);
            for after in [rest, &value] {
                let text = format!("{begun}{after}");
                let expected = text.replace(&value, &stars);
                let masked = redact_value(&value, text.as_bytes(), size);
                assert_eq!(
                    String::from_utf8_lossy(&masked),
                    expected,
                    "frames of {size}"
                );
            }
        }
    }
}

/// Bodies of 64 KiB and how often a byte of them may be taken apart, over all ways
/// of reading.
#[test]
fn most_of_an_answer_is_passed_over() {
    const BODY: usize = 64 << 10;
    let prose = "The quick brown fox, 12 years old, jumps over the lazy dog. ";
    let json = r#"{"id": 10457, "name": "Contract A-77", "paid": false, "sum": 1299.50}, "#;
    let base64 = STANDARD.encode((0..=255).collect::<Vec<u8>>());
    let html = "<li><a href=\"/c/10457?x=1&amp;y=2\">Contract&nbsp;A&#45;77</a></li>\n";
    let secrets = [
        "sk_live_0123456789/abcdefghij+ABC",
        "correct horse battery",
        "Zm9vYmFyLWJheg.x-y",
    ];
    let secrets = secrets.map(Secret::new);
    let matcher = Arc::new(Matcher::new(&secrets));
    let all = Redactor::new(Arc::clone(&matcher)).ways();
    for (name, text, most) in [
        ("prose", prose, 2.0),
        ("json", json, 4.0),
        ("html", html, 6.0),
        ("base64", &base64, 3.0),
        ("ampersands", "&a", all as f64),
        ("the beginning", "sk_live_01234567", all as f64),
    ] {
        let body = text.repeat(BODY.div_ceil(text.len()));
        let mut redactor = Redactor::new(Arc::clone(&matcher));
        let passed: usize = body
            .as_bytes()
            .chunks(8 << 10)
            .map(|part| redactor.push(part).len())
            .sum();
        let each = redactor.read() as f64 / body.len() as f64;
        assert!(each <= most, "{name}: {each:.2} times each byte");
        assert_eq!(passed + redactor.finish().len(), body.len());
    }
}

mod fuzz {
    use proptest::prelude::*;

    use super::*;

    /// Held back of any answer, for a value as short as [`VALUE`].
    const HELD: usize = 512 + 195;

    proptest! {
        #![proptest_config(airlock_fuzz::cases(256))]

        #[test]
        fn frames_make_no_difference(
            parts in prop::collection::vec(
                prop_oneof![
                    Just(VALUE.to_owned()),
                    Just(STANDARD.encode(VALUE)),
                    Just("pa$$".to_owned()),
                    Just("pa$$ w/o+rd".to_owned()),
                    "[a-zA-Z$ /%&]{0,10}",
                ],
                0..8,
            ),
            size in 1..20_usize,
        ) {
            let text = parts.concat();
            let whole = redact(text.as_bytes(), usize::MAX);
            prop_assert_eq!(&redact(text.as_bytes(), size), &whole);
            prop_assert_eq!(whole.len(), text.len());
            prop_assert!(!whole.windows(VALUE.len()).any(|window| window == VALUE.as_bytes()));
        }

        /// Each character in a form of its own choosing, all of one syntax.
        #[test]
        fn mixed_forms_are_masked(
            syntax in 0..4_usize,
            choices in prop::collection::vec(0..4_usize, VALUE.len()),
            size in 1..20_usize,
        ) {
            let code = |c: char| u32::from(c);
            let forms = |c: char| match syntax {
                0 => [c.into(), bytes_as(c, |b| format!("%{b:02X}")), bytes_as(c, |b| format!("%{b:02x}"))],
                1 => [format!("&#{};", code(c)), format!("&#x{:x};", code(c)), format!("&#00{};", code(c))],
                2 => [format!("\\u{:04x}", code(c)), format!("\\u{:04X}", code(c)), format!("\\u{{{:x}}}", code(c))],
                _ => [c.into(), bytes_as(c, |b| format!("={b:02X}")), bytes_as(c, |b| format!("={b:02x}"))],
            };
            let mut choices = choices.into_iter();
            let text = written(VALUE, |c| match choices.next() {
                Some(choice @ 0..3) => forms(c)[choice].clone(),
                _ if syntax == 2 && c == '\\' => "\\\\".into(),
                _ => c.into(),
            });
            prop_assert_eq!(redact(text.as_bytes(), size), vec![b'*'; text.len()], "{}", text);
        }

        /// How much is passed on follows from lengths alone, and beginnings of the
        /// value stay, whatever form and frames they come in.
        #[test]
        fn beginnings_come_back_as_any_other_text(
            guesses in prop::collection::vec((0..16_usize, 0..9_usize, 0..200_usize), 1..6),
            sizes in prop::collection::vec(1..900_usize, 1..8),
        ) {
            let short: [fn(char) -> String; 4] = [
                |c| c.into(),
                |c| bytes_as(c, |byte| format!("%{byte:02x}")),
                |c| format!("&#{};", u32::from(c)),
                |c| format!("\\u{:04x}", u32::from(c)),
            ];
            let forms = [&short[..], &LONG[..]].concat();
            let guess = |(end, form, after): &(usize, usize, usize)| {
                let begun: String = VALUE.chars().take(*end).collect();
                written(&begun, forms[*form]) + &"_".repeat(*after)
            };
            let text: String = guesses.iter().map(guess).collect();
            let matcher = Arc::new(Matcher::new([&Secret::new(VALUE)]));
            let mut redactor = Redactor::new(Arc::clone(&matcher));
            let (mut rest, mut passed) = (text.as_bytes(), Vec::new());
            for size in sizes.iter().cycle() {
                let (frame, after) = rest.split_at(rest.len().min(*size));
                passed.extend_from_slice(&redactor.push(frame));
                rest = after;
                let settled = (text.len() - rest.len()).saturating_sub(HELD);
                prop_assert_eq!(passed.len(), settled);
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(matcher.held_bytes(), HELD as u64);
            passed.extend_from_slice(&redactor.finish());
            prop_assert_eq!(String::from_utf8_lossy(&passed), text);
        }

        #[test]
        fn other_text_is_left_as_it_is(text in "[bcdefg0-5 .,\\n]{0,200}", size in 1..50_usize) {
            prop_assert_eq!(redact(text.as_bytes(), size), text.as_bytes());
        }
    }
}
