//! `airlock memory`. Files that are imported are read by this process, PDF files by a
//! child of it; what becomes of their chunks is the server's.

mod batch;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use airlock_memory::import::{self, PdfReader};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use batch::Batch;

use super::{Session, read_input};
use crate::cli::{Memory, MemoryImport, MemoryPut, MemorySearch};
use crate::client::{Request, encode};
use crate::exit::Misuse;
use crate::output::{Format, cell, json_text, print, table, time};

/// The argument by which this program reads one PDF file. Not for people, so that it
/// is no command.
pub const READ_PDF: &str = "__read-pdf";

/// Lines of one page.
const PAGE: usize = 1_000;

pub(super) fn run(session: &Session, command: Memory) -> Result<ExitCode> {
    match command {
        Memory::List {
            namespace: None,
            kind,
            limit,
            ..
        } => namespaces(session, kind.as_deref(), limit)?,
        Memory::List {
            namespace: Some(namespace),
            prefix,
            limit,
            ..
        } => documents(session, &namespace, &prefix, limit)?,
        Memory::Get { namespace, id } => get(session, &namespace, &id)?,
        Memory::Put(args) => put(session, &args)?,
        Memory::Delete {
            namespace,
            id,
            expect,
            why,
            ..
        } => delete(session, &namespace, id.as_deref(), expect, &why)?,
        Memory::Search(args) => search(session, &args)?,
        Memory::Import(args) => return import_folder(session, &args),
    }
    Ok(ExitCode::SUCCESS)
}

/// The path of a namespace in the API.
fn namespace_path(namespace: &str) -> Result<String> {
    let parts = namespace.split_once('/');
    let (kind, name) = parts.ok_or_else(|| {
        Misuse(format!(
            "`{namespace}` is no namespace: write shared/NAME, agent/NAME or run/NAME"
        ))
    })?;
    Ok(format!("/v1/memory/{}/{}", encode(kind), encode(name)))
}

fn document_path(namespace: &str, id: &str) -> Result<String> {
    if id.is_empty() {
        return Err(Misuse("the document's id is empty".to_owned()).into());
    }
    Ok(format!("{}/{}", namespace_path(namespace)?, encode(id)))
}

/// All pages of a list, up to `limit` items of the member `items`.
fn pages(session: &Session, path: &str, items: &str, limit: usize) -> Result<Vec<Value>> {
    if limit == 0 {
        return Err(Misuse("--limit 0: at least 1".to_owned()).into());
    }
    let (mut all, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = PAGE.min(limit - all.len());
        let behind = after.map(|after| format!("&after={}", encode(&after)));
        let path = format!("{path}limit={page}{}", behind.unwrap_or_default());
        let mut answer = session.api.get(&path)?;
        match answer[items].take() {
            Value::Array(found) => all.extend(found),
            _ => return Ok(all),
        }
        after = answer["next"].as_str().map(str::to_owned);
        if after.is_none() || all.len() >= limit {
            return Ok(all);
        }
    }
}

fn namespaces(session: &Session, kind: Option<&str>, limit: usize) -> Result<()> {
    let kind = kind.map(|kind| format!("kind={}&", encode(kind)));
    let path = format!("/v1/memory?{}", kind.unwrap_or_default());
    let all = pages(session, &path, "namespaces", limit)?;
    session
        .format
        .show(&json!({ "namespaces": all }), |answer| {
            let lines = list(answer, "namespaces").map(|view| {
                ["namespace", "documents", "bytes", "vectors"]
                    .map(|name| cell(view, name))
                    .to_vec()
            });
            let lines: Vec<Vec<String>> = lines.collect();
            table(&["NAMESPACE", "DOCUMENTS", "BYTES", "VECTORS"], &lines)
        })
}

fn documents(session: &Session, namespace: &str, prefix: &str, limit: usize) -> Result<()> {
    let path = namespace_path(namespace)?;
    let path = format!("{path}?prefix={}&", encode(prefix));
    let all = pages(session, &path, "documents", limit)?;
    session.format.show(&json!({ "documents": all }), |answer| {
        let lines = list(answer, "documents").map(|view| {
            let written = view["updated_ms"].as_u64().map(time).unwrap_or_default();
            vec![
                cell(view, "id"),
                cell(view, "version"),
                cell(view, "bytes"),
                written,
                writer(view),
                place(view),
            ]
        });
        let lines: Vec<Vec<String>> = lines.collect();
        table(
            &["ID", "VERSION", "BYTES", "WRITTEN", "BY", "SOURCE"],
            &lines,
        )
    })
}

