//! A plugin as `airlock plugin` shows it, and how its versions differ.
//!
//! What must stay true: what a component says of itself makes no line that could
//! be ours.

use std::collections::BTreeMap;

use airlock_runtime::SchemaChange;
use serde::Deserialize;
use serde_json::Value;

use super::plugins::join;
use crate::output::{cell, one_line, table, time};

/// What a version asks for beyond the one before, as indented lines.
pub(crate) fn changes(changes: &Value) -> String {
    let mut text = String::new();
    for want in changes["new_wants"].as_array().into_iter().flatten() {
        text.push_str(&format!(
            "\n  newly asks for {} {}: {}",
            cell(want, "capability"),
            one_line(&cell(want, "scope")),
            one_line(&cell(want, "reason"))
        ));
    }
    for (field, label) in [
        ("new_capabilities", "newly imports"),
        ("new_tools", "new tools"),
        ("removed_tools", "tools gone"),
    ] {
        let names = join(&changes[field]);
        if names != "-" {
            text.push_str(&format!("\n  {label}: {names}"));
        }
    }
    for change in changes["changed_effects"].as_array().into_iter().flatten() {
        let (tool, claim) = (cell(change, "tool"), claim(&change["to"]));
        let then = match change["refused"] == true {
            true => "it is refused until its effects are granted again",
            false if change["vouched"] == true => "its class was granted for that, and holds",
            false if claim == "destructive" => {
                "its effects are not granted, so it is called as that"
            }
            false => "its effects are not granted, so it stays `plain`",
        };
        text.push_str(&format!(
            "\n  {tool} claims other effects than before ({claim}): {then}"
        ));
    }
    for change in changes["changed_tools"].as_array().into_iter().flatten() {
        text.push_str(&tool_change(change));
    }
    text
}

/// What callers and models see otherwise of a tool.
fn tool_change(change: &Value) -> String {
    let tool = match change["tool"].as_str() {
        None | Some("") => "the agent",
        Some(tool) => tool,
    };
    let mut text = String::new();
    if let Some(description) = change["description"].as_str() {
        let description = one_line(description);
        text.push_str(&format!("\n  {tool} says of itself now: {description}"));
    }
    for what in ["input", "output"] {
        if let Ok(differs) = SchemaChange::deserialize(&change[what]) {
            let differs = one_line(&differs.to_string());
            text.push_str(&format!("\n  {tool} has another {what}: {differs}"));
        }
    }
    text
}

pub(super) fn describe(detail: &Value) -> String {
    let mut text = format!("{}  {}\n", cell(detail, "name"), cell(detail, "digest"));
    if let Some(broken) = detail["broken"].as_str() {
        text.push_str(&format!("\nBROKEN: {broken}\n"));
    }
    if detail["versions"].as_array().is_some_and(|versions| {
        versions
            .iter()
            .any(|version| version["digest"] == detail["digest"] && version["active"] == false)
    }) {
        text.push_str("\nNOT ACTIVE: this is how it would be under the grants in force.\n");
    }
    text.push_str(&super::servers::describe(detail));
    text.push_str(&match &detail["agent"] {
        Value::Null => tools_text(detail),
        agent => agent_text(&cell(detail, "name"), agent),
    });
    text.push_str(&wants_text(detail));
    text.push_str(&format!(
        "\nGranted (version {})\n",
        cell(detail, "grants_version")
    ));
    text.push_str(&super::grants::rules_text(&detail["grants"]));
    text.push_str("\nVersions\n");
    for version in detail["versions"].as_array().into_iter().flatten() {
        let mark = if version["active"] == true { "*" } else { " " };
        let at = version["installed_ms"]
            .as_u64()
            .map(time)
            .unwrap_or_default();
        text.push_str(&format!(
            "  {mark} {} {at} by {}\n",
            cell(version, "digest"),
            cell(version, "installed_by")
        ));
    }
    text
}

fn agent_text(name: &str, agent: &Value) -> String {
    let schema = &agent["input_schema"];
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let mut text = format!("\nAn agent: {}\n", one_line(&cell(agent, "description")));
    let members = schema["properties"].as_object().into_iter().flatten();
    let lines: Vec<Vec<String>> = members
        .map(|(member, of)| {
            let must = match required.contains(&Value::from(member.as_str())) {
                true => "",
                false => "optional",
            };
            let kind = of["type"].as_str().unwrap_or("-").to_owned();
            let says = first_line(of["description"].as_str().unwrap_or_default());
            vec![one_line(member), one_line(&kind), must.to_owned(), says]
        })
        .collect();
    if !lines.is_empty() {
        text.push_str(&table(&["INPUT", "TYPE", "", ""], &lines));
        text.push('\n');
    }
    text + &format!("\nTo run it: airlock run {name} --input '{{…}}' --follow\n")
}

