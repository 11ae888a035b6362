//! Starting a server's program. The host starts itself once more as the launcher,
//! which confines itself and then becomes the server's program.
//!
//! What must stay true: the program begins with the environment it was given and
//! nothing else, in its own directory, whose files are all it can write; where the
//! kernel can't hold it to that, it does not begin; it ends with the host.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
};
use rustix::process::{
    Resource, Rlimit, Signal, getppid, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
};
use serde::{Deserialize, Serialize};
use tokio::process::Child;

use crate::{Server, Surroundings, filter};

/// What every program may read and execute: the system's libraries and programs,
/// and how names and certificates are found.
pub const READABLE: [&str; 15] = [
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/sbin",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/localtime",
    "/dev/urandom",
];
/// What every program may write besides its own directory.
const WRITABLE: [&str; 1] = ["/dev/null"];

/// Files open at once.
const FILES_MAX: u64 = 1_024;
/// Private memory, bytes. Not address space, of which runtimes reserve much.
const MEMORY_BYTES_MAX: u64 = 4 << 30;
/// Largest file, bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Niceness: calls in sandboxes go first.
const NICENESS: i32 = 5;

/// The oldest kernel interface that holds what is promised of files, and of the
/// network.
const FILES_ABI: ABI = ABI::V3;
const NETWORK_ABI: ABI = ABI::V4;

/// What the kernel can hold a program to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// Nothing: no program is started.
    None,
    /// Files. Programs are started that may use the network.
    Files,
    /// Files and TCP.
    Network,
}

impl Confinement {
    /// In a word, for listings.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Files => "files",
            Self::Network => "files, network",
        }
    }
}

/// What this machine's kernel can hold a program to.
#[must_use]
pub fn confinement() -> Confinement {
    static FOUND: OnceLock<Confinement> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let holds = |ruleset: Result<Ruleset, _>| ruleset.and_then(Ruleset::create).is_ok();
        let files = || hard().handle_access(AccessFs::from_all(FILES_ABI));
        let network = || files()?.handle_access(AccessNet::from_all(NETWORK_ABI));
        match (holds(files()), holds(network())) {
            (false, _) => Confinement::None,
            (true, false) => Confinement::Files,
            (true, true) => Confinement::Network,
        }
    })
}

fn hard() -> Ruleset {
    Ruleset::default().set_compatibility(CompatLevel::HardRequirement)
}

/// What the launcher is told.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    program: String,
    args: Vec<String>,
    dir: String,
    read: Vec<String>,
    /// Of its environment what is no secret. The launcher itself has none of it: what
    /// its loader would read is meant for the program, under all that it is held to.
    variables: BTreeMap<String, String>,
    network: bool,
    parent: i32,
}

/// Starts a server's program.
///
/// # Errors
/// Why it can't be started.
pub(crate) async fn start(server: &Server, around: &Surroundings) -> Result<Child, String> {
    may_start(confinement(), server.allow_network)?;
    let dir = around
        .dir
        .to_str()
        .ok_or("its directory has a name that is no UTF-8")?;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| format!("its directory can't be made: {}", error.kind()))?;
    let order = Order {
        program: server.command.clone().unwrap_or_default(),
        args: server.args.clone(),
        dir: dir.to_owned(),
        read: server.read.clone(),
        variables: server.variables.clone(),
        network: server.allow_network,
        parent: std::process::id().cast_signed(),
    };
    let order = serde_json::to_string(&order).map_err(|error| error.to_string())?;
    let mut command = std::process::Command::new(&around.launcher);
    command
        .args(&around.launcher_args)
        .arg(order)
        .env_clear()
        .current_dir(dir)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, secret) in &server.env {
        let value = around.host.secret(secret);
        let value = value.ok_or_else(|| format!("there is no secret `{secret}`"))?;
        command.env(name, value.as_str());
    }
    spawned(command).await
}

/// Strict is the only mode: what the kernel can't hold a program to is not left out.
fn may_start(can: Confinement, allow_network: bool) -> Result<(), String> {
    match (can, allow_network) {
        (Confinement::Network, _) | (Confinement::Files, true) => Ok(()),
        (Confinement::Files, false) => Err(
            "the kernel has no Landlock that holds it off the network (Linux 6.7), and it may not use it: it is not started"
                .to_owned(),
        ),
        (Confinement::None, _) => Err(
            "the kernel has no Landlock that holds it to its directory (Linux 6.2): it is not started"
                .to_owned(),
        ),
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A child ends with the thread that started it: this one lives as long as the
/// process.
fn starter() -> &'static mpsc::Sender<Job> {
    static STARTER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    STARTER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        let run = move || jobs.into_iter().for_each(|job| job());
        let thread = std::thread::Builder::new().name("mcp-starter".to_owned());
        if let Err(error) = thread.spawn(run) {
            tracing::error!(%error, "no program can be started");
        }
        sender
    })
}

