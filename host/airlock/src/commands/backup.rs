//! `airlock backup` and `airlock restore`.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use airlock_journal::sqlite::check_backup;
use airlock_runtime::{RestoreError, verify_offline};
use anyhow::{Context, Result};
use serde_json::json;

use super::{Session, format_of, server_of};
use crate::cli::Global;
use crate::client::{Api, Request};
use crate::config::Settings;
use crate::exit::{Found, Misuse};
use crate::local::Local;
use crate::output::cell;
use crate::place::check_place;

/// The file has its name only once it is whole and checked.
pub(super) fn backup(session: &Session, file: &Path) -> Result<()> {
    let exists = || Misuse(format!("{} exists; name a new file", file.display()));
    if file.symlink_metadata().is_ok() {
        return Err(exists().into());
    }
    let part = part_of(file);
    let made = download(session, &part).and_then(|bytes| {
        // Unlike a rename, a link never replaces what was put there meanwhile.
        match fs::hard_link(&part, file) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(exists().into()),
            linked => linked
                .with_context(|| format!("writing {}", file.display()))
                .map(|()| bytes),
        }
    });
    let removed = fs::remove_file(&part);
    let bytes = made?;
    removed.with_context(|| format!("removing {}", part.display()))?;
    session
        .format
        .show(&json!({ "file": file, "bytes": bytes }), |shown| {
            format!(
                "everything but the keys is in {}, {} bytes; keep the keys apart from it",
                file.display(),
                cell(shown, "bytes")
            )
        })
}

fn part_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    name.into()
}

/// Makes the backup in `part`, checks it, and tells its size in bytes.
fn download(session: &Session, part: &Path) -> Result<u64> {
    let step = || format!("writing {}", part.display());
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(part)
        .with_context(step)?;
    let request = Request::new("POST", "/v1/backup");
    let mut take = |part: &[u8]| out.write_all(part).with_context(step).map(|()| true);
    session.api.download(request, &mut take)?;
    out.sync_all().with_context(step)?;
    check_backup(part).context("checking the backup")?;
    Ok(out.metadata().with_context(step)?.len())
}

pub(super) fn restore(global: &Global, file: &Path, force: bool) -> Result<()> {
    let settings = Settings::load(global)?;
    if let Some(server) = server_of(global, &settings)? {
        return Err(Misuse(format!(
            "a server owns {} ({server}): stop it before restoring",
            settings.data.display()
        ))
        .into());
    }
    if !file.is_file() {
        anyhow::bail!("there is no file {}", file.display());
    }
    check_place(&settings, true)?;
    let aside = airlock_runtime::restore(&settings.runtime(), file, force);
    let aside = aside.map_err(|error| match error {
        RestoreError::DataExists(_) => Misuse(format!(
            "{error}; restore into another directory with --data, or say --force to move what is there out of the way"
        ))
        .into(),
        RestoreError::KeyMissing(_) => Misuse(error.to_string()).into(),
        other => anyhow::Error::from(other),
    })?;
    // Before it is opened: another host's key would sign what follows.
    let audit = verify_offline(&settings.runtime(), None).context("verifying the audit")?;
    if !audit.ok {
        return Err(Found(format!(
            "restored {}, but its audit does not verify with the key in {}: put the backup's keys there, then see airlock audit verify",
            settings.data.display(),
            settings.keys.display()
        ))
        .into());
    }
    // Opening gives the components their files and puts it on record.
    let api = Api::Local(Box::new(Local::open(&settings)?));
    let plugins = api.get("/v1/plugins")?;
    let plugins = plugins["plugins"].as_array().map_or(0, Vec::len);
    let restored = json!({
        "data": settings.data, "replaced": aside, "plugins": plugins, "audit": audit,
    });
    format_of(global).show(&restored, |_| {
        let replaced = aside
            .as_ref()
            .map(|aside| format!("\nwhat was there before is in {}", aside.display()));
        format!(
            "restored {} with {plugins} plugins; its audit is whole: {} records{}\ntokens that were revoked since the backup are valid again",
            settings.data.display(),
            audit.len,
            replaced.unwrap_or_default()
        )
    })
}