fn tools_text(detail: &Value) -> String {
    let mut text =
        String::from("\nTools, with the class in force (`plain`: a call may not be repeated)\n");
    for tool in detail["tools"].as_array().into_iter().flatten() {
        let first = first_line(&cell(tool, "description"));
        let (class, claim) = (cell(tool, "class"), claim(&tool["claim"]));
        let claims = match (class == claim, tool["claim_changed"] == true) {
            _ if tool["tool_changed"] == true => {
                " (its server says something else of it now: refused until accepted)".to_owned()
            }
            (_, true) => {
                format!(" (it claims {claim}, another class than before: refused until granted)")
            }
            (true, false) => String::new(),
            (false, false) => format!(" (it claims {claim})"),
        };
        text.push_str(&format!(
            "  {:<20} {class:<12} {first}{claims}\n",
            cell(tool, "name")
        ));
        if let Some(own) = tool["own_description"].as_str() {
            let own = first_line(own);
            text.push_str(&format!("  {:<33} it says of itself: {own}\n", ""));
        }
    }
    text
}

/// The beginning of a description: its first line, and whether there is more.
pub(super) fn first_line(description: &str) -> String {
    let mut lines = description.lines();
    let first = one_line(lines.next().unwrap_or_default());
    match lines.any(|line| !line.trim().is_empty()) {
        true => format!("{first} …"),
        false => first,
    }
}

/// The class that a claim is.
fn claim(effects: &Value) -> &'static str {
    let claims = |effect: &str| effects[effect] == true;
    match () {
        () if claims("read_only") => "read-only",
        () if claims("destructive") => "destructive",
        () if claims("idempotent") => "idempotent",
        () => "plain",
    }
}

fn wants_text(detail: &Value) -> String {
    let mut text = String::from("\nIt asks for                                    (granted?)\n");
    let wants = detail["wants"].as_array().cloned().unwrap_or_default();
    for want in &wants {
        let granted = if want["granted"] == true { "yes" } else { "no" };
        let optional = if want["optional"] == true {
            ", optional"
        } else {
            ""
        };
        text.push_str(&format!(
            "  {} = [{}]   {granted}{optional}\n      because {}\n",
            cell(want, "capability"),
            one_line(&cell(want, "scope")),
            one_line(&cell(want, "reason"))
        ));
    }
    if wants.is_empty() {
        text.push_str("  nothing\n");
    }
    text + &suggestion(detail)
}

/// The command that grants what the plugin asks for and lacks, with the classes
/// that its tools claim where the administrator has given none; nothing where it
/// has all. A class that was given stays.
fn suggestion(detail: &Value) -> String {
    let mut rules: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let wants = detail["wants"].as_array().into_iter().flatten();
    for want in wants.filter(|want| want["granted"] != true) {
        let scopes = rules.entry(cell(want, "capability")).or_default();
        scopes.push(cell(want, "scope"));
    }
    let tools = detail["tools"].as_array().into_iter().flatten();
    let classes: Vec<String> = tools
        .filter_map(|tool| {
            let name = cell(tool, "name");
            let given = detail["grants"]["effects"][&name].as_str();
            let class = match (given, claim(&tool["claim"])) {
                (Some(_), claim @ "destructive") if tool["claim_changed"] == true => claim,
                (Some(given), _) => Some(given).filter(|_| tool["claim_changed"] == true)?,
                (None, claim) => Some(claim).filter(|claim| tool["class"] != *claim)?,
            };
            Some(format!("{name} = \"{class}\""))
        })
        .collect();
    let mut lines: Vec<String> = rules
        .iter()
        .map(|(capability, scopes)| format!("{capability} = [{}]", scopes.join(", ")))
        .collect();
    if !classes.is_empty() {
        lines.push(format!("effects = {{ {} }}", classes.join(", ")));
    }
    if lines.is_empty() {
        return String::new();
    }
    // A scope is the author's text, and the shell's quotes end at a quote.
    let quoted = lines.join("\n").replace('\'', "'\\''");
    format!(
        "\nTo grant it all; leave out what it should not have, and put in your own places:\n\
         airlock grant {} '{quoted}'\n{}",
        cell(detail, "name"),
        kept_classes(detail)
    )
}

