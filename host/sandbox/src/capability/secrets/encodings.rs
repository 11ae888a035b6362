//! The forms in which a server may send a value back.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// Shorter forms are too common in other text to be looked for.
const FORM_BYTES_MIN: usize = 4;

/// The value itself and its common encodings, each once.
pub(super) fn encodings(value: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut forms = BTreeSet::new();
    let mut add = |form: Vec<u8>| {
        if form.len() >= FORM_BYTES_MIN {
            forms.insert(form);
        }
    };
    add(value.to_vec());
    add(value.iter().rev().copied().collect());
    add(value.to_ascii_lowercase());
    add(value.to_ascii_uppercase());
    percent_forms(value).into_iter().for_each(&mut add);
    base64_forms(value).into_iter().for_each(&mut add);
    text_forms(value).into_iter().for_each(&mut add);
    forms.into_iter().map(Zeroizing::new).collect()
}

/// Escapes every byte of `value` that `keep` does not name, as `%XX`.
pub(crate) fn percent(value: &[u8], keep: &str, upper: bool) -> Vec<u8> {
    let mut form = Vec::with_capacity(value.len() * 3);
    for byte in value {
        if byte.is_ascii_alphanumeric() && !keep.is_empty() || keep.as_bytes().contains(byte) {
            form.push(*byte);
        } else if upper {
            form.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            form.extend_from_slice(format!("%{byte:02x}").as_bytes());
        }
    }
    form
}

/// What RFC 3986 leaves as it is.
pub(crate) const UNRESERVED: &str = "-._~";

fn percent_forms(value: &[u8]) -> Vec<Vec<u8>> {
    // RFC 3986; encodeURIComponent; encodeURI; a URL's query; nothing kept.
    let kept = [
        UNRESERVED,
        "-_.!~*'()",
        "-_.!~*'();/?:@&=+$,#",
        "-._~!$&()*+,;=:@/?[]^`{|}\\",
        "-._*",
        "",
    ];
    let mut forms = Vec::new();
    for (keep, upper) in kept.iter().flat_map(|keep| [(keep, true), (keep, false)]) {
        let form = percent(value, keep, upper);
        forms.push(percent(&form, UNRESERVED, true));
        let text = String::from_utf8_lossy(&form);
        forms.push(text.replace("%20", "+").into_bytes());
        forms.push(form);
    }
    forms
}

/// Base64 at each of the three places in a group of bytes at which the value can
/// begin, without the characters that depend on what stands beside it, and as it
/// ends where nothing follows.
fn base64_forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for (offset, skip) in [(0, 0), (1, 2), (2, 3)] {
        let mut bytes = Zeroizing::new(vec![0; offset]);
        bytes.extend_from_slice(value);
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = engine.encode(&*bytes);
            let rim = usize::from(bytes.len() % 3 != 0);
            // What stands beside it may also be nothing.
            for cut in [0, rim] {
                let form = &text[skip.min(text.len())..text.len() - cut];
                forms.push(percent(form.as_bytes(), UNRESERVED, true));
                forms.push(percent(form.as_bytes(), UNRESERVED, false));
                forms.push(form.replace('/', "\\/").into_bytes());
                forms.push(form.as_bytes().to_vec());
            }
        }
    }
    forms
}

fn text_forms(value: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(value);
    let json = serde_json::to_string(&text).unwrap_or_default();
    let json = json.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned();
    let units: Vec<u16> = text.encode_utf16().collect();
    let hex = |upper: bool| {
        let digits = |byte: &u8| match upper {
            true => format!("{byte:02X}"),
            false => format!("{byte:02x}"),
        };
        value.iter().map(digits).collect::<String>().into_bytes()
    };
    vec![
        hex(true),
        hex(false),
        json.replace('/', "\\/").into_bytes(),
        escape_units(&units, |_| false, false),
        escape_units(&units, |_| false, true),
        escape_units(&units, |c| c.is_ascii_alphanumeric(), false),
        escape_units(&units, |c| c.is_ascii_alphanumeric(), true),
        escape_units(&units, |c| c.is_ascii() && !"<>&'\"+\\".contains(c), false),
        escape_units(&units, |c| c.is_ascii() && !"<>&'\"+\\".contains(c), true),
        json.into_bytes(),
        text.chars().rev().collect::<String>().into_bytes(),
        html(&text, "&#39;", "&quot;"),
        html(&text, "&#x27;", "&#34;"),
        html(&text, "'", "&quot;"),
        html(&text, "'", "\""),
        units.iter().flat_map(|unit| unit.to_le_bytes()).collect(),
        units.iter().flat_map(|unit| unit.to_be_bytes()).collect(),
    ]
}

/// JSON with everything but what `keep` accepts as `\uXXXX`.
fn escape_units(units: &[u16], keep: impl Fn(char) -> bool, upper: bool) -> Vec<u8> {
    let mut form = String::new();
    for unit in units {
        match char::from_u32(u32::from(*unit)).filter(|c| keep(*c)) {
            Some(c) => form.push(c),
            None if upper => form.push_str(&format!("\\u{unit:04X}")),
            None => form.push_str(&format!("\\u{unit:04x}")),
        }
    }
    form.into_bytes()
}

fn html(text: &str, apostrophe: &str, quote: &str) -> Vec<u8> {
    let form = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    form.replace('\'', apostrophe).replace('"', quote).into_bytes()
}
