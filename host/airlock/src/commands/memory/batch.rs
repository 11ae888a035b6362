//! Files of an import, sent together.
//!
//! What must stay true: no request is larger than a server takes; a file that is too
//! large to be sent is refused by itself.

use airlock_memory::import;
use anyhow::Result;
use serde_json::{Value, json};

use crate::client::Request;
use crate::commands::Session;

/// Files that are sent at once: so many, or as many as have so many bytes.
const FILES_AT_ONCE: usize = 256;
const BYTES_AT_ONCE: usize = 4 << 20;
/// One file, with the rest of a request: a server takes 64 MiB.
const FILE_BYTES_MAX: usize = 60 << 20;
/// And so many that were refused.
const REFUSED_AT_ONCE: usize = 2_000;

/// A file as it is sent, and its bytes then.
fn sent(path: &str, chunks: &[import::Chunk]) -> Result<(Value, usize)> {
    let file = json!({ "path": path, "chunks": chunks });
    let bytes = serde_json::to_vec(&file)?.len();
    Ok((file, bytes))
}

/// Files that are sent together.
pub(super) struct Batch<'a> {
    session: &'a Session,
    fixed: Value,
    files: Vec<Value>,
    refused: Vec<Value>,
    bytes: usize,
    report: Vec<Value>,
}

impl<'a> Batch<'a> {
    /// Nothing yet; `fixed` is in every request.
    pub(super) fn new(session: &'a Session, fixed: Value) -> Self {
        Self {
            session,
            fixed,
            files: Vec::new(),
            refused: Vec::new(),
            bytes: 0,
            report: Vec::new(),
        }
    }

    /// What became of the files, in the order of their paths.
    pub(super) fn into_report(self) -> Vec<Value> {
        let mut report = self.report;
        report.sort_by(|a, b| a["path"].as_str().cmp(&b["path"].as_str()));
        report
    }

    pub(super) fn add(&mut self, path: &str, chunks: &[import::Chunk]) -> Result<()> {
        let (file, bytes) = sent(path, chunks)?;
        if bytes > FILE_BYTES_MAX {
            let reason = format!(
                "its chunks, with their headings, are {bytes} bytes of JSON, over {FILE_BYTES_MAX}"
            );
            let passed_over = false;
            return self.refused(
                path,
                &import::Refusal {
                    reason,
                    passed_over,
                },
            );
        }
        if self.files.len() >= FILES_AT_ONCE || self.bytes + bytes > BYTES_AT_ONCE {
            self.send()?;
        }
        self.bytes += bytes;
        self.files.push(file);
        Ok(())
    }

    pub(super) fn refused(&mut self, path: &str, why: &import::Refusal) -> Result<()> {
        if self.refused.len() >= REFUSED_AT_ONCE {
            self.send()?;
        }
        let (reason, over) = (&why.reason, why.passed_over);
        let refused = json!({ "path": path, "reason": reason, "passed_over": over });
        self.refused.push(refused);
        Ok(())
    }

    pub(super) fn send(&mut self) -> Result<()> {
        if self.files.is_empty() && self.refused.is_empty() {
            return Ok(());
        }
        let files = std::mem::take(&mut self.files);
        let refused = std::mem::take(&mut self.refused);
        self.bytes = 0;
        self.post(json!({ "files": files, "refused": refused }))
    }

    pub(super) fn post(&mut self, parts: Value) -> Result<()> {
        let mut body = self.fixed.clone();
        for (name, value) in parts.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let request = Request::json("POST", "/v1/memory/import", &body);
        let mut answer: Value = self.session.api.value(&request)?;
        if let Value::Array(files) = answer["files"].take() {
            self.report.extend(files);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A heading stands in each chunk below it, and a quote is two bytes of JSON.
    #[test]
    fn a_file_weighs_what_is_sent_of_it() {
        let chunk = import::Chunk {
            text: "a".to_owned(),
            source: airlock_memory::Source {
                headings: vec!["\"".repeat(256); 8],
                ..Default::default()
            },
        };
        let (file, bytes) = sent("a.md", &vec![chunk; 100]).expect("JSON");
        assert!(bytes > 100 * 8 * 512 && bytes == file.to_string().len());
    }
}