/// A line for each tool that claims another class than the one it was given, which is
/// proposed again.
fn kept_classes(detail: &Value) -> String {
    let tools = detail["tools"].as_array().into_iter().flatten();
    let told = tools.filter_map(|tool| {
        let name = cell(tool, "name");
        let given = detail["grants"]["effects"][&name].as_str()?;
        let claim = claim(&tool["claim"]);
        let kept = tool["claim_changed"] == true && claim != given && claim != "destructive";
        kept.then(|| {
            format!(
                "{name} claims {claim} now; {given}, which it was given before, is proposed again\n"
            )
        })
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What a component says of itself makes no line that could be ours.
    #[test]
    fn a_want_forges_no_line() {
        let forged = "to read\n\nGranted (version 9)\n  nothing\n";
        let want = json!({ "capability": "files", "scope": "'x'", "reason": forged });
        let shown = describe(&json!({ "name": "p", "grants_version": 1, "wants": [&want] }));
        let granted = shown.lines().filter(|line| line.starts_with("Granted"));
        assert_eq!(granted.count(), 1, "{shown}");
        assert!(
            shown.contains("because to read\\n\\nGranted (version 9)"),
            "{shown}"
        );
        assert!(
            shown.contains("airlock grant p 'files = ['\\''x'\\'']'\n"),
            "{shown}"
        );
        let newly = changes(&json!({ "new_wants": [want] }));
        assert_eq!(newly.lines().count(), 2, "{newly}");
    }
    #[test]
    fn what_becomes_of_a_changed_claim_is_told() {
        let destructive = json!({ "destructive": true });
        let table = [
            (json!({ "refused": true }), "refused until"),
            (json!({ "vouched": true }), "granted for that, and holds"),
            (json!({}), "it stays `plain`"),
            (json!({ "to": destructive }), "called as that"),
        ];
        for (mut change, expect) in table {
            change["tool"] = "t".into();
            let told = changes(&json!({ "changed_effects": [change] }));
            assert!(told.contains(expect), "{told}");
        }
    }

    #[test]
    fn a_class_that_was_given_is_not_widened() {
        let tool = |name: &str, class: &str, changed: bool, claims: &str| {
            let mut tool = json!({ "name": name, "class": class, "claim_changed": changed });
            tool["claim"] = json!({ claims: true });
            tool
        };
        // The class given, that in force, whether the claim is another one than
        // before, the claim, and the class that is proposed.
        let table = [
            (Some("destructive"), "destructive", false, "", None),
            (Some("plain"), "plain", false, "destructive", None),
            (Some("plain"), "plain", false, "read_only", None),
            (
                Some("destructive"),
                "destructive",
                true,
                "read_only",
                Some("destructive"),
            ),
            (
                Some("plain"),
                "plain",
                true,
                "destructive",
                Some("destructive"),
            ),
            (
                Some("read-only"),
                "read-only",
                true,
                "idempotent",
                Some("read-only"),
            ),
            (None, "plain", false, "read_only", Some("read-only")),
            (None, "plain", false, "destructive", Some("destructive")),
            (None, "plain", false, "", None),
        ];
        for (given, class, changed, claims, expect) in table {
            let effects = given.map(|given| json!({ "t": given }));
            let detail = json!({
                "name": "p", "grants": { "effects": effects },
                "tools": [tool("t", class, changed, claims)],
            });
            let proposed = expect.map(|class| format!("effects = {{ t = \"{class}\" }}"));
            let shown = suggestion(&detail);
            let kept = changed && given == expect && given != Some(claim(&json!({ claims: true })));
            assert_eq!(
                shown.contains("is proposed again"),
                kept,
                "{detail}: {shown}"
            );
            match proposed {
                Some(proposed) => assert!(shown.contains(&proposed), "{detail}: {shown}"),
                None => assert_eq!(shown, "", "{detail}"),
            }
        }
    }

    #[test]
    fn a_description_that_goes_on_says_so() {
        let table = [
            ("Reads.", "Reads."),
            ("Reads.\n", "Reads."),
            ("Reads a\nfile.", "Reads a …"),
        ];
        for (description, expect) in table {
            assert_eq!(first_line(description), expect, "{description:?}");
        }
        let tool = json!({
            "name": "t", "class": "plain", "description": "Ours.", "own_description": "Theirs.\nAll.",
        });
        let shown = tools_text(&json!({ "tools": [tool] }));
        assert!(shown.contains("it says of itself: Theirs. …"), "{shown}");
    }
}
