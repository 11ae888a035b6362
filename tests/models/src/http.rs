//! HTTP by hand, so that every byte of an answer can be wrong.

use std::io;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::script::{Damage, Raw, Reply, What};
use crate::{Seen, Shared, speak};

const HEAD_BYTES_MAX: usize = 64 << 10;
const BODY_BYTES_MAX: usize = 64 << 20;

/// Reads a request.
pub(crate) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Seen> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if bytes.len() > HEAD_BYTES_MAX || stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length.min(BODY_BYTES_MAX) {
        if stream.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Seen {
        path,
        headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
        text: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// Does what the script says.
pub(crate) async fn act<S>(
    stream: &mut S,
    shared: &Shared,
    seen: &Seen,
    what: &What,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match what {
        What::Close => Ok(()),
        What::Never => gone(stream).await,
        What::Raw(raw) => write_raw(stream, raw).await,
        What::Answer(reply) => {
            if reply.damage.held {
                shared.released().await;
            }
            tokio::time::sleep(Duration::from_millis(reply.damage.delay_ms)).await;
            match seen.body["stream"] == Value::Bool(true) {
                true => write_stream(stream, seen, reply).await,
                false => write_whole(stream, seen, reply).await,
            }
        }
    }
}

/// Waits until the peer has gone away.
async fn gone<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<()> {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Writes an answer that is none of a protocol's.
pub(crate) async fn write_raw<S: AsyncWrite + Unpin>(stream: &mut S, raw: &Raw) -> io::Result<()> {
    let status = if raw.status == 0 { 200 } else { raw.status };
    let mut head = format!("HTTP/1.1 {status} Status\r\n");
    for (name, value) in &raw.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!(
        "content-length: {}\r\nconnection: close\r\n\r\n",
        raw.body.len()
    ));
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(raw.body.as_bytes()).await?;
    stream.shutdown().await
}

async fn write_whole<S: AsyncWrite + Unpin>(
    stream: &mut S,
    seen: &Seen,
    reply: &Reply,
) -> io::Result<()> {
    let body = speak::whole(seen, reply).to_string();
    let encoding = gzip_header(&reply.damage);
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\n{encoding}content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let part = reply
        .damage
        .cut_after
        .map_or(length, |hundredths| length * hundredths.min(100) / 100);
    write_pieces(stream, &body.as_bytes()[..part], &reply.damage).await?;
    stream.shutdown().await
}

fn gzip_header(damage: &Damage) -> &'static str {
    match damage.gzip {
        true => "content-encoding: gzip\r\n",
        false => "",
    }
}

async fn write_stream<S>(stream: &mut S, seen: &Seen, reply: &Reply) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let damage = &reply.damage;
    let encoding = gzip_header(damage);
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n{encoding}transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let events = speak::events(seen, reply);
    for (at, event) in events.iter().enumerate() {
        if damage.cut_after == Some(at) {
            return stream.shutdown().await;
        }
        if damage.stall_after == Some(at) {
            stream.flush().await?;
            return gone(stream).await;
        }
        if damage.error_after == Some(at) {
            write_event(stream, &speak::error_event(seen), damage).await?;
            break;
        }
        if damage.no_end && at + 1 == events.len() {
            break;
        }
        write_event(stream, event, damage).await?;
        if damage.event_ms > 0 {
            tokio::time::sleep(Duration::from_millis(damage.event_ms)).await;
        }
    }
    stream.write_all(b"0\r\n\r\n").await?;
    stream.shutdown().await
}

/// An event: its name, if it has one, and its data.
pub(crate) type Event = (Option<&'static str>, String);

async fn write_event<S: AsyncWrite + Unpin>(
    stream: &mut S,
    event: &Event,
    damage: &Damage,
) -> io::Result<()> {
    let mut text = String::new();
    if damage.pings {
        text.push_str(": a comment\n\nevent: ping\ndata: {\"type\": \"ping\"}\n\n");
        if event.0.is_none() {
            text = ": a comment\n\n: another\n".to_owned();
        }
    }
    if let Some(name) = event.0 {
        text.push_str(&format!("event: {name}\n"));
    }
    text.push_str(&format!("data: {}\n\n", event.1));
    if damage.crlf {
        text = text.replace('\n', "\r\n");
    }
    match damage.write_bytes {
        0 => write_chunk(stream, text.as_bytes()).await,
        bytes => {
            for piece in text.as_bytes().chunks(bytes) {
                write_chunk(stream, piece).await?;
            }
            Ok(())
        }
    }
}

async fn write_chunk<S: AsyncWrite + Unpin>(stream: &mut S, piece: &[u8]) -> io::Result<()> {
    stream
        .write_all(format!("{:x}\r\n", piece.len()).as_bytes())
        .await?;
    stream.write_all(piece).await?;
    stream.write_all(b"\r\n").await?;
    stream.flush().await
}

async fn write_pieces<S: AsyncWrite + Unpin>(
    stream: &mut S,
    bytes: &[u8],
    damage: &Damage,
) -> io::Result<()> {
    let each = if damage.write_bytes == 0 {
        bytes.len().max(1)
    } else {
        damage.write_bytes
    };
    for piece in bytes.chunks(each) {
        stream.write_all(piece).await?;
        stream.flush().await?;
    }
    Ok(())
}
