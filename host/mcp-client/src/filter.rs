//! What a server's program asks of the kernel and is refused, where Landlock has no
//! say: sockets, other processes, metadata of files by their paths.
//!
//! What must stay true: a call that is refused does nothing and is told so (EPERM); a
//! number of another interface of the kernel does not get around it.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter, sock_filter,
};

type Failed = Box<dyn std::error::Error>;

/// Refused whatever they are given: rings, which do what this refuses; memory, keys
/// and queues of other processes; metadata by paths, which Landlock does not judge.
const NEVER: [c_long; 31] = [
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

/// The numbers of x32 are those of x86-64 with a bit more, under the same
/// architecture: there are none.
#[cfg(target_arch = "x86_64")]
fn first() -> Vec<sock_filter> {
    const X32: u32 = 0x4000_0000;
    let instruction = |code, jf, k| sock_filter { code, jt: 0, jf, k };
    let refused = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    vec![
        // The number; where it is not below X32, the next one ends it.
        instruction(0x20, 0, 0),
        instruction(0x35, 1, X32),
        instruction(0x06, 0, refused),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn first() -> Vec<sock_filter> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_named_twice() {
        let mut all: Vec<c_long> = NEVER.into_iter().chain(NEVER_OLD).chain(OWN_ONLY).collect();
        all.extend(PRIORITIES.map(|(number, _)| number));
        all.extend([libc::SYS_socket, libc::SYS_socketpair]);
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
