//! `airlock audit`.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::ExitCode;

use airlock_runtime::verify_offline;
use anyhow::Result;
use serde_json::{Value, json};

use super::plugins::list_of;
use super::{Session, connect, format_of, server_of};
use crate::cli::{Audit, Global};
use crate::client::Request;
use crate::config::Settings;
use crate::exit::FOUND;
use crate::output::{EscapedParts, Format, cell, print_error, print_to_reader, table, time};
use crate::place::check_place;

pub(super) fn run(global: &Global, command: Audit) -> Result<ExitCode> {
    // A directory that no server owns is only looked at: what is damaged could
    // not be opened for use.
    if let Audit::Verify { head } = &command {
        let settings = Settings::load(global)?;
        if server_of(global, &settings)?.is_none() {
            check_place(&settings, false)?;
            let report = verify_offline(&settings.runtime(), head.as_deref());
            let report = report.map_err(|failure| unread(failure.into(), &settings.data))?;
            return show_report(format_of(global), &serde_json::to_value(report)?);
        }
    }
    let session = &connect(global, false)?;
    match command {
        Audit::List { from, limit } => {
            let start = from.map(|from| format!("&from={from}")).unwrap_or_default();
            let mut answer = session
                .api
                .get(&format!("/v1/audit?limit={limit}{start}"))?;
            if let Some(records) = answer["records"].as_array_mut() {
                records.sort_by_key(|record| record["seq"].as_u64());
            }
            session.format.show(&answer, list_text)?;
        }
        Audit::Verify { head } => return verify(session, head.as_deref()),
        Audit::Export => {
            let mut escaped = EscapedParts::default();
            let mut show = |part: &[u8]| print_to_reader(escaped.push(part)?.as_bytes());
            let request = Request::new("GET", "/v1/audit/export");
            session.api.download(request, &mut show)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// To read it, a store needs its lock and its log's index, which are files that
/// it writes.
fn unread(failure: anyhow::Error, data: &Path) -> anyhow::Error {
    let place = data.display();
    let is_read_only = failure
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == ErrorKind::ReadOnlyFilesystem);
    failure.context(match is_read_only {
        true => format!(
            "reading {place}, which can't be written: copy it and the keys to a disk that can be, and verify the copy"
        ),
        false => format!("reading {place}"),
    })
}

fn list_text(answer: &Value) -> String {
    let records = list_of(answer, "records")
        .as_array()
        .cloned()
        .unwrap_or_default();
    let lines: Vec<Vec<String>> = records
        .iter()
        .map(|record| {
            let at = record["at_ms"].as_u64().map(time).unwrap_or_default();
            let field = |name: &str| cell(record, name);
            vec![
                field("seq"),
                at,
                field("principal"),
                field("action"),
                field("subject"),
                field("outcome"),
            ]
        })
        .collect();
    table(&["SEQ", "WHEN", "WHO", "ACTION", "WHAT", "OUTCOME"], &lines)
}

fn verify(session: &Session, head: Option<&str>) -> Result<ExitCode> {
    let report: Value = session.api.value(&Request::json(
        "POST",
        "/v1/audit/verify",
        &json!({ "head": head }),
    ))?;
    show_report(session.format, &report)
}

/// Whether nothing is wrong but the head that was given to compare with.
fn only_the_head(findings: &[Value]) -> bool {
    findings
        .iter()
        .all(|finding| finding["code"] == "head-not-authentic")
}

/// Exits with 9 when something was found.
fn show_report(format: Format, report: &Value) -> Result<ExitCode> {
    let findings = report["findings"].as_array().cloned().unwrap_or_default();
    format.show(report, |report| {
        let mut text = match report["ok"] == true {
            true => format!(
                "the audit is whole: {} records, {} signed checkpoints, {} records since the last\n{}",
                cell(report, "len"),
                cell(report, "checkpoints"),
                cell(report, "unsigned"),
                cell(report, "head")
            ),
            false if only_the_head(&findings) => "the given head is not authentic, so that it shows nothing; the audit itself is whole".to_owned(),
            false => format!("the audit was changed: {} findings", findings.len()),
        };
        for finding in &findings {
            let record = finding["seq"].as_u64().map(|seq| format!("record {seq}: "));
            let record = record.unwrap_or_default();
            text.push_str(&format!("\n  {record}{} [{}]", cell(finding, "text"), cell(finding, "code")));
        }
        text
    })?;
    if report["ok"] == true {
        return Ok(ExitCode::SUCCESS);
    }
    if format == Format::Text {
        print_error(&format!(
            "airlock: audit verify: {} findings",
            findings.len()
        ));
    }
    Ok(ExitCode::from(FOUND))
}

#[cfg(test)]
mod tests {
    use airlock_journal::StoreError;
    use airlock_runtime::AuditFailure;

    use super::*;

    #[test]
    fn what_cannot_be_written_is_to_be_copied() {
        for (kind, is_copied) in [
            (ErrorKind::ReadOnlyFilesystem, true),
            (ErrorKind::StorageFull, false),
        ] {
            let failure = AuditFailure::from(StoreError::io("locking it", io::Error::from(kind)));
            let told = unread(failure.into(), Path::new("/data"));
            let text = told.to_string();
            assert!(text.starts_with("reading /data"), "{text}");
            assert_eq!(text.contains("copy it and the keys"), is_copied, "{text}");
            let chain = format!("{told:#}");
            assert!(chain.contains("locking it"), "{chain}");
        }
    }
}
