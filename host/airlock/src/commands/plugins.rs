//! `airlock plugin`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::described::{changes, describe};
use super::refused::for_all;
use super::servers::{self, NOT_SANDBOXED};
use super::{Session, openapi};
use crate::cli::{Plugin, PluginAdd};
use crate::client::{Api, Request, encode};
use crate::exit::{Failure, Misuse};
use crate::output::{cell, table};

pub(super) fn run(session: &Session, command: Plugin) -> Result<()> {
    match command {
        Plugin::Add(args) if args.openapi.openapi.is_some() => openapi::add(session, &args),
        Plugin::Add(args) => match servers::of(&args.server)? {
            Some(server) => servers::add(session, &args, server),
            None => add(session, &args),
        },
        Plugin::Pinned { name } => servers::pinned(session, &name),
        Plugin::Accept { name, digest, why } => {
            servers::accept(session, &name, digest.as_deref(), &why)
        }
        Plugin::List => list(session),
        Plugin::Inspect { name, digest } => inspect(session, &name, digest.as_deref()),
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

fn inspect(session: &Session, name: &str, digest: Option<&str>) -> Result<()> {
    let path = format!("/v1/plugins/{}", encode(name));
    let mut detail = session.api.get(&path)?;
    if let Some(digest) = digest {
        let full = full_digest(&detail, digest)?;
        detail = session
            .api
            .get(&format!("{path}?digest={}", encode(&full)))?;
    }
    session.format.show(&detail, describe)
}

/// The one installed version whose digest begins so.
fn full_digest(detail: &Value, digest: &str) -> Result<String> {
    let wanted = digest.strip_prefix("sha256:").unwrap_or(digest);
    let versions = detail["versions"].as_array().cloned().unwrap_or_default();
    let found: Vec<String> = versions
        .iter()
        .map(|version| cell(version, "digest"))
        .filter(|full| full.trim_start_matches("sha256:").starts_with(wanted))
        .collect();
    match <[String; 1]>::try_from(found) {
        Ok([full]) => Ok(full),
        Err(found) => {
            let name = cell(detail, "name");
            Err(Misuse(format!(
                "{digest} names {} versions of {name}; see airlock plugin inspect {name}",
                found.len()
            ))
            .into())
        }
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
                "{what}; erased {} pairs, {} bytes, {} namespaces of documents",
                cell(erased, "pairs"),
                cell(erased, "bytes"),
                cell(erased, "namespaces")
            ),
            None => format!("{what}; what it kept stays"),
        }
    })
}

fn add(session: &Session, args: &PluginAdd) -> Result<()> {
    let (Some(name), Some(source)) = (&args.name, &args.source) else {
        return Err(Misuse("give a name and a component".to_owned()).into());
    };
    let file = component_file(source)?;
    let bytes = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    let digest = args.digest.as_deref();
    let before = session.api.get(&format!("/v1/plugins/{}", encode(name)));
    let before = before.map(|detail| detail["digest"].clone());
    let installed = send(&session.api, name, bytes, digest, Then::of(args))?;
    if before.is_ok_and(|before| before.is_string() && before == installed["digest"]) {
        return session.format.show(&installed, |installed| {
            let digest = cell(installed, "digest");
            format!("{name} {digest} is installed and active already: nothing changed")
        });
    }
    let asks = format!("\nwhat it asks for: {}", inspecting(name, &installed));
    session.format.show(&installed, |installed| {
        installed_text(name, installed) + &asks
    })
}

/// What was installed, and how it becomes active where it is not.
pub(super) fn installed_text(name: &str, installed: &Value) -> String {
    let digest = cell(installed, "digest");
    let mut text = format!("installed {name} {digest}");
    if installed["active"] == false {
        text.push_str(&format!(
            "\nnot active yet: airlock plugin activate {name} {digest}"
        ));
    }
    text + &changes(&installed["changes"])
}

/// The command that shows what was installed.
pub(super) fn inspecting(name: &str, installed: &Value) -> String {
    let version = match installed["active"] == false {
        true => format!(" --digest {}", cell(installed, "digest")),
        false => String::new(),
    };
    format!("airlock plugin inspect {name}{version}")
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

impl Then {
    pub(super) fn of(args: &PluginAdd) -> Self {
        match args.activate {
            true => Self::Activate,
            false => Self::Install,
        }
    }
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
    let operation = api.value(&Request::bytes("POST", path, "application/wasm", bytes))?;
    ended(api, operation)
}

/// Waits until the server is done with an install: what it made.
pub(super) fn ended(api: &Api, mut operation: Value) -> Result<Value> {
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
                    match plugin["sandboxed"] == false {
                        true => "NOT SANDBOXED".to_owned(),
                        false => cell(plugin, "wants_ungranted"),
                    },
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
    let detail = session.api.get(&path);
    let detail = detail.map_err(|error| for_all(error, "POST", "/v1/plugins/{plugin}/activate"))?;
    let full = full_digest(&detail, digest)?;
    let body = json!({ "digest": full, "downgrade": downgrade });
    let installed: Value =
        session
            .api
            .value(&Request::json("POST", format!("{path}/activate"), &body))?;
    session.format.show(&installed, |installed| {
        let mut text = format!("{name} is now {full}{}", changes(&installed["changes"]));
        if installed["sandboxed"] == false {
            text.push_str(&format!("\n{NOT_SANDBOXED}"));
        }
        text
    })
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
