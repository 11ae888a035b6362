//! Names of tools: from `operationId`, else from method and path. The same document
//! always gives the same names, and no two operations share one.

use crate::limits::NAME_CHARS_MAX;

/// `listOrders` is `list_orders`.
pub(crate) fn of_id(id: &str) -> Option<String> {
    let mut made = String::new();
    let mut before = ' ';
    let mut rest = id.chars().peekable();
    while let Some(c) = rest.next() {
        if c.is_ascii_alphanumeric() {
            let after_small = before.is_ascii_lowercase() || before.is_ascii_digit();
            // `getHTTPStatus` is `get_http_status`.
            let ends_capitals =
                before.is_ascii_uppercase() && rest.peek().is_some_and(char::is_ascii_lowercase);
            if c.is_ascii_uppercase() && (after_small || ends_capitals) {
                made.push('_');
            }
            made.push(c.to_ascii_lowercase());
        } else if c == '-' {
            made.push('-');
        } else if !made.ends_with('_') {
            made.push('_');
        }
        before = c;
    }
    fitted(&made)
}

/// `GET /orders/{id}` is `get_orders_by_id`.
pub(crate) fn of_path(method: &str, path: &str) -> Option<String> {
    let mut made = method.to_ascii_lowercase();
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        made.push('_');
        let segment = segment.replace('{', "by_").replace('}', "_");
        made.push_str(&segment);
    }
    of_id(&made)
}

/// Not too long, and with a letter at its beginning.
fn fitted(text: &str) -> Option<String> {
    let trimmed = text.trim_matches(['_', '-']);
    let mut name = trimmed.to_owned();
    if trimmed.is_empty() {
        return None;
    }
    if !trimmed.starts_with(|c: char| c.is_ascii_lowercase()) {
        name = format!("op_{trimmed}");
    }
    if name.len() > NAME_CHARS_MAX {
        let digest = fnv(&name);
        name.truncate(NAME_CHARS_MAX - 9);
        name = format!("{}_{:08x}", name.trim_end_matches(['_', '-']), digest);
    }
    Some(name)
}

/// FNV-1a, so that long names that begin alike stay apart.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// A property's name that callers of all kinds can write.
pub(crate) fn property(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut made = String::new();
    for c in name.chars() {
        match plain(c) {
            true => made.push(c),
            false if made.ends_with('_') => {}
            false => made.push('_'),
        }
    }
    let made = made.trim_matches('_');
    let made: String = made.chars().take(NAME_CHARS_MAX).collect();
    match made.is_empty() {
        true => "value".to_owned(),
        false => made,
    }
}

/// A secret's name.
pub(crate) fn secret(text: &str) -> String {
    let plain = of_id(text).unwrap_or_else(|| "api".to_owned());
    plain.replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_contract() {
        let long = "a".repeat(70);
        let cases = [
            ("listOrders", "list_orders"),
            ("list_orders", "list_orders"),
            ("getHTTPStatus", "get_http_status"),
            ("Orders.List", "orders_list"),
            ("orders/list-all", "orders_list-all"),
            ("v2Orders", "v2_orders"),
            ("2fa", "op_2fa"),
            ("__x__", "x"),
            ("größe", "gr_e"),
        ];
        for (id, name) in cases {
            assert_eq!(of_id(id).as_deref(), Some(name), "{id}");
        }
        for empty in ["", "…", "--"] {
            assert_eq!(of_id(empty), None, "{empty}");
        }
        let cut = of_id(&long).expect("a name");
        assert_eq!(cut.len(), 64);
        assert_ne!(Some(cut), of_id(&format!("{long}b")));
        assert_eq!(
            of_path("GET", "/orders/{id}/lines.{format}").as_deref(),
            Some("get_orders_by_id_lines_by_format")
        );
        assert_eq!(of_path("GET", "/").as_deref(), Some("get"));
        assert_eq!(property("filter[status]"), "filter_status");
        assert_eq!(property("$top"), "top");
    }
}
