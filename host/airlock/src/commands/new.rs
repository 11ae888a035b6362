//! `airlock new`: a plugin of one's own, with the SDK's sources beside it, since
//! they are not published yet.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cli::{Global, New};
use crate::exit::Misuse;
use crate::output::Format;
use crate::packed::SOURCES;

/// Folder of the SDK's sources within a new plugin.
const SDK_FOLDER: &str = ".airlock";

/// Names that a Rust package can't have: the words of the language, and the crates
/// that every package has or that the template uses.
const TAKEN: &str = "abstract as async await become box break const continue core crate do dyn \
    else enum extern false final fn for gen if impl in let loop macro match mod move mut override \
    priv proc_macro pub ref return schemars self serde serde_json static std struct super test \
    trait true try type typeof unsafe unsized use virtual where while yield alloc airlock_sdk";

const TEMPLATE: &str = "sdk/template/";

/// What an agent has in place of the template's files of the same names.
const AGENT: &str = "agent/";

pub(super) fn run(global: &Global, args: &New) -> Result<()> {
    check_name(&args.name)?;
    if !args.into.is_dir() {
        let missing = format!("there is no folder {}", args.into.display());
        return Err(Misuse(missing).into());
    }
    let folder = args.into.join(&args.name);
    if folder.exists() {
        return Err(Misuse(format!("{} exists already", folder.display())).into());
    }
    let file = args.name.replace('-', "_");
    for (name, text) in SOURCES {
        match name.strip_prefix(TEMPLATE) {
            Some(inner) => {
                let Some(inner) = of_template(inner, args.agent) else {
                    continue;
                };
                let text = text.replace("{{name}}", &args.name);
                write(&folder.join(inner), &text.replace("{{file}}", &file))?;
            }
            None => write(&folder.join(SDK_FOLDER).join(name), text)?,
        }
    }
    let made = json!({
        "made": folder,
        "next": [
            format!("cd {}", folder.display()),
            "cargo test",
            "cargo build --target wasm32-wasip2 --release",
            format!("airlock plugin add {} target/wasm32-wasip2/release/{file}.wasm", args.name),
        ],
    });
    Format::of(global).show(&made, |made| {
        let next = made["next"].as_array().into_iter().flatten();
        let next = next
            .filter_map(Value::as_str)
            .map(|line| format!("\n  {line}"));
        format!(
            "made {}\n\nnext:{}",
            folder.display(),
            next.collect::<String>()
        )
    })
}

/// Where a file of the template goes; `None`: it is not this project's.
fn of_template(inner: &str, agent: bool) -> Option<&str> {
    let replaced = || {
        let other = format!("{TEMPLATE}{AGENT}{inner}");
        SOURCES.iter().any(|(name, _)| *name == other)
    };
    match (inner.strip_prefix(AGENT), agent) {
        (Some(own), true) => Some(own),
        (None, false) => Some(inner),
        (None, true) if !replaced() => Some(inner),
        _ => None,
    }
}

fn check_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
    let rest = bytes.all(|byte| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
    });
    let file = name.replace('-', "_");
    if TAKEN.split_whitespace().any(|taken| taken == file) {
        return Err(Misuse(format!(
            "`{name}` can't name a Rust package; choose another"
        ))
        .into());
    }
    if first && rest && name.len() <= 64 {
        return Ok(());
    }
    Err(Misuse(format!(
        "`{name}` is not a plugin name: 1 to 64 of a-z 0-9 - _, starting with a letter"
    ))
    .into())
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
