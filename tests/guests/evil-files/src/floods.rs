//! Taking all there is: bytes, names, depth, handles, buffers.

use airlock_sdk::prelude::*;
use airlock_sdk::serde_json::{Value, json};
use wasip2::filesystem::types::{DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasip2::io::streams::StreamError;

use crate::{Attack, told};

const NONE: PathFlags = PathFlags::empty();

/// Writes files of `amount` bytes until it is refused; says how many bytes got
/// in. With a path, deletes each file of that name while it is open.
#[tool]
pub fn fill(input: Attack) -> Result<Value, Error> {
    let dir = input.preopen()?;
    let chunk = vec![7; usize::try_from(input.amount).unwrap_or(1).max(1)];
    let deleted = !input.paths.is_empty();
    let (mut held, mut bytes) = (Vec::new(), 0);
    let code = loop {
        let name = if deleted {
            input.paths[0].clone()
        } else {
            format!("fill-{}", held.len())
        };
        let wrote = dir
            .open_at(NONE, &name, OpenFlags::CREATE, DescriptorFlags::WRITE)
            .and_then(|file| file.write(&chunk, 0).map(|n| (file, n)));
        if deleted {
            let _ = dir.unlink_file_at(&name);
        }
        match wrote {
            Ok((file, n)) => {
                bytes += n;
                held.push(file);
            }
            Err(code) => break code,
        }
    };
    Ok(json!({ "bytes": bytes, "files": held.len(), "told": code.name() }))
}

/// Makes empty files, then directories, until it is refused.
#[tool]
pub fn inodes(input: Attack) -> Result<Value, Error> {
    let dir = input.preopen()?;
    let mut made = 0u64;
    let file = loop {
        let how = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        match dir.open_at(NONE, &format!("inode-{made}"), how, DescriptorFlags::WRITE) {
            Ok(_) => made += 1,
            Err(code) => break code,
        }
    };
    let directory = dir.create_directory_at("one-more");
    Ok(json!({ "made": made, "file": file.name(), "directory": told(directory) }))
}

/// Makes directories in each other by descriptor, until it is refused.
#[tool]
pub fn deepen(input: Attack) -> Result<Value, Error> {
    let mut dir = input.preopen()?;
    for depth in 0..100_000u64 {
        let deeper = dir
            .create_directory_at("d")
            .and_then(|()| dir.open_at(NONE, "d", OpenFlags::DIRECTORY, DescriptorFlags::READ));
        match deeper {
            Ok(deeper) => dir = deeper,
            Err(code) => return Ok(json!({ "depth": depth, "told": code.name() })),
        }
    }
    Ok(json!("ok"))
}

/// Keeps opening the first path until it is refused.
#[tool]
pub fn open_many(input: Attack) -> Result<Value, Error> {
    let dir = input.preopen()?;
    let path = input.paths.first().map(String::as_str).unwrap_or(".");
    let mut held = Vec::new();
    loop {
        match dir.open_at(NONE, path, OpenFlags::empty(), DescriptorFlags::READ) {
            Ok(file) => held.push(file),
            Err(code) => return Ok(json!({ "open": held.len(), "told": code.name() })),
        }
    }
}

/// Starts writes on `amount` streams without waiting for any.
#[tool]
pub fn write_without_waiting(input: Attack) -> Result<Value, Error> {
    let dir = input.preopen()?;
    let failed = |code: ErrorCode| Error::permanent(code.name());
    let chunk = vec![7; 64 << 10];
    let mut streams = Vec::new();
    for n in 0..input.amount {
        let file = dir.open_at(
            NONE,
            &format!("{}", n % 8),
            OpenFlags::CREATE,
            DescriptorFlags::WRITE,
        );
        let stream = file
            .and_then(|file| file.write_via_stream(0))
            .map_err(failed)?;
        while let Ok(0) = stream.check_write() {}
        drop(stream.write(&chunk));
        streams.push(stream);
    }
    let flushed = streams.iter().all(|stream| stream.blocking_flush().is_ok());
    Ok(json!({ "flushed": flushed }))
}

/// Reads the first path over and over through one stream at a time, until it is
/// stopped or `amount` rounds are over. Makes a file `started` when it has begun.
#[tool]
pub fn read_until_stopped(input: Attack) -> Result<Value, Error> {
    let dir = input.preopen()?;
    let path = input.paths.first().map(String::as_str).unwrap_or(".");
    let failed = |code: ErrorCode| Error::permanent(code.name());
    let file = dir
        .open_at(NONE, path, OpenFlags::empty(), DescriptorFlags::READ)
        .map_err(failed)?;
    for round in 0..input.amount {
        let stream = match file.read_via_stream(0) {
            Ok(stream) => stream,
            Err(code) => return Ok(json!({ "rounds": round, "told": code.name() })),
        };
        match stream.blocking_read(100) {
            Ok(_) | Err(StreamError::Closed) => {
                let _ = dir.open_at(NONE, "started", OpenFlags::CREATE, DescriptorFlags::WRITE);
            }
            Err(StreamError::LastOperationFailed(_)) => {
                return Ok(json!({ "rounds": round, "told": "stream" }));
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(json!({ "rounds": input.amount, "told": "ok" }))
}
