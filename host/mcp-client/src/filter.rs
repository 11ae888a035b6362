//! What a server's program asks of the kernel and is refused, where Landlock has no
//! say: sockets, other processes, metadata of files, watching them, rights in a
//! namespace of its own.
//!
//! What must stay true: a call that is refused does nothing and is told so (EPERM, and
//! ENOSYS where there is another way to ask); a number of another interface of the
//! kernel does not get around it.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter, sock_filter,
};

type Failed = Box<dyn std::error::Error>;

/// Refused whatever they are given: rings, which do what this refuses; memory, keys
/// and queues of other processes; metadata, which Landlock does not judge, by paths
/// and by files that were opened to be read; names of files elsewhere, by watching
/// their folder; other namespaces.
const NEVER: [c_long; 38] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_perf_event_open,
    libc::SYS_bpf,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_shmget,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_fsetxattr,
    libc::SYS_fremovexattr,
    libc::SYS_inotify_add_watch,
    libc::SYS_fanotify_init,
    libc::SYS_setns,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    // Their numbers are those of every architecture: fchmodat2, setxattrat,
    // removexattrat, file_setattr, process_mrelease.
    452,
    463,
    466,
    469,
    448,
];
#[cfg(target_arch = "x86_64")]
const NEVER_OLD: [c_long; 3] = [libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_OLD: [c_long; 0] = [];

/// With another process's id in the first place they change that one.
const OWN_ONLY: [c_long; 5] = [
    libc::SYS_prlimit64,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
];

/// Of `setpriority` and `ioprio_set`: all processes of a user.
const PRIORITIES: [(c_long, u64); 2] = [(libc::SYS_setpriority, 2), (libc::SYS_ioprio_set, 3)];

/// Processes that begin in a namespace: as a user of their own they would have the
/// rights of root in it.
const BEGINNING: [c_long; 2] = [libc::SYS_clone, libc::SYS_unshare];
const NEW_USER: u64 = 0x1000_0000;

/// Commands for files that change what they are, also where they are only read:
/// flags, versions and projects, encryption and verification.
const FILE_COMMANDS: [u64; 9] = [
    0x4008_6602, // FS_IOC_SETFLAGS
    0x4004_6602, // FS_IOC32_SETFLAGS
    0x4008_7602, // FS_IOC_SETVERSION
    0x4004_7602, // FS_IOC32_SETVERSION
    0x401c_5820, // FS_IOC_FSSETXATTR
    0x800c_6613, // FS_IOC_SET_ENCRYPTION_POLICY
    0x4080_6685, // FS_IOC_ENABLE_VERITY
    0x4008_6604, // EXT4_IOC_SETVERSION
    0x4004_6604, // EXT4_IOC32_SETVERSION
];

/// Bits of a socket's type that say what it is.
const SOCKET_TYPE: u64 = 0xf;

/// Holds this process, and what it becomes, to it for good.
pub(crate) fn hold(network: bool) -> Result<(), Failed> {
    apply_filter(&program(network)?)?;
    Ok(())
}

fn program(network: bool) -> Result<BpfProgram, Failed> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = BTreeMap::new();
    for number in NEVER.into_iter().chain(NEVER_OLD) {
        rules.insert(number, Vec::new());
    }
    for number in OWN_ONLY {
        rules.insert(number, vec![all([is_not(0, 0)?])?]);
    }
    for (number, of_user) in PRIORITIES {
        let rule = vec![all([is(0, of_user)?])?, all([is_not(1, 0)?])?];
        rules.insert(number, rule);
    }
    for number in BEGINNING {
        let own = condition(0, SeccompCmpOp::MaskedEq(NEW_USER), NEW_USER)?;
        rules.insert(number, vec![all([own])?]);
    }
    let commands = FILE_COMMANDS.map(|command| all([is(1, command)?]));
    let commands = commands.into_iter().collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_ioctl, commands);
    rules.insert(libc::SYS_socket, sockets(network)?);
    rules.insert(libc::SYS_socketpair, pairs()?);
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?;
    let filter: BpfProgram = filter.try_into()?;
    Ok(first().into_iter().chain(filter).collect())
}

