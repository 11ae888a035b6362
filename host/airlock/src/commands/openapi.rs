//! `airlock plugin add --openapi`. What is known of documents is in the crate
//! `airlock-openapi`; here one is read, and what is made of it is installed.

use std::path::Path;

use airlock_openapi::{At, Compiled, Options, Problem, compile, pack};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::plugins::{Then, inspecting, installed_text, list_of, send};
use super::{Session, format_of, grants, read_input};
use crate::cli::{Global, OpenApi, PluginAdd};
use crate::client::encode;
use crate::exit::{Failure, Misuse, problem};
use crate::output::{cell, table};
use crate::packed::OPENAPI;

/// What a document was made of.
struct Made {
    compiled: Compiled,
    component: Vec<u8>,
}

/// Makes a plugin of a document and installs it.
pub(super) fn add(session: &Session, args: &PluginAdd) -> Result<()> {
    let mut made = make(args)?;
    check_name(session, args, &made.compiled.plugin)?;
    check_secrets(session, &args.openapi, &mut made.compiled)?;
    let name = &made.compiled.plugin;
    let digest = args.digest.as_deref();
    let installed = send(&session.api, name, made.component, digest, Then::of(args))?;
    let mut report = about(&made.compiled);
    if args.openapi.grant {
        let why = format!("what {} asks for", made.compiled.title);
        let now = grants::add_rules(session, name, &wanted(&made.compiled)?, &why)?;
        report["granted"] = now["grants"].clone();
    }
    report["installed"] = installed;
    session.format.show(&report, |report| {
        let installed = &report["installed"];
        let mut text = installed_text(name, installed);
        text.push_str(&format!("\n{}", tools_text(report)));
        text.push_str(&wants_text(name, report));
        text.push_str(&format!("more: {}", inspecting(name, installed)));
        text
    })
}

/// A document's title is its author's: it names no plugin that is there already,
/// the grants of which the new version would get.
fn check_name(session: &Session, args: &PluginAdd, name: &str) -> Result<()> {
    if args.name.is_some() || there(session, &format!("/v1/plugins/{}", encode(name)))?.is_none() {
        return Ok(());
    }
    Err(Misuse(format!(
        "there is a plugin {name} already; if this is another version of it, say so: \
         airlock plugin add {name} --openapi FILE"
    ))
    .into())
}

/// So is a secret's name, where it was made of the title: one that is there already
/// may be meant for another server.
fn check_secrets(session: &Session, given: &OpenApi, compiled: &mut Compiled) -> Result<()> {
    let stored = there(session, "/v1/secrets")?.unwrap_or_default();
    let stored = list_of(&stored, "secrets");
    let granted = there(session, &grants::path(&compiled.plugin))?.unwrap_or_default();
    let rules = list(&granted["grants"], "http");
    let named = |secret: &str| {
        let mut given = given.secret.iter();
        given.any(|text| text.rsplit('=').next() == Some(secret))
    };
    let url = format!("{}/**", compiled.server);
    let bound = |secret: &str| {
        let mut rules = rules.iter();
        rules.any(|rule| rule["secret"] == secret && rule["url"] == url)
    };
    for (secret, _) in &compiled.secrets {
        let mut all = stored.as_array().into_iter().flatten();
        let is_there = all.any(|one| one == secret.as_str() || one["name"] == secret.as_str());
        if !is_there || named(secret) || bound(secret) {
            continue;
        }
        let told = format!(
            "there is a secret {secret} already; if it is meant for {}, say so: --secret {secret}",
            compiled.server
        );
        match given.grant {
            true => return Err(Misuse(told).into()),
            false => compiled.notes.push(told),
        }
    }
    Ok(())
}

/// What there is at a path, as far as the token may see it.
fn there(session: &Session, path: &str) -> Result<Option<Value>> {
    match session.api.get(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) => match error.downcast_ref::<Failure>() {
            Some(failure) if matches!(failure.status, 403 | 404) => Ok(None),
            _ => Err(error),
        },
    }
}

/// Makes a component of a document and writes it to a file. No server is asked.
pub(super) fn write(global: &Global, args: &PluginAdd) -> Result<()> {
    let made = make(args)?;
    let name = &made.compiled.plugin;
    let file = args.openapi.write.as_deref().unwrap_or(Path::new(""));
    std::fs::write(file, &made.component).with_context(|| format!("writing {}", file.display()))?;
    let mut report = about(&made.compiled);
    report["file"] = json!(file.display().to_string());
    format_of(global).show(&report, |report| {
        let written = format!("wrote {}\n", file.display());
        written + &tools_text(report) + &wants_text(name, report)
    })
}

fn make(args: &PluginAdd) -> Result<Made> {
    let OpenApi { openapi, .. } = &args.openapi;
    let file = openapi.as_deref().unwrap_or(Path::new("-"));
    let shown = file.display().to_string();
    if shown.starts_with("http://") || shown.starts_with("https://") {
        let message = format!("nothing is fetched: curl {shown} | airlock plugin add --openapi -");
        return Err(Misuse(message).into());
    }
    let bytes = read_input(file)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Misuse(format!("{} is not UTF-8 text", file.display())))?;
    let compiled = compile(&text, &options(args)).map_err(|problems| refused(file, &problems))?;
    let Some(serves) = OPENAPI else {
        bail!(
            "this airlock was built without the component that serves OpenAPI documents: \
             `cargo xtask plugins`, then build it again"
        );
    };
    let component = pack(serves, &compiled.image)?;
    Ok(Made {
        compiled,
        component,
    })
}