fn list<'a>(answer: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    answer[name].as_array().into_iter().flatten()
}

/// Who wrote a document, and in which run.
fn writer(view: &Value) -> String {
    let from = &view["provenance"];
    let parts = [
        from["plugin"].as_str().map(str::to_owned),
        from["run"].as_str().map(|run| {
            let request = from["request"].as_str().unwrap_or("?");
            format!("{run} request {request}")
        }),
        from["by"].as_str().map(|by| format!("for {by}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.as_slice() {
        [only] => only.strip_prefix("for ").unwrap_or(only).to_owned(),
        parts => parts.join(" "),
    }
}

/// Where a text is from: the file, and the place in it.
fn place(view: &Value) -> String {
    let source = &view["source"];
    let Some(uri) = source["uri"].as_str() else {
        return String::new();
    };
    let range = |name: &str, one: &str| {
        let (from, to) = (source[name][0].as_u64()?, source[name][1].as_u64()?);
        Some(match from == to {
            true => format!("{one} {from}"),
            false => format!("{one}s {from}–{to}"),
        })
    };
    let headings: Vec<&str> = list(source, "headings").filter_map(Value::as_str).collect();
    let parts = [
        source["page"].as_u64().map(|page| format!("page {page}")),
        range("rows", "row"),
        range("lines", "line"),
        (!headings.is_empty()).then(|| headings.join(" › ")),
    ];
    let parts = parts.into_iter().flatten();
    [uri.to_owned()]
        .into_iter()
        .chain(parts)
        .collect::<Vec<_>>()
        .join(", ")
}

/// A document, with its value as it was written.
#[derive(Deserialize, Serialize)]
struct Document {
    #[serde(flatten)]
    view: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
}

fn get(session: &Session, namespace: &str, id: &str) -> Result<()> {
    let request = Request::new("GET", document_path(namespace, id)?);
    let document: Document = session.api.value(&request)?;
    match session.format {
        Format::Json => print(&json_text(&document)?),
        format => {
            let value = document.value.as_deref().map(RawValue::get);
            format.show(&document.view, |view| document_text(view, value))
        }
    }
}

fn document_text(view: &Value, value: Option<&str>) -> String {
    let labels = view["labels"].as_object().into_iter().flatten();
    let labels: Vec<String> = labels
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    let ends = view["expires_ms"].as_u64().map(time).unwrap_or_default();
    let lines = [
        ("namespace", cell(view, "namespace")),
        ("id", cell(view, "id")),
        ("version", cell(view, "version")),
        (
            "written",
            view["updated_ms"].as_u64().map(time).unwrap_or_default(),
        ),
        ("by", writer(view)),
        ("ends", ends),
        ("source", place(view)),
        ("labels", labels.join(" ")),
    ];
    let mut text = String::new();
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        text.push_str(&format!("{name:<10} {}\n", crate::output::one_line(value)));
    }
    if let Some(value) = value {
        text.push_str(&format!("value      {}\n", crate::output::one_line(value)));
    }
    format!("{text}\n{}", cell(view, "text"))
}

/// Labels as they are typed.
fn labels(given: &[String]) -> Result<Map<String, Value>> {
    let read = |label: &String| {
        let parts = label.split_once('=');
        let parts = parts.ok_or_else(|| Misuse(format!("--label {label}: write NAME=VALUE")))?;
        Ok((parts.0.to_owned(), Value::from(parts.1)))
    };
    given.iter().map(read).collect()
}

fn put(session: &Session, args: &MemoryPut) -> Result<()> {
    let text = match (&args.text, &args.file) {
        (Some(text), _) => text.clone(),
        (None, Some(file)) => String::from_utf8(read_input(file)?)
            .map_err(|_| Misuse(format!("{} is not UTF-8", file.display())))?,
        (None, None) => String::new(),
    };
    let mut body = json!({ "text": text, "labels": labels(&args.labels)? });
    if let Some(ttl) = &args.ttl {
        let read = humantime::parse_duration(ttl);
        let read = read.map_err(|error| Misuse(format!("--ttl {ttl}: {error}")))?;
        body["ttl_ms"] = json!(u64::try_from(read.as_millis()).unwrap_or(u64::MAX));
    }
    if let Some(role) = &args.embed {
        body["embed"] = json!(role);
    }
    body["expect"] = match args.expect {
        None => json!("any"),
        Some(0) => json!("absent"),
        Some(version) => json!({ "version": version }),
    };
    let value = args.value.as_deref().map(serde_json::from_str).transpose();
    let document = Document {
        view: body,
        value: value.map_err(|error| Misuse(format!("--value: {error}")))?,
    };
    let body = serde_json::to_vec(&document).context("writing the request")?;
    let path = document_path(&args.namespace, &args.id)?;
    let request = Request::bytes("PUT", path, "application/json", body);
    let answer: Value = session.api.value(&request)?;
    session.format.show(&answer, |answer| {
        format!(
            "{} {} is in version {}",
            cell(answer, "namespace"),
            cell(answer, "id"),
            cell(answer, "version")
        )
    })
}

fn delete(
    session: &Session,
    namespace: &str,
    id: Option<&str>,
    expect: Option<u64>,
    why: &str,
) -> Result<()> {
    let why = format!("?why={}", encode(why));
    match id {
        Some(id) => {
            let expect = expect.map(|version| format!("&expect={version}"));
            let expect = expect.unwrap_or_default();
            let path = format!("{}{why}{expect}", document_path(namespace, id)?);
            session.api.ok(&Request::new("DELETE", path))?;
            let answer = json!({ "namespace": namespace, "deleted": id });
            session
                .format
                .show(&answer, |_| format!("deleted {namespace} {id}"))
        }
        None => {
            let path = format!("{}{why}", namespace_path(namespace)?);
            let answer: Value = session.api.value(&Request::new("DELETE", path))?;
            session.format.show(&answer, |answer| {
                let documents = cell(answer, "documents");
                format!("deleted {namespace} with {documents} documents")
            })
        }
    }
}

fn search(session: &Session, args: &MemorySearch) -> Result<()> {
    let mut body = json!({
        "namespaces": args.namespaces, "text": args.text, "limit": args.limit,
        "labels": labels(&args.labels)?,
    });
    if let Some(role) = &args.embed {
        body["embed"] = json!(role);
    }
    for (name, flag, given) in [("from_ms", "from", &args.from), ("to_ms", "to", &args.to)] {
        if let Some(text) = given {
            body[name] = json!(moment(flag, text)?);
        }
    }
    let request = Request::json("POST", "/v1/memory/search", &body);
    let answer: Value = session.api.value(&request)?;
    session.format.show(&answer, |answer| {
        let hits: Vec<String> = list(answer, "hits").map(hit_text).collect();
        match hits.is_empty() {
            true => "nothing was found".to_owned(),
            false => hits.join("\n\n"),
        }
    })
}

/// A moment as it is typed, UTC: a date, or a date and a time. Milliseconds since 1970.
fn moment(flag: &str, text: &str) -> Result<u64> {
    let whole = match text.len() {
        10 => format!("{text} 00:00:00"),
        _ => text.to_owned(),
    };
    let read = humantime::parse_rfc3339_weak(&whole).ok();
    let since = read.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let ms = since.and_then(|since| u64::try_from(since.as_millis()).ok());
    let wrong = || {
        Misuse(format!(
            "--{flag} {text}: write a date such as 2026-01-31 or a time such as 2026-01-31T09:30:00Z"
        ))
    };
    Ok(ms.ok_or_else(wrong)?)
}

fn hit_text(hit: &Value) -> String {
    let line = |text: &str| crate::output::one_line(text);
    let from = match place(hit) {
        none if none.is_empty() => writer(hit),
        place => place,
    };
    format!(
        "{} {}  ({:.3})\n    {}\n    {}",
        cell(hit, "namespace"),
        line(&cell(hit, "id")),
        hit["score"].as_f64().unwrap_or_default(),
        line(&from),
        line(&cell(hit, "snippet"))
    )
}

fn import_folder(session: &Session, args: &MemoryImport) -> Result<ExitCode> {
    import::check_prefix(&args.prefix).map_err(|error| Misuse(format!("--{error}")))?;
    let program = std::env::current_exe().context("finding this program")?;
    let pdf = PdfReader {
        program,
        args: vec![OsString::from(READ_PDF)],
    };
    let files = import::files(Path::new(&args.dir), Some(&pdf));
    let files = files.map_err(|error| Misuse(error.to_string()))?;
    let mut fixed = json!({
        "namespace": args.namespace, "prefix": args.prefix, "labels": labels(&args.labels)?,
        "no_embed": args.no_embed,
    });
    if let Some(role) = &args.embed {
        fixed["embed"] = json!(role);
    }
    let mut batch = Batch::new(session, fixed);
    let mut there = Vec::new();
    for file in files {
        match &file.chunks {
            Ok(chunks) => batch.add(&file.path, chunks)?,
            Err(why) => batch.refused(&file.path, why)?,
        }
        there.push(file.path);
    }
    batch.send()?;
    if args.prune {
        batch.post(json!({ "there": there }))?;
    }
    let answer = json!({ "namespace": args.namespace, "files": batch.into_report() });
    session.format.show(&answer, import_text)?;
    Ok(match failed(&answer) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(crate::exit::INVALID),
    })
}