/// Of all kinds of sockets only those of the network, where that is allowed, and the
/// one that tells names of network interfaces.
fn sockets(network: bool) -> Result<Vec<SeccompRule>, Failed> {
    let family = |family: i32| u64::from(family.unsigned_abs());
    let netlink = family(libc::AF_NETLINK);
    let mut others = vec![is_not(0, netlink)?];
    if network {
        others.push(is_not(0, family(libc::AF_INET))?);
        others.push(is_not(0, family(libc::AF_INET6))?);
    }
    let route = family(libc::NETLINK_ROUTE);
    Ok(vec![
        SeccompRule::new(others)?,
        all([is(0, netlink)?, is_not(2, route)?])?,
    ])
}

/// Two ends that are connected to each other stay it, but for datagrams, which can be
/// sent to any path.
fn pairs() -> Result<Vec<SeccompRule>, Failed> {
    let kinds = [libc::SOCK_DGRAM, libc::SOCK_RAW].map(|kind| u64::from(kind.unsigned_abs()));
    let refused = |kind| all([condition(1, SeccompCmpOp::MaskedEq(SOCKET_TYPE), kind)?]);
    kinds.into_iter().map(refused).collect()
}

fn all<const N: usize>(conditions: [SeccompCondition; N]) -> Result<SeccompRule, Failed> {
    Ok(SeccompRule::new(conditions.into())?)
}

fn is(place: u8, value: u64) -> Result<SeccompCondition, Failed> {
    condition(place, SeccompCmpOp::Eq, value)
}

fn is_not(place: u8, value: u64) -> Result<SeccompCondition, Failed> {
    condition(place, SeccompCmpOp::Ne, value)
}

/// All that is judged are numbers of 32 bits.
fn condition(place: u8, how: SeccompCmpOp, value: u64) -> Result<SeccompCondition, Failed> {
    let length = SeccompCmpArgLen::Dword;
    Ok(SeccompCondition::new(place, length, how, value)?)
}

/// What is as if it were not there, so that the C library asks in another way. Flags
/// of `clone3` are in memory, where no filter reads them: there is `clone`. The numbers
/// of x32 are those of x86-64 with a bit more, under the same architecture.
fn first() -> Vec<sock_filter> {
    const LOAD_NUMBER: u16 = 0x20;
    const IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    // The number of every architecture.
    const CLONE3: u32 = 435;
    let instruction = |code, jf, k| sock_filter { code, jt: 0, jf, k };
    let missing = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let mut first = vec![instruction(LOAD_NUMBER, 0, 0)];
    first.extend(not_below_x32());
    // Whatever it is not, jumps over the end.
    first.push(instruction(IF_EQUAL, 1, CLONE3));
    first.push(instruction(RETURN, 0, missing));
    first
}

/// Jumps over the next instruction, to the end.
#[cfg(target_arch = "x86_64")]
fn not_below_x32() -> Option<sock_filter> {
    const IF_NOT_BELOW: u16 = 0x35;
    let (code, jt, jf, k) = (IF_NOT_BELOW, 1, 0, 0x4000_0000);
    Some(sock_filter { code, jt, jf, k })
}

#[cfg(not(target_arch = "x86_64"))]
fn not_below_x32() -> Option<sock_filter> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_named_twice() {
        let mut all: Vec<c_long> = NEVER.into_iter().chain(NEVER_OLD).chain(OWN_ONLY).collect();
        all.extend(PRIORITIES.map(|(number, _)| number));
        all.extend(BEGINNING);
        all.extend([libc::SYS_socket, libc::SYS_socketpair, libc::SYS_ioctl]);
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
