//! Makes and applies unified diffs, and merges two changes of one text. It wants
//! nothing: texts go in and come out with the call.
//!
//! What must stay true: a patch that does not fit changes nothing, and the error
//! names the hunk, its lines and what was expected there.

mod conflict;

use std::borrow::Cow;

use airlock_sdk::prelude::*;
use diffy::{DiffOptions, Patch, PatchFormatter};

const CONTEXT_DEFAULT: usize = 3;
const CONTEXT_MAX: usize = 100;

/// Two versions of a text.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Make {
    /// The text as it was.
    old: String,
    /// The text as it is.
    new: String,
    /// The name in the `---` line, `old` unless given.
    old_name: Option<String>,
    /// The name in the `+++` line, `new` unless given.
    new_name: Option<String>,
    /// How many lines around each change: 0 to 100, 3 unless given.
    context: Option<usize>,
}

/// A diff.
#[derive(Serialize, JsonSchema)]
pub struct Made {
    /// The unified diff; empty where nothing changed.
    patch: String,
    /// Whether anything changed.
    changed: bool,
    /// How many lines were added.
    added: usize,
    /// How many lines were removed.
    removed: usize,
}

/// A patch and what it is for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// The text to change.
    text: String,
    /// A unified diff of one file.
    patch: String,
    /// Whether to take the change back.
    #[serde(default)]
    reverse: bool,
}

/// A changed text.
#[derive(Serialize, JsonSchema)]
pub struct Applied {
    /// The text after the change.
    text: String,
    /// How many hunks were applied.
    hunks: usize,
}

/// Three versions of a text.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    /// The text both started from.
    base: String,
    /// The one side's version.
    ours: String,
    /// The other side's version.
    theirs: String,
}

/// A merged text.
#[derive(Serialize, JsonSchema)]
pub struct Merged {
    /// The text, with conflict markers where both changed the same lines.
    text: String,
    /// Whether there are such lines.
    conflicts: bool,
}

/// Makes a unified diff of two texts.
#[tool(read_only, title = "Make a patch")]
fn make(input: Make) -> Result<Made, Error> {
    let context = input.context.unwrap_or(CONTEXT_DEFAULT);
    if context > CONTEXT_MAX {
        return Err(Error::invalid_input(format!(
            "context: must be at most {CONTEXT_MAX}"
        )));
    }
    let mut options = DiffOptions::new();
    options.set_context_len(context);
    options.set_original_filename(name("old_name", input.old_name, "old")?);
    options.set_modified_filename(name("new_name", input.new_name, "new")?);
    let patch = options.create_patch(&input.old, &input.new);
    let lines = || patch.hunks().iter().flat_map(diffy::Hunk::lines);
    let added = lines()
        .filter(|line| matches!(line, diffy::Line::Insert(_)))
        .count();
    let removed = lines()
        .filter(|line| matches!(line, diffy::Line::Delete(_)))
        .count();
    let changed = !patch.hunks().is_empty();
    let text = if changed {
        PatchFormatter::new().fmt_patch(&patch).to_string()
    } else {
        String::new()
    };
    Ok(Made {
        patch: text,
        changed,
        added,
        removed,
    })
}

/// A name that cannot end its line and so write a part of the patch.
fn name(field: &str, given: Option<String>, default: &str) -> Result<String, Error> {
    let name = given.unwrap_or_else(|| default.to_owned());
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(Error::invalid_input(format!(
            "{field}: must be a name without control characters"
        )));
    }
    Ok(name)
}

/// Applies a unified diff to a text, or takes it back. Where it does not fit,
/// nothing changes and the error names the hunk.
#[tool(read_only, title = "Apply a patch")]
fn apply(input: Apply) -> Result<Applied, Error> {
    let text: String = input.patch.split_inclusive('\n').map(placed).collect();
    let patch =
        Patch::from_str(&text).map_err(|error| Error::invalid_input(format!("patch: {error}")))?;
    if patch.hunks().is_empty() {
        return Err(Error::invalid_input(
            "patch: it has no hunks (`@@ -1,3 +1,4 @@`)",
        ));
    }
    let reversed;
    let patch = if input.reverse {
        reversed = patch.reverse();
        &reversed
    } else {
        &patch
    };
    match diffy::apply(&input.text, patch) {
        Ok(text) => Ok(Applied {
            text,
            hunks: patch.hunks().len(),
        }),
        Err(_) => Err(conflict::explain(&input.text, patch)),
    }
}

/// A hunk's header with ranges of no lines placed as others are, at the line that stands
/// there. Unified diffs place them at the line before, where [`diffy::apply`] would look
/// for what is taken out first, and take out another line that reads the same.
fn placed(line: &str) -> Cow<'_, str> {
    let header = || {
        let (ranges, rest) = line.strip_prefix("@@ -")?.split_once(" @@")?;
        let (old, new) = ranges.split_once(" +")?;
        let place = |range: &str| match range.strip_suffix(",0").map(str::parse::<usize>) {
            Some(Ok(before)) => format!("{},0", before.saturating_add(1)),
            _ => range.to_owned(),
        };
        Some(format!("@@ -{} +{} @@{rest}", place(old), place(new)))
    };
    header().map_or(Cow::Borrowed(line), Cow::Owned)
}

/// Merges two changes of one text. Where both changed the same lines, both stand
/// between conflict markers.
#[tool(read_only, title = "Merge two changes")]
fn merge(input: Merge) -> Result<Merged, Error> {
    Ok(
        match diffy::merge(&input.base, &input.ours, &input.theirs) {
            Ok(text) => Merged {
                text,
                conflicts: false,
            },
            Err(text) => Merged {
                text,
                conflicts: true,
            },
        },
    )
}

plugin! { tools: [make, apply, merge], wants: [] }

#[cfg(test)]
mod tests;
