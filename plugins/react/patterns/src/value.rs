//! Values as texts of a size.

use airlock_sdk::prompt::cut_middle;
use serde_json::Value;

/// A text as it is, all else as JSON.
#[must_use]
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Its bytes as JSON.
#[must_use]
pub fn size(value: &Value) -> usize {
    value.to_string().len()
}

/// The value, or the text of it, cut, where it is larger.
#[must_use]
pub fn sized(value: &Value, bytes_max: usize) -> Value {
    let text = text(value);
    match text.len() > bytes_max {
        true => Value::String(cut_middle(&text, bytes_max)),
        false => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_stays_one_where_it_fits() {
        let (six, seven) = (json!({ "a": 1 }), json!({ "a": 12 }));
        assert_eq!(sized(&six, 7), six);
        assert_eq!(sized(&seven, 8), seven);
        let cut = sized(&seven, 7);
        assert!(cut.as_str().is_some_and(|cut| cut.contains("left out")));
        assert_eq!(sized(&json!("seven 7"), 7), "seven 7");
        assert_eq!(size(&json!("seven 7")), 9);
    }
}
