//! Sizes, and what marks data as data.

/// Cuts a text in the middle, with a note of how much is missing. What is left is no
/// longer than `bytes_max`, the note aside.
pub(crate) fn cut_middle(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(bytes_max / 2);
    let tail = text.ceil_char_boundary(text.len() - bytes_max / 2);
    let left_out = tail - head;
    format!(
        "{}\n[… {left_out} bytes are left out here; ask for less, or for a part …]\n{}",
        &text[..head],
        &text[tail..]
    )
}

/// The beginning of a text.
pub(crate) fn cut_end(text: &str, bytes_max: usize) -> String {
    match text.len() <= bytes_max {
        true => text.to_owned(),
        false => format!("{}…", &text[..text.floor_char_boundary(bytes_max)]),
    }
}

/// A text as data, between two lines that do not occur in it: nothing in there can
/// end it early.
pub(crate) fn fenced(text: &str, number: usize) -> String {
    let line = |number: usize| format!("=== data {number} ===");
    let mut fences = (number..).map(line);
    let fence = fences.find(|fence| !text.contains(fence.as_str()));
    let fence = fence.unwrap_or_default();
    format!("{fence}\n{text}\n{fence}")
}

/// Whether a name fits a pattern, in which `*` stands for anything.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut left) = name.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(end)
}