async fn spawned(command: std::process::Command) -> Result<Child, String> {
    let (sender, child) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    let job: Job = Box::new(move || {
        let _entered = runtime.enter();
        let mut command = tokio::process::Command::from(command);
        // Whoever waited may be gone: then it is killed right here.
        let _ = sender.send(command.kill_on_drop(true).spawn());
    });
    let failed = || "the launcher can't be started".to_owned();
    starter().send(job).map_err(|_| failed())?;
    let child = child.await.map_err(|_| failed())?;
    child.map_err(|error| format!("the launcher can't be started: {}", error.kind()))
}

/// The whole of the launcher's `main`: its last argument is the order.
pub fn child_main() -> ExitCode {
    let Some(order) = std::env::args_os().next_back() else {
        return ExitCode::FAILURE;
    };
    let error = become_server(order);
    eprintln!("{error}");
    ExitCode::from(126)
}

/// Returns only where it fails.
fn become_server(order: OsString) -> String {
    let order = order.into_string().ok();
    let order = order.and_then(|order| serde_json::from_str::<Order>(&order).ok());
    let Some(order) = order else {
        return "the launcher was told nothing".to_owned();
    };
    if let Err(error) = limit(&order) {
        return format!("limiting the program: {error}");
    }
    if let Err(error) = confine(&order) {
        return format!("confining the program: {error}");
    }
    if let Err(error) = drop_capabilities() {
        return format!("taking root's rights from the program: {error}");
    }
    if let Err(error) = filter::hold(order.network) {
        return format!("filtering the program's system calls: {error}");
    }
    let error = std::process::Command::new(&order.program)
        .args(&order.args)
        .envs(&order.variables)
        .exec();
    format!("{} can't be run: {error}", order.program)
}

fn limit(order: &Order) -> std::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent = getppid().map(|pid| pid.as_raw_nonzero().get());
    if parent != Some(order.parent) {
        return Err(std::io::Error::other("the host is gone"));
    }
    let set = |resource, most: u64| {
        let (current, maximum) = (Some(most), Some(most));
        setrlimit(resource, Rlimit { current, maximum })
    };
    set(Resource::Core, 0)?;
    set(Resource::Nofile, FILES_MAX)?;
    set(Resource::Data, MEMORY_BYTES_MAX)?;
    set(Resource::Fsize, FILE_BYTES_MAX)?;
    rustix::process::nice(NICENESS)?;
    Ok(())
}

/// Started by root, the program is root's in name alone: what root may beyond others
/// would undo what it is held to.
fn drop_capabilities() -> std::io::Result<()> {
    if capabilities(None)?.permitted.is_empty() {
        return Ok(());
    }
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        match capability_is_in_bounding_set(one) {
            Ok(true) => remove_capability_from_bounding_set(one)?,
            Ok(false) => {}
            // The kernel knows no more of them.
            Err(_) => break,
        }
    }
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    Ok(())
}

/// Files and TCP as far as was promised, and besides whatever more the kernel can:
/// signals and sockets outside, commands of devices.
fn confine(order: &Order) -> Result<(), Box<dyn std::error::Error>> {
    let (all, read) = (AccessFs::from_all(ABI::V9), AccessFs::from_read(ABI::V9));
    let mut ruleset = hard()
        .handle_access(AccessFs::from_all(FILES_ABI))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::AbstractUnixSocket)?
        .scope(Scope::Signal)?;
    if !order.network {
        ruleset = ruleset
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessNet::from_all(NETWORK_ABI))?
            .set_compatibility(CompatLevel::BestEffort);
    }
    // The program and what it was given must be there; of the system's, what is.
    let given = order
        .read
        .iter()
        .chain([&order.program])
        .map(String::as_str);
    for path in given.clone() {
        if !Path::new(path).exists() {
            return Err(format!("{path} is not there").into());
        }
    }
    let status = ruleset
        .create()?
        .add_rules(path_beneath_rules(READABLE, read))?
        .add_rules(path_beneath_rules(given, read))?
        .add_rules(path_beneath_rules(WRITABLE, AccessFs::from_file(ABI::V9)))?
        .add_rules(path_beneath_rules([&order.dir], all))?
        .restrict_self()?;
    match status.no_new_privs && status.ruleset != RulesetStatus::NotEnforced {
        true => Ok(()),
        false => Err("the kernel does not do it".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_held_is_not_started() {
        let table = [
            (Confinement::None, false, Some("Linux 6.2")),
            (Confinement::None, true, Some("Linux 6.2")),
            (Confinement::Files, false, Some("Linux 6.7")),
            (Confinement::Files, true, None),
            (Confinement::Network, false, None),
            (Confinement::Network, true, None),
        ];
        for (can, network, expect) in table {
            match (may_start(can, network), expect) {
                (Ok(()), None) => {}
                (Err(why), Some(expect)) => assert!(why.contains(expect), "{why}"),
                (found, _) => panic!("{can:?} {network}: {found:?}"),
            }
        }
    }
}
