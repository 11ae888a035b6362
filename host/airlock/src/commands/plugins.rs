//! `airlock plugin`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::Session;
use crate::cli::Plugin;
use crate::client::{Api, Request, encode};
use crate::exit::{Failure, Misuse};
use crate::output::{cell, one_line, table, time};

pub(super) fn run(session: &Session, command: Plugin) -> Result<()> {
    match command {
        Plugin::Add {
            name,
            source,
            digest,
            activate,
        } => {
            let then = match activate {
                true => Then::Activate,
                false => Then::Install,
            };
            add(session, &name, &source, digest.as_deref(), then)
        }
        Plugin::List => list(session),
        Plugin::Inspect { name } => {
            let detail = session.api.get(&format!("/v1/plugins/{}", encode(&name)))?;
            session.format.show(&detail, describe)
        }
        Plugin::Activate {
            name,
            digest,
            downgrade,
        } => activate(session, &name, &digest, downgrade),
        Plugin::Remove {
            name,
            keep_data,
            why,
        } => remove(session, &name, keep_data, &why),
    }
}

fn remove(session: &Session, name: &str, keep_data: bool, why: &str) -> Result<()> {
    let (name, why) = (encode(name), encode(why));
    let path = format!("/v1/plugins/{name}?keep_data={keep_data}&why={why}");
    let removed = session.api.value(&Request::new("DELETE", path))?;
    session.format.show(&removed, |removed: &Value| {
        let plugin = cell(removed, "plugin");
        let what = match removed["uninstalled"] == true {
            true => format!("removed {plugin}"),
            false => format!("{plugin} was removed before"),
        };
        match removed.get("erased") {
            Some(erased) => format!(
                "{what}; erased {} pairs, {} bytes",
                cell(erased, "pairs"),
                cell(erased, "bytes")
            ),
            None => format!("{what}; what it kept in kv stays"),
        }
    })
}

fn add(
    session: &Session,
    name: &str,
    source: &Path,
    digest: Option<&str>,
    then: Then,
) -> Result<()> {
    let file = component_file(source)?;
    let bytes = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    let installed = send(&session.api, name, bytes, digest, then)?;
    session.format.show(&installed, |installed| {
        let mut text = format!("installed {name} {}", cell(installed, "digest"));
        if installed["active"] == false {
            text.push_str(&format!(
                "\nnot active yet: airlock plugin activate {name} {}",
                cell(installed, "digest")
            ));
        }
        text.push_str(&changes(&installed["changes"]));
        text.push_str(&format!(
            "\nwhat it asks for: airlock plugin inspect {name}"
        ));
        text
    })
}

/// Installs a component as the active version and waits until the server is done
/// with it.
///
/// # Errors
/// [`Failure`] when it was refused.
pub fn install(api: &Api, name: &str, bytes: Vec<u8>, digest: Option<&str>) -> Result<Value> {
    send(api, name, bytes, digest, Then::Activate)
}

/// What is done with a component that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing: it is only checked.
    Check,
    /// It is installed; a plugin's first version is active at once.
    Install,
    /// It is installed, and active in place of any other.
    Activate,
}

/// Sends a component and waits until the server is done with it.
pub(crate) fn send(
    api: &Api,
    name: &str,
    bytes: Vec<u8>,
    digest: Option<&str>,
    then: Then,
) -> Result<Value> {
    let then = match then {
        Then::Check => "&check=true",
        Then::Install => "",
        Then::Activate => "&activate=true",
    };
    let pinned = digest
        .map(|digest| format!("&digest={}", encode(digest)))
        .unwrap_or_default();
    let path = format!("/v1/plugins?name={}&wait=true{then}{pinned}", encode(name));
    let mut operation: Value =
        api.value(&Request::bytes("POST", path, "application/wasm", bytes))?;
    loop {
        match operation["state"].as_str() {
            Some("succeeded") => return Ok(operation["installed"].clone()),
            Some("failed") => {
                let problem = operation["problem"].clone();
                let status = problem["status"]
                    .as_u64()
                    .and_then(|s| u16::try_from(s).ok())
                    .unwrap_or(422);
                let code = cell(&problem, "code");
                return Err(Failure {
                    status,
                    code,
                    problem,
                    hint: String::new(),
                }
                .into());
            }
            Some(_) => {}
            None => bail!("the server's answer to an install has no state: {operation}"),
        }
        std::thread::sleep(Duration::from_millis(100));
        operation = api.get(&format!(
            "/v1/operations/{}",
            encode(&cell(&operation, "id"))
        ))?;
    }
}