/// How many files were to be imported, and were not.
fn failed(answer: &Value) -> usize {
    let failed = |file: &&Value| file["outcome"] == "refused" && file["passed_over"] != true;
    list(answer, "files").filter(failed).count()
}

fn import_text(answer: &Value) -> String {
    let lines =
        list(answer, "files").filter_map(|file| Some(vec![cell(file, "path"), what(file)?]));
    let lines: Vec<Vec<String>> = lines.collect();
    let count = |is: fn(&Value) -> bool| list(answer, "files").filter(|file| is(file)).count();
    let without = list(answer, "files").map(without_vector).sum::<u64>();
    let stale: u64 = list(answer, "files")
        .filter_map(|file| file["kept"].as_u64())
        .sum();
    let mut text = match lines.is_empty() {
        true => Vec::new(),
        false => vec![
            table(&["FILE", "WHAT BECAME OF IT"], &lines)
                .trim_end()
                .to_owned(),
        ],
    };
    text.push(format!("{} files are as they were", count(is_unchanged)));
    if without > 0 {
        text.push(format!(
            "{without} chunks have no vector and stand beside some that have: --embed ROLE makes them"
        ));
    }
    if stale > 0 {
        text.push(format!(
            "{stale} chunks of files that were refused are there from an import before, and are found"
        ));
    }
    match failed(answer) {
        0 => {}
        failed => text.push(format!(
            "{failed} files were not imported: see above for the reasons"
        )),
    }
    text.join("\n")
}

