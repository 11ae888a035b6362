//! `airlock secret`. A value never stands on a command line, where other
//! processes could read it.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::plugins::list_of;
use super::{Session, read_input};
use crate::cli::Secret;
use crate::client::{Request, encode};
use crate::exit::Misuse;
use crate::output::{cell, table, time};

pub(super) fn run(session: &Session, command: Secret) -> Result<()> {
    match command {
        Secret::Set { name, file } => {
            let bytes = read_input(file.as_deref().unwrap_or(Path::new("-")))?;
            let text = String::from_utf8(bytes)
                .map_err(|_| Misuse("the secret is not UTF-8".to_owned()))?;
            let value = text
                .strip_suffix('\n')
                .map_or(text.as_str(), |cut| cut.strip_suffix('\r').unwrap_or(cut));
            let path = format!("/v1/secrets/{}", encode(&name));
            session.api.ok(&Request::bytes(
                "PUT",
                path,
                "application/octet-stream",
                value.as_bytes().to_vec(),
            ))?;
            session
                .format
                .show(&json!({ "set": name }), |_| format!("set {name}"))
        }
        Secret::List => {
            let answer = session.api.get("/v1/secrets")?;
            session.format.show(&answer, |answer| {
                let secrets = list_of(answer, "secrets");
                let items = secrets.as_array().into_iter().flatten();
                let lines: Vec<Vec<String>> = items
                    .map(|secret| {
                        let at = ["updated_ms", "at_ms"]
                            .iter()
                            .find_map(|field| secret[field].as_u64());
                        vec![
                            cell(secret, "name"),
                            cell(secret, "version"),
                            at.map(time).unwrap_or_default(),
                        ]
                    })
                    .collect();
                table(&["NAME", "VERSION", "SET"], &lines)
            })
        }
        Secret::Remove { name } => {
            session.api.ok(&Request::new(
                "DELETE",
                format!("/v1/secrets/{}", encode(&name)),
            ))?;
            session
                .format
                .show(&json!({ "removed": name }), |_| format!("removed {name}"))
        }
    }
}