/// The component named by a file, or the only one in a folder.
pub(crate) fn component_file(source: &Path) -> Result<PathBuf> {
    if source.to_string_lossy().starts_with("oci://") {
        return Err(Misuse(format!(
            "{}: components from OCI registries are not supported yet; fetch it and give the file",
            source.display()
        ))
        .into());
    }
    if !source.is_dir() {
        return Ok(source.to_path_buf());
    }
    let mut found = Vec::new();
    for entry in
        std::fs::read_dir(source).with_context(|| format!("reading {}", source.display()))?
    {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "wasm")
        {
            found.push(path);
        }
    }
    match <[PathBuf; 1]>::try_from(found) {
        Ok([file]) => Ok(file),
        Err(found) => Err(Misuse(format!(
            "{} holds {} .wasm files; name the one to install",
            source.display(),
            found.len()
        ))
        .into()),
    }
}

fn list(session: &Session) -> Result<()> {
    let answer = session.api.get("/v1/plugins")?;
    session.format.show(&answer, |answer| {
        let plugins = list_of(answer, "plugins");
        let items = plugins.as_array().into_iter().flatten();
        let lines: Vec<Vec<String>> = items
            .map(|plugin| {
                let digest: String = cell(plugin, "digest").chars().take(19).collect();
                let names = |field: &str| join(&plugin[field]);
                vec![
                    cell(plugin, "name"),
                    digest,
                    match plugin["is_agent"] == true {
                        true => "an agent: airlock run".to_owned(),
                        false => names("tools"),
                    },
                    names("granted"),
                    cell(plugin, "wants_ungranted"),
                ]
            })
            .collect();
        match lines.is_empty() {
            true => "no plugin is installed: airlock plugin add NAME FILE".to_owned(),
            false => table(
                &["NAME", "DIGEST", "TOOLS", "GRANTED", "WANTS NOT GRANTED"],
                &lines,
            ),
        }
    })
}

fn activate(session: &Session, name: &str, digest: &str, downgrade: bool) -> Result<()> {
    let path = format!("/v1/plugins/{}", encode(name));
    let detail = session.api.get(&path)?;
    let wanted = digest.strip_prefix("sha256:").unwrap_or(digest);
    let versions = detail["versions"].as_array().cloned().unwrap_or_default();
    let found: Vec<String> = versions
        .iter()
        .map(|version| cell(version, "digest"))
        .filter(|full| full.trim_start_matches("sha256:").starts_with(wanted))
        .collect();
    let [full] = found.as_slice() else {
        return Err(Misuse(format!(
            "{digest} names {} versions of {name}; see airlock plugin inspect {name}",
            found.len()
        ))
        .into());
    };
    let body = json!({ "digest": full, "downgrade": downgrade });
    let installed: Value =
        session
            .api
            .value(&Request::json("POST", format!("{path}/activate"), &body))?;
    session.format.show(&installed, |installed| {
        format!("{name} is now {full}{}", changes(&installed["changes"]))
    })
}

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
        let tool = cell(change, "tool");
        text.push_str(&format!("\n  {tool} claims other effects than before: it is refused until its effects are granted again"));
    }
    text
}

fn describe(detail: &Value) -> String {
    let mut text = format!("{}  {}\n", cell(detail, "name"), cell(detail, "digest"));
    if let Some(broken) = detail["broken"].as_str() {
        text.push_str(&format!("\nBROKEN: {broken}\n"));
    }
    text.push_str(&tools_text(detail));
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

fn tools_text(detail: &Value) -> String {
    let mut text =
        String::from("\nTools, with the class in force (`plain`: a call may not be repeated)\n");
    for tool in detail["tools"].as_array().into_iter().flatten() {
        let first = first_line(&cell(tool, "description"));
        let (class, claim) = (cell(tool, "class"), claim(tool));
        let claims = match (class == claim, tool["claim_changed"] == true) {
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

/// The class that a tool claims.
fn claim(tool: &Value) -> &'static str {
    let claims = |effect: &str| tool["claim"][effect] == true;
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
            let class = match (given, claim(tool)) {
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
         airlock grant {} '{quoted}'\n",
        cell(detail, "name")
    )
}

/// The list under a field, or the answer itself where it is a list.
pub(crate) fn list_of(answer: &Value, field: &str) -> Value {
    if answer.is_array() {
        answer.clone()
    } else {
        answer[field].clone()
    }
}

/// Names joined with commas; `-` for none.
pub(crate) fn join(names: &Value) -> String {
    let names: Vec<&str> = names
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if names.is_empty() {
        "-".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
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