fn options(args: &PluginAdd) -> Options {
    let given = &args.openapi;
    Options {
        plugin: args.name.clone().unwrap_or_default(),
        base_url: given.base_url.clone(),
        include: given.include.clone(),
        exclude: given.exclude.clone(),
        auth: given.auth.clone(),
        secrets: given.secret.clone(),
        private: given.private,
        skip: given.skip,
    }
}

/// What is wrong with a document is invalid input; with what was typed, wrong usage.
fn refused(file: &Path, problems: &[Problem]) -> anyhow::Error {
    let line = |problem: &Problem| match problem.at {
        At::Options => problem.to_string(),
        At::Text { .. } | At::Pointer(_) => format!("{}:{problem}", file.display()),
    };
    let lines: Vec<String> = problems.iter().map(line).collect();
    let detail = lines.join("\n");
    if problems.iter().all(|problem| problem.at == At::Options) {
        return Misuse(detail).into();
    }
    let mut told = problem("openapi-invalid", &detail);
    told["problems"] = json!(lines);
    Failure {
        status: 422,
        code: "openapi-invalid".to_owned(),
        problem: told,
        hint: String::new(),
    }
    .into()
}

/// What a document was made of, as JSON.
fn about(compiled: &Compiled) -> Value {
    let secrets = compiled.secrets.iter();
    let secrets = secrets.map(|(name, carrier)| json!({ "name": name, "is": carrier.words() }));
    let wants = compiled.wants.iter().map(
        |want| json!({ "capability": want.capability, "scope": want.scope, "reason": want.reason }),
    );
    json!({
        "plugin": compiled.plugin,
        "title": compiled.title,
        "version": compiled.version,
        "server": compiled.server,
        "tools": compiled.lines,
        "wants": wants.collect::<Vec<_>>(),
        "secrets": secrets.collect::<Vec<_>>(),
        "notes": compiled.notes,
    })
}

/// What it asks for as grants: the rules, and the classes that its tools claim.
fn wanted(compiled: &Compiled) -> Result<Value> {
    let text = grants_text(&about(compiled));
    let table: toml::Table = text.parse().with_context(|| format!("the grants {text}"))?;
    Ok(serde_json::to_value(table)?)
}

/// The same, as a person would write it.
fn grants_text(report: &Value) -> String {
    let scopes: Vec<String> = list(report, "wants")
        .iter()
        .map(|want| cell(want, "scope"))
        .collect();
    let classes: Vec<String> = list(report, "tools")
        .iter()
        .filter(|tool| matches!(tool["effects"].as_str(), Some("read-only" | "idempotent")))
        .map(|tool| format!("{} = \"{}\"", cell(tool, "name"), cell(tool, "effects")))
        .collect();
    let mut text = format!("http = [{}]\n", scopes.join(", "));
    if !classes.is_empty() {
        text.push_str(&format!("effects = {{ {} }}\n", classes.join(", ")));
    }
    text
}

fn list<'v>(report: &'v Value, field: &str) -> &'v [Value] {
    report[field].as_array().map_or(&[], Vec::as_slice)
}

fn tools_text(report: &Value) -> String {
    let tools = list(report, "tools");
    let lines: Vec<Vec<String>> = tools
        .iter()
        .map(|tool| {
            let deprecated = match tool["deprecated"] == true {
                true => " (deprecated)",
                false => "",
            };
            vec![
                cell(tool, "name"),
                format!(
                    "{} {}{deprecated}",
                    cell(tool, "method"),
                    cell(tool, "path")
                ),
                cell(tool, "effects"),
            ]
        })
        .collect();
    let what = match tools.len() {
        1 => "1 tool".to_owned(),
        count => format!("{count} tools"),
    };
    format!(
        "{what} of {} {}, at {}\n\n{}\n",
        cell(report, "title"),
        cell(report, "version"),
        cell(report, "server"),
        table(&["TOOL", "OPERATION", "EFFECTS"], &lines)
    )
}

fn wants_text(name: &str, report: &Value) -> String {
    let grants = grants_text(report);
    let grants = grants.trim_end();
    let mut text = match report.get("granted").is_some() {
        true => format!("\nit was granted what it asks for:\n{grants}\n"),
        false => format!(
            "\nit asks for this server, and for nothing else:\nairlock grant {name} '{}'\n",
            // The shell's quotes end at a quote.
            grants.replace('\'', "'\\''")
        ),
    };
    for secret in list(report, "secrets") {
        text.push_str(&format!(
            "its secret is {}:\nairlock secret set {}\n",
            cell(secret, "is"),
            cell(secret, "name")
        ));
    }
    for note in list(report, "notes") {
        text.push_str(&format!("note: {}\n", note.as_str().unwrap_or_default()));
    }
    text
}
