//! A load generator for HTTP/1.1 over loopback: preformatted requests on
//! kept-alive connections, so that the generator costs little.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One request, sent again and again.
#[derive(Clone)]
pub struct Request {
    /// Where to.
    pub address: SocketAddr,
    bytes: Vec<u8>,
}

impl Request {
    /// A POST of a JSON body.
    pub fn post(address: SocketAddr, path: &str, token: Option<&str>, body: &str) -> Self {
        let auth = token.map(|token| ("authorization", format!("Bearer {token}")));
        Self::post_with(address, path, auth.as_slice(), body)
    }

    /// The same with headers.
    pub fn post_with(
        address: SocketAddr,
        path: &str,
        headers: &[(&str, String)],
        body: &str,
    ) -> Self {
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\n{headers}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Self {
            address,
            bytes: [head.as_bytes(), body.as_bytes()].concat(),
        }
    }

    /// A GET of a media type.
    pub fn get(address: SocketAddr, path: &str, token: &str, accept: &str) -> Self {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\naccept: {accept}\r\n\r\n"
        );
        Self {
            address,
            bytes: head.into_bytes(),
        }
    }
}

/// A kept-alive connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(8192),
        })
    }

    /// Whether the last response has these bytes in it.
    fn holds(&self, bytes: &[u8]) -> bool {
        self.buffer.windows(bytes.len()).any(|part| part == bytes)
    }

    /// Sends the request, waits for the whole response, and returns its status.
    pub async fn send(&mut self, request: &Request) -> Result<u16> {
        Ok(self.exchange(request).await?.0)
    }

    /// The same, with the response's body.
    pub async fn exchange(&mut self, request: &Request) -> Result<(u16, &[u8])> {
        self.stream.write_all(&request.bytes).await?;
        self.buffer.clear();
        loop {
            if let Some((status, body)) = complete(&self.buffer)? {
                return Ok((status, &self.buffer[body..]));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection");
            }
        }
    }
}

/// The status and where the body begins, once all of it is there. A body in
/// chunks is given as it came.
fn complete(buffer: &[u8]) -> Result<Option<(u16, usize)>> {
    let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&buffer[..end]).context("response head")?;
    let status = head
        .get(9..12)
        .and_then(|s| s.parse().ok())
        .context("status line")?;
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let whole = match header("content-length") {
        Some(length) => {
            let length: usize = length.parse().context("content-length")?;
            buffer.len() >= end + 4 + length
        }
        None => {
            let chunked = header("transfer-encoding") == Some("chunked");
            anyhow::ensure!(chunked, "a response without a length");
            buffer.ends_with(b"\r\n0\r\n\r\n")
        }
    };
    Ok(whole.then_some((status, end + 4)))
}

/// Requests per second, closed loop, over `connections` connections for `time`.
pub async fn throughput(request: &Request, connections: usize, time: Duration) -> Result<f64> {
    let mut tasks = Vec::new();
    let start = Instant::now();
    for _ in 0..connections {
        let request = request.clone();
        tasks.push(tokio::spawn(async move {
            let mut connection = Connection::open(request.address).await?;
            let mut count = 0u64;
            while start.elapsed() < time {
                let status = connection.send(&request).await?;
                anyhow::ensure!(status == 200, "status {status}");
                // As the Model Context Protocol tells of a call that failed.
                let failed = connection.holds(b"\"isError\":true");
                anyhow::ensure!(!failed, "a call failed");
                count += 1;
            }
            anyhow::Ok(count)
        }));
    }
    let mut total = 0;
    for task in tasks {
        total += task.await??;
    }
    Ok(total as f64 / start.elapsed().as_secs_f64())
}

/// Latencies, open loop: `rate` requests per second for `time`, each measured
/// from when it was due, over a pool of connections large enough not to wait.
pub async fn open_loop(
    request: &Request,
    rate: f64,
    time: Duration,
    connections: usize,
) -> Result<Vec<Duration>> {
    let count = (rate * time.as_secs_f64()) as u32;
    let gap = Duration::from_secs_f64(1.0 / rate);
    let start = tokio::time::Instant::now() + Duration::from_millis(20);
    let mut tasks = Vec::new();
    for lane in 0..connections as u32 {
        let request = request.clone();
        tasks.push(tokio::spawn(async move {
            let mut connection = Connection::open(request.address).await?;
            let mut latencies = Vec::new();
            for index in (lane..count).step_by(connections) {
                let due = start + gap * index;
                tokio::time::sleep_until(due).await;
                connection.send(&request).await?;
                latencies.push(due.elapsed());
            }
            anyhow::Ok(latencies)
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    all.sort_unstable();
    Ok(all)
}

/// The quantile of sorted values.
pub fn quantile(sorted: &[Duration], q: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get(((sorted.len() as f64 * q) as usize).min(last))
        .copied()
        .unwrap_or_default()
}
