//! One attempt for each path.

use airlock_sdk::prelude::*;
use airlock_sdk::serde_json::{Map, Value, json};
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{
    Descriptor, DescriptorFlags, ErrorCode, NewTimestamp, OpenFlags, PathFlags,
};
use wasip2::io::streams::StreamError;

use crate::{Attack, preopen, told};

const FOLLOW: PathFlags = PathFlags::SYMLINK_FOLLOW;

/// The guest paths of the preopens.
#[tool]
pub fn preopens(_input: Attack) -> Result<Value, Error> {
    Ok(get_directories()
        .into_iter()
        .map(|(_, path)| path)
        .collect())
}

fn each(input: &Attack, attempt: impl Fn(&Descriptor, &str) -> Value) -> Result<Value, Error> {
    let dir = input.preopen()?;
    let told = |path: &String| (path.clone(), attempt(&dir, path));
    Ok(Value::Object(
        input.paths.iter().map(told).collect::<Map<_, _>>(),
    ))
}

fn content(dir: &Descriptor, path: &str) -> Result<String, ErrorCode> {
    let file = dir.open_at(FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ)?;
    let (bytes, _) = file.read(1 << 20, 0)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Opens and reads each path, and says what it read.
#[tool]
pub fn open_each(input: Attack) -> Result<Value, Error> {
    each(&input, |dir, path| match content(dir, path) {
        Ok(content) => json!(["ok", content]),
        Err(code) => json!(code.name()),
    })
}

/// Reads each path as a link.
#[tool]
pub fn readlink_each(input: Attack) -> Result<Value, Error> {
    each(&input, |dir, path| told(dir.readlink_at(path)))
}

/// Makes a link `evil` to each path, hard and symbolic.
#[tool]
pub fn link_each(input: Attack) -> Result<Value, Error> {
    each(&input, |dir, path| {
        json!([
            told(dir.symlink_at(path, "evil")),
            told(dir.link_at(PathFlags::empty(), path, dir, "evil")),
        ])
    })
}

/// Tries every way to change each path, and what was opened there for reading.
#[tool]
pub fn change_each(input: Attack) -> Result<Value, Error> {
    let now = NewTimestamp::Now;
    each(&input, |dir, path| {
        let write = DescriptorFlags::WRITE;
        let open = |how, flags| told(dir.open_at(FOLLOW, path, how, flags));
        let mut told_all = vec![
            open(OpenFlags::empty(), write),
            open(OpenFlags::TRUNCATE, write),
            open(OpenFlags::TRUNCATE, DescriptorFlags::READ),
            open(OpenFlags::CREATE, DescriptorFlags::READ),
            told(dir.set_times_at(FOLLOW, path, now, now)),
            told(dir.create_directory_at(&format!("{path}-new"))),
            told(dir.rename_at(path, dir, "evil")),
            told(dir.unlink_file_at(path)),
            told(dir.remove_directory_at(path)),
        ];
        if let Ok(file) = dir.open_at(FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ) {
            told_all.extend([
                told(file.set_size(0)),
                told(file.set_times(now, now)),
                told(file.write(b"evil", 0)),
                told(file.write_via_stream(0)),
                told(file.append_via_stream()),
            ]);
        }
        Value::Array(told_all)
    })
}

/// Renames and links the first path into the directory named by the second, and
/// back.
#[tool]
pub fn rename_across(input: Attack) -> Result<Value, Error> {
    let here = input.preopen()?;
    let [path, other] = input.paths.as_slice() else {
        return Err(Error::invalid_input("paths: a file and another preopen"));
    };
    let there = preopen(other)?;
    Ok(json!([
        told(here.rename_at(path, &there, "evil")),
        told(here.link_at(PathFlags::empty(), path, &there, "evil")),
        told(there.rename_at(path, &here, "evil")),
        told(there.link_at(PathFlags::empty(), path, &here, "evil")),
    ]))
}

/// Reads and writes below the first path `amount` times while the host swaps it,
/// and says everything that it read.
#[tool]
pub fn race(input: Attack) -> Result<Value, Error> {
    let dir = input.preopen()?;
    let path = input.paths.first().map(String::as_str).unwrap_or_default();
    let mut seen = std::collections::BTreeMap::<String, u64>::new();
    for _ in 0..input.amount {
        let read = match content(&dir, &format!("{path}/secret")) {
            Ok(content) => content,
            Err(code) => code.name().to_owned(),
        };
        *seen.entry(read).or_default() += 1;
        let how = OpenFlags::CREATE;
        let made = dir.open_at(FOLLOW, &format!("{path}/made"), how, DescriptorFlags::WRITE);
        let _ = made.and_then(|file| file.write(b"evil", 0));
    }
    Ok(json!(seen))
}

/// Counts the entries of the directory.
#[tool]
pub fn list(input: Attack) -> Result<Value, Error> {
    let dir = input.preopen()?;
    let failed = |code: ErrorCode| Error::permanent(code.name());
    let entries = dir.read_directory().map_err(failed)?;
    let mut count = 0u64;
    while entries.read_directory_entry().map_err(failed)?.is_some() {
        count += 1;
    }
    Ok(json!(count))
}

/// Every text about errors that it can get: of denials, and of a stream.
#[tool]
pub fn error_text(input: Attack) -> Result<Value, Error> {
    let dir = input.preopen()?;
    let mut texts = Vec::new();
    for path in &input.paths {
        if let Err(error) = std::fs::read(path) {
            texts.push(format!("{error} {error:?}"));
        }
    }
    let file = dir.open_at(FOLLOW, "over", OpenFlags::CREATE, DescriptorFlags::WRITE);
    let stream = file.and_then(|file| file.write_via_stream(u64::MAX - 1));
    if let Ok(stream) = stream
        && let Err(StreamError::LastOperationFailed(error)) =
            stream.blocking_write_and_flush(b"evil")
    {
        texts.push(error.to_debug_string());
        texts.push(format!(
            "{:?}",
            wasip2::filesystem::types::filesystem_error_code(&error)
        ));
    }
    Ok(json!(texts))
}