fn is_unchanged(file: &Value) -> bool {
    file["outcome"] == "unchanged" && file["chunks"] != 0
}

/// Chunks of a file without a vector, where others of it have one.
fn without_vector(file: &Value) -> u64 {
    let (chunks, vectors) = (&file["chunks"], &file["vectors"]);
    match (chunks.as_u64(), vectors.as_u64()) {
        (Some(chunks), Some(vectors)) if vectors > 0 => chunks - vectors.min(chunks),
        _ => 0,
    }
}

/// What became of a file; `None`: it is as it was.
fn what(file: &Value) -> Option<String> {
    Some(match file["outcome"].as_str() {
        Some("unchanged") if is_unchanged(file) => return None,
        Some("unchanged") => "no text is in it".to_owned(),
        Some("imported") => {
            let mut said = format!(
                "imported: {} chunks, {} written, {} removed",
                cell(file, "chunks"),
                cell(file, "written"),
                cell(file, "removed")
            );
            let number = |name: &str| file[name].as_u64().unwrap_or_default();
            if number("vectors") + number("vectors_removed") > 0 {
                said.push_str(&format!(", {} with a vector", number("vectors")));
            }
            if number("vectors_removed") > 0 {
                said.push_str(&format!(" ({} fewer)", number("vectors_removed")));
            }
            said
        }
        Some("gone") => format!("gone: {} chunks removed", cell(file, "removed")),
        _ => match file["kept"].as_u64().unwrap_or_default() {
            0 => format!("refused: {}", cell(file, "reason")),
            kept => format!(
                "refused: {}; {kept} chunks of before are there still",
                cell(file, "reason")
            ),
        },
    })
}
