//! Words of an expression.

use super::{Fault, fault};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Int(i64),
    /// 2^63, which only a minus makes a number.
    IntMin,
    Float(f64),
    Text(String),
    Sign(&'static str),
    End,
}

const SIGNS: [&str; 24] = [
    "||", "&&", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}",
];

/// Each word with where it begins, and an end.
pub(super) fn words(text: &str) -> Result<Vec<(usize, Token)>, Fault> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if c.is_ascii_whitespace() {
            at += 1;
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else {
            let (token, len) = word(rest, c).map_err(|error| Fault {
                offset: at + error.offset,
                message: error.message,
            })?;
            found.push((at, token));
            at += len;
        }
    }
    found.push((text.len(), Token::End));
    Ok(found)
}

fn word(rest: &str, c: char) -> Result<(Token, usize), Fault> {
    if c.is_ascii_alphabetic() || c == '_' {
        let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let name = &rest[..len.unwrap_or(rest.len())];
        return Ok((Token::Name(name.to_owned()), name.len()));
    }
    let digit_follows = rest[c.len_utf8()..].starts_with(|c: char| c.is_ascii_digit());
    if c.is_ascii_digit() || (c == '.' && digit_follows) {
        return number(rest);
    }
    if c == '"' || c == '\'' {
        return text(rest, c);
    }
    match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        Some(sign) => Ok((Token::Sign(sign), sign.len())),
        None if c == '=' => fault(0, "`=` is no operator: compare with `==`"),
        None if c == '&' || c == '|' => fault(0, format!("`{c}` is no operator: write `{c}{c}`")),
        None => fault(0, format!("`{c}` means nothing here")),
    }
}

fn number(rest: &str) -> Result<(Token, usize), Fault> {
    let digits = |from: usize| {
        let tail = &rest[from..];
        from + tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_digit()).len()
    };
    let mut end = digits(0);
    let mut float = false;
    if rest[end..].starts_with('.') && digits(end + 1) > end + 1 {
        end = digits(end + 1);
        float = true;
    }
    if rest[end..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
        let last = digits(end + 1 + sign);
        if last > end + 1 + sign {
            end = last;
            float = true;
        }
    }
    if rest[end..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
        return fault(
            end,
            "a number ends here, and a name can't begin: put a space or an operator between",
        );
    }
    let text = &rest[..end];
    let token = match float {
        true => text
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .map(Token::Float),
        false if text == "9223372036854775808" => Some(Token::IntMin),
        false => text.parse().ok().map(Token::Int),
    };
    match token {
        Some(token) => Ok((token, end)),
        None => fault(0, "the number is too large"),
    }
}

fn text(rest: &str, quote: char) -> Result<(Token, usize), Fault> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\n' | '\r' => break,
            c if c == quote => return Ok((Token::Text(text), at + 1)),
            '\\' => text.push(escaped(at, &mut chars)?),
            c => text.push(c),
        }
    }
    fault(0, format!("the text has no end: close it with {quote}"))
}

fn escaped(at: usize, chars: &mut impl Iterator<Item = (usize, char)>) -> Result<char, Fault> {
    let unknown = || Fault {
        offset: at,
        message: "there is no such escape: write `\\\\` for a backslash".to_owned(),
    };
    let (_, c) = chars.next().ok_or_else(unknown)?;
    let digits = match c {
        'n' => return Ok('\n'),
        'r' => return Ok('\r'),
        't' => return Ok('\t'),
        '\\' | '"' | '\'' | '`' | '?' => return Ok(c),
        'u' => 4,
        'U' => 8,
        _ => return Err(unknown()),
    };
    let mut code = 0_u32;
    for _ in 0..digits {
        let digit = chars
            .next()
            .and_then(|(_, c)| c.to_digit(16))
            .ok_or_else(unknown)?;
        code = (code << 4) | digit;
    }
    char::from_u32(code).ok_or_else(unknown)
}
