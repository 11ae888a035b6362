//! Runs the compiler as a child process and takes what it made.
//!
//! What must stay true: the child ends within its limits or is killed, also when
//! nobody waits for it any more; the reason it ended is named.

use std::io::{Error, ErrorKind};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::child::{EXIT_REFUSED, Order};
use super::{CompileError, Compiler, InstallLimits};
use crate::limits::ByteSize;

/// The most code a component may become, bytes.
const CODE_BYTES_MAX: u64 = 512 << 20;

/// How often a compiler that somebody kills is started: a host without memory picks
/// one process, and next time another.
const STARTS_MAX: u32 = 3;

/// The most the child may say about a failure, bytes.
const REASON_BYTES_MAX: u64 = 16 << 10;

/// Compiles `component` in a child process.
pub(super) async fn compile(
    compiler: &Compiler,
    limits: &InstallLimits,
    compatible: &[u8; 32],
    component: Bytes,
) -> Result<Vec<u8>, CompileError> {
    #[cfg(any(test, feature = "testing"))]
    if compiler.program.as_os_str().is_empty() {
        return super::child::compile_here(&component, compatible);
    }
    let order = Order {
        cpu_seconds: limits.cpu.0.as_secs().max(1),
        memory_bytes: limits.memory.0,
        compatible: *compatible,
    };
    for _ in 1..STARTS_MAX {
        match attempt(compiler, limits, &order, &component).await {
            Err(CompileError::Child(error)) if error.kind() == ErrorKind::Interrupted => {
                tracing::warn!(%error, "a component is compiled again");
            }
            ended => return ended,
        }
    }
    attempt(compiler, limits, &order, &component).await
}

async fn attempt(
    compiler: &Compiler,
    limits: &InstallLimits,
    order: &Order,
    component: &[u8],
) -> Result<Vec<u8>, CompileError> {
    let mut child = start(compiler).map_err(CompileError::Child)?;
    match tokio::time::timeout(limits.wall.0, converse(&mut child, order, component)).await {
        Ok(Ok((status, code, reason))) => judge(status, code, &reason, limits),
        Ok(Err(error)) => Err(CompileError::Child(error)),
        Err(_) => Err(CompileError::Limit {
            limit: "wall",
            value: limits.wall.to_string(),
        }),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the compiler is the one program the sandbox starts"
)]
fn start(compiler: &Compiler) -> std::io::Result<Child> {
    Command::new(&compiler.program)
        .args(&compiler.args)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

async fn converse(
    child: &mut Child,
    order: &Order,
    component: &[u8],
) -> std::io::Result<(ExitStatus, Vec<u8>, String)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let send = async move {
        let Some(mut stdin) = stdin else { return };
        // A child that ended early has said why; its status tells.
        let _ = stdin.write_all(&order.encode()).await;
        let _ = stdin.write_all(component).await;
    };
    let receive = read(stdout, CODE_BYTES_MAX + 1);
    let listen = read(stderr, REASON_BYTES_MAX);
    let ((), code, reason) = tokio::join!(send, receive, listen);
    let (code, reason) = (code?, reason?);
    if code.len() as u64 > CODE_BYTES_MAX {
        child.start_kill()?;
    }
    let status = child.wait().await?;
    Ok((status, code, String::from_utf8_lossy(&reason).into_owned()))
}

async fn read(from: Option<impl AsyncRead + Unpin>, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(bytes_max).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

fn judge(
    status: ExitStatus,
    code: Vec<u8>,
    reason: &str,
    limits: &InstallLimits,
) -> Result<Vec<u8>, CompileError> {
    let reached = |limit, value: String| Err(CompileError::Limit { limit, value });
    if code.len() as u64 > CODE_BYTES_MAX {
        return reached("artifact", ByteSize(CODE_BYTES_MAX).to_string());
    }
    if status.success() {
        return Ok(code);
    }
    if status.code() == Some(EXIT_REFUSED) {
        let reason = reason.trim().to_owned();
        return Err(CompileError::Refused { reason });
    }
    match status.signal() {
        Some(libc::SIGXCPU) => reached("cpu", limits.cpu.to_string()),
        // Its own limit sends the other signal, a second before this one.
        Some(libc::SIGKILL) => Err(CompileError::Child(Error::new(
            ErrorKind::Interrupted,
            "the compiler was killed from outside, as by a host without memory",
        ))),
        _ if out_of_memory(status, reason) => reached("memory", limits.memory.to_string()),
        _ => Err(CompileError::Child(Error::other(format!(
            "the compiler ended with {status}: {}",
            reason.trim()
        )))),
    }
}

/// Under its limit of address space, the child aborts at an allocation, can't map
/// memory, or can't start a thread.
fn out_of_memory(status: ExitStatus, reason: &str) -> bool {
    let said = [
        "memory allocation of",
        "Cannot allocate memory",
        "out of memory",
    ];
    status.signal() == Some(libc::SIGSEGV) || said.iter().any(|text| reason.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A compiler that is killed so many times, and then answers.
    fn killed(times: u32, marks: &std::path::Path) -> Compiler {
        let marks = marks.display();
        let script = format!(
            "n=1; while [ -e {marks}/$n ]; do n=$((n+1)); done; : > {marks}/$n; \
             [ $n -gt {times} ] || kill -9 $$; printf code"
        );
        Compiler {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
        }
    }

    /// Nothing is wrong with the component, and no limit was reached.
    #[tokio::test]
    async fn a_compiler_that_somebody_kills_is_started_again() {
        let limits = InstallLimits::default();
        for (times, starts, compiled) in [(0, 1, true), (1, 2, true), (2, 3, true), (9, 3, false)] {
            let marks = tempfile::tempdir().expect("a folder");
            let compiler = killed(times, marks.path());
            let component = Bytes::from_static(b"component");
            let ended = compile(&compiler, &limits, &[0; 32], component).await;
            let made = (1..10).filter(|n| marks.path().join(n.to_string()).exists());
            let made = made.count();
            assert_eq!(made, starts, "{times}");
            match ended {
                Ok(code) => assert!(compiled && code == b"code", "{times}"),
                Err(CompileError::Child(error)) => {
                    assert!(!compiled, "{times}: {error}");
                    assert_eq!(error.kind(), ErrorKind::Interrupted);
                }
                Err(error) => panic!("{times}: {error}"),
            }
        }
    }

    /// Its limit of CPU is told by a signal of its own.
    #[test]
    fn each_way_to_end_is_named() {
        let limits = InstallLimits::default();
        let ends = |signal| judge(ExitStatus::from_raw(signal), Vec::new(), "", &limits);
        for (signal, expect) in [
            (libc::SIGXCPU, "compiling reached the limit `cpu` (1m)"),
            (libc::SIGSEGV, "compiling reached the limit `memory` (2GiB)"),
            (libc::SIGKILL, "running the compiler"),
            (libc::SIGABRT, "running the compiler"),
        ] {
            let error = ends(signal).expect_err("it ended by a signal");
            assert_eq!(error.to_string(), expect, "{signal}");
        }
    }
}
