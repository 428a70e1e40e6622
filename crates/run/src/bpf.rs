//! The seccomp program: which system calls wake the supervisor, which answer at once, which run untouched.
//!
//! A filter sees registers only.  What hides behind a pointer (a path, a `sockaddr`) is decided by the supervisor;
//! what a register tells (a domain, a flag, an ioctl number) is decided here, so that the calls of a program's data
//! path (`read`, `write`, `send`, `recv`, `poll`, `epoll_wait`) are never trapped.
//!
//! Three kinds of calls are refused rather than trapped, because they would pass the filter by: `io_uring` (it opens
//! sockets without a system call the filter can see), foreign architectures and x32 (other numbers for the same
//! calls).  `clone3` hides its flags in memory: ENOSYS makes every libc fall back to `clone`.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO, SECCOMP_RET_USER_NOTIF, c_long, sock_filter,
};

const AUDIT_ARCH_X86_64: u32 = 0xC000_003E;
const OFF_NR: u32 = 0;
const OFF_ARCH: u32 = 4;
/// Numbers from here on belong to the x32 ABI.
const X32_BIT: u32 = 0x4000_0000;

/// What the filter answers for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The kernel runs it.
    Allow,
    /// The supervisor answers it.
    Notify,
    /// This errno at once; 0 means "success without doing anything".
    Errno(u16),
}

impl Action {
    fn value(self) -> u32 {
        match self {
            Self::Allow => SECCOMP_RET_ALLOW,
            Self::Notify => SECCOMP_RET_USER_NOTIF,
            Self::Errno(e) => SECCOMP_RET_ERRNO | u32::from(e),
        }
    }
}

/// A question about the low half of one argument register.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Test {
    /// The argument is this number.
    Is(u8, u32),
    /// The argument has one of these bits.
    HasAny(u8, u32),
    /// The argument, masked, is this number.
    Masked(u8, u32, u32),
    /// The whole 64-bit argument is not a null pointer.
    NotNull(u8),
}

/// What to do with one system call: the first test that holds decides, else `otherwise`.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    nr: u32,
    tests: Vec<(Test, Action)>,
    otherwise: Action,
}

impl Rule {
    /// Every use of `nr` gets `action`.
    pub(crate) fn always(nr: c_long, action: Action) -> Self {
        Self::new(nr, Vec::new(), action)
    }

    /// `nr` with tests, in order.
    pub(crate) fn new(nr: c_long, tests: Vec<(Test, Action)>, otherwise: Action) -> Self {
        Self { nr: u32::try_from(nr).unwrap_or(u32::MAX), tests, otherwise }
    }
}

fn stmt(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn jump(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

fn load(offset: u32) -> sock_filter {
    stmt(BPF_LD | BPF_W | BPF_ABS, offset)
}

fn ret(action: Action) -> sock_filter {
    stmt(BPF_RET | BPF_K, action.value())
}

fn low(arg: u8) -> u32 {
    16 + 8 * u32::from(arg)
}

fn assemble_test(test: Test, action: Action, out: &mut Vec<sock_filter>) {
    match test {
        Test::Is(arg, k) => {
            out.extend([load(low(arg)), jump(BPF_JMP | BPF_JEQ | BPF_K, k, 0, 1), ret(action)]);
        }
        Test::HasAny(arg, bits) => {
            out.extend([load(low(arg)), jump(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1), ret(action)]);
        }
        Test::Masked(arg, mask, k) => out.extend([
            load(low(arg)),
            stmt(BPF_ALU | BPF_AND | BPF_K, mask),
            jump(BPF_JMP | BPF_JEQ | BPF_K, k, 0, 1),
            ret(action),
        ]),
        Test::NotNull(arg) => out.extend([
            load(low(arg)),
            jump(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2),
            load(low(arg) + 4),
            jump(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
            ret(action),
        ]),
    }
}

/// Assembles the program for these rules; calls without a rule are allowed.
pub(crate) fn assemble(rules: &[Rule]) -> Vec<sock_filter> {
    let nosys = Action::Errno(libc::ENOSYS as u16);
    let mut program = vec![
        load(OFF_ARCH),
        jump(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        ret(nosys),
        load(OFF_NR),
        jump(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1),
        ret(nosys),
    ];
    for rule in rules {
        let mut body = Vec::new();
        for &(test, action) in &rule.tests {
            assemble_test(test, action, &mut body);
        }
        body.push(ret(rule.otherwise));
        // A body that a jump cannot span would be a rule of 50 tests: none is near it.
        let skip = u8::try_from(body.len()).expect("a rule's body is shorter than a jump's reach");
        program.push(jump(BPF_JMP | BPF_JEQ | BPF_K, rule.nr, 0, skip));
        program.extend(body);
    }
    program.push(ret(Action::Allow));
    program
}

fn socket_rules() -> Vec<Rule> {
    use Action::{Allow, Errno, Notify};
    use libc::*;
    let native_pairs =
        [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET].map(|d| (Test::Is(0, d as u32), Allow)).into();
    let mut rules = vec![
        // The domain is a register: a host socket of another family cannot be had by changing memory afterwards.
        Rule::always(SYS_socket, Notify),
        // Of these the kernel makes pairs of AF_UNIX only, and says so itself for the others.
        Rule::new(SYS_socketpair, native_pairs, Errno(EAFNOSUPPORT as u16)),
        // With no address a send or a receive is the data path and stays native.
        // An empty send is an error on netlink sockets, and rare on others.
        Rule::new(SYS_sendto, vec![(Test::NotNull(4), Notify), (Test::Is(2, 0), Notify)], Allow),
        Rule::new(SYS_recvfrom, vec![(Test::NotNull(4), Notify)], Allow),
    ];
    // Memory that is shared with a packet socket: at the beginning of a file, never of none.
    rules.push(Rule::new(
        SYS_mmap,
        vec![
            (Test::HasAny(5, u32::MAX), Allow),
            (Test::Masked(3, (MAP_TYPE | MAP_ANONYMOUS) as u32, MAP_SHARED as u32), Notify),
        ],
        Allow,
    ));
    let fd_calls = [
        SYS_bind,
        SYS_listen,
        SYS_accept,
        SYS_accept4,
        SYS_connect,
        SYS_getsockname,
        SYS_getpeername,
        SYS_shutdown,
        SYS_sendmsg,
        SYS_recvmsg,
        SYS_sendmmsg,
        SYS_recvmmsg,
    ];
    rules.extend(fd_calls.map(|nr| Rule::always(nr, Notify)));
    // Options of the socket level that mean the same on the AF_UNIX stand-in stay native.
    let set = [
        SO_BINDTODEVICE,
        SO_BINDTOIFINDEX,
        SO_MARK,
        SO_RCVBUF,
        SO_SNDBUF,
        SO_RCVBUFFORCE,
        SO_SNDBUFFORCE,
        SO_REUSEADDR,
        SO_REUSEPORT,
        SO_KEEPALIVE,
        SO_LINGER,
        SO_OOBINLINE,
        SO_BROADCAST,
        SO_DONTROUTE,
        SO_PRIORITY,
        SO_NO_CHECK,
        SO_TIMESTAMP,
        SO_TIMESTAMPNS,
        SO_RXQ_OVFL,
        SO_ATTACH_FILTER,
        SO_DETACH_FILTER,
        SO_ATTACH_BPF,
        SO_PASSCRED,
        SO_PASSSEC,
        SO_PASSPIDFD,
        SO_PASSRIGHTS,
        SO_INQ,
    ];
    let get = [
        SO_TYPE,
        SO_ERROR,
        SO_RCVBUF,
        SO_SNDBUF,
        SO_DOMAIN,
        SO_PROTOCOL,
        SO_NETNS_COOKIE,
        SO_BINDTODEVICE,
        SO_BINDTOIFINDEX,
        SO_MARK,
        SO_PRIORITY,
        SO_NO_CHECK,
        SO_REUSEPORT,
        SO_PEERCRED,
        SO_PEERGROUPS,
        SO_PEERPIDFD,
        SO_PASSCRED,
        SO_PASSSEC,
        SO_PASSPIDFD,
        SO_PASSRIGHTS,
    ];
    for (nr, options) in [(SYS_setsockopt, set.as_slice()), (SYS_getsockopt, get.as_slice())] {
        let mut tests: Vec<_> = options.iter().map(|&o| (Test::Is(2, o as u32), Notify)).collect();
        tests.push((Test::Is(1, libc::SOL_SOCKET as u32), Allow));
        // An option of another level with a trapped number is decided by the supervisor all the same.
        rules.push(Rule::new(nr, tests, Notify));
    }
    rules
}

/// Newer than the bindings.
pub(crate) const SO_NETNS_COOKIE: i32 = 71;
pub(crate) const SO_PEERGROUPS: i32 = 59;
pub(crate) const SO_PASSPIDFD: i32 = 76;
pub(crate) const SO_PEERPIDFD: i32 = 77;
pub(crate) const SO_PASSRIGHTS: i32 = 83;
pub(crate) const SO_INQ: i32 = 84;

fn namespace_rules() -> Vec<Rule> {
    use Action::{Allow, Errno, Notify};
    use libc::*;
    let nosys = Errno(ENOSYS as u16);
    let mut rules = vec![
        Rule::new(
            SYS_ioctl,
            vec![
                (Test::Masked(1, 0xff00, 0xb700), Notify), // nsfs
                // TUNSETIFF and its kin (0x54c8 to 0x54e3).
                (Test::Masked(1, 0xfff8, 0x54c8), Notify),
                (Test::Masked(1, 0xfff0, 0x54d0), Notify),
                (Test::Masked(1, 0xfffc, 0x54e0), Notify),
                // 0x8901..0x8907 are owner, mark and time stamp: native on any socket.
                (Test::Masked(1, 0xffff_ff00, 0x8900), Notify),
            ],
            Allow,
        ),
        Rule::new(SYS_prlimit64, vec![(Test::Is(1, RLIMIT_LOCKS), Notify)], Allow),
        Rule::new(SYS_getrlimit, vec![(Test::Is(0, RLIMIT_LOCKS), Notify)], Allow),
        Rule::new(SYS_setrlimit, vec![(Test::Is(0, RLIMIT_LOCKS), Notify)], Allow),
        // `fork` and `vfork` run untouched, and so does a `clone` that is one: a signal that comes before we have seen a
        // call interrupts it, and no program expects that of `fork`.  Whoever makes a thread blocks all signals first.
        Rule::new(SYS_clone, vec![(Test::HasAny(0, (CLONE_NEWNET | CLONE_THREAD) as u32), Notify)], Allow),
        // Programs attached to the host's devices, for those who could attach them.
        Rule::always(SYS_bpf, Errno(EPERM as u16)),
        // A program that hides its memory could no longer be served.
        Rule::new(SYS_prctl, vec![(Test::Is(0, PR_SET_DUMPABLE as u32), Notify)], Allow),
    ];
    let notify = [SYS_setns, SYS_unshare, SYS_execve, SYS_execveat, SYS_mount, SYS_umount2];
    rules.extend(notify.map(|nr| Rule::always(nr, Notify)));
    // The new mount calls fall back to mount(2) when absent, whose arguments we can follow.
    let absent = [
        SYS_clone3,
        SYS_io_uring_setup,
        SYS_io_uring_enter,
        SYS_io_uring_register,
        SYS_open_tree,
        SYS_move_mount,
        SYS_fsopen,
        SYS_fspick,
        SYS_mount_setattr,
    ];
    rules.extend(absent.map(|nr| Rule::always(nr, nosys)));
    rules
}

fn path_rules() -> Vec<Rule> {
    use Action::{Allow, Notify};
    use libc::*;
    let empty = AT_EMPTY_PATH as u32;
    let mut rules = vec![
        // fstat in disguise: it names an open file, not a path.
        Rule::new(SYS_newfstatat, vec![(Test::HasAny(3, empty), Allow)], Notify),
        Rule::new(SYS_statx, vec![(Test::HasAny(2, empty), Allow)], Notify),
    ];
    let notify = [
        SYS_open,
        SYS_openat,
        SYS_openat2,
        SYS_creat,
        SYS_stat,
        SYS_lstat,
        SYS_access,
        SYS_faccessat,
        SYS_faccessat2,
        SYS_readlink,
        SYS_readlinkat,
        SYS_mkdir,
        SYS_mkdirat,
        SYS_unlink,
        SYS_unlinkat,
        SYS_rmdir,
        SYS_symlink,
        SYS_symlinkat,
        SYS_statfs,
        SYS_fstatfs,
        SYS_getxattr,
        SYS_lgetxattr,
        SYS_listxattr,
        SYS_llistxattr,
        SYS_truncate,
        SYS_chmod,
        SYS_inotify_add_watch,
        SYS_fchmodat,
        SYS_rename,
        SYS_renameat,
        SYS_renameat2,
    ];
    rules.extend(notify.map(|nr| Rule::always(nr, Notify)));
    rules
}

fn root_look_rules() -> Vec<Rule> {
    let zero = Action::Errno(0);
    let mut rules: Vec<_> = [libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid]
        .map(|nr| Rule::always(nr, zero))
        .into();
    rules.extend([libc::SYS_getresuid, libc::SYS_getresgid].map(|nr| Rule::always(nr, Action::Notify)));
    rules
}

/// The supervisor's rules.  `look_like_root`: the user and group ids read as 0, without a user namespace.
pub(crate) fn rules(look_like_root: bool) -> Vec<Rule> {
    let mut all = path_rules();
    all.extend(socket_rules());
    all.extend(namespace_rules());
    if look_like_root {
        all.extend(root_look_rules());
    }
    all
}

/// The calls that a container runtime's default profile refuses without capabilities, for tests of life inside one.
pub(crate) fn container_profile() -> Vec<Rule> {
    use libc::*;
    let eperm = Action::Errno(EPERM as u16);
    let namespaces =
        (CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWUSER | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)
            as u32;
    let refused = [
        SYS_setns,
        SYS_unshare,
        SYS_mount,
        SYS_umount2,
        SYS_pidfd_getfd,
        SYS_kcmp,
        SYS_bpf,
        SYS_open_by_handle_at,
        SYS_pivot_root,
        SYS_open_tree,
        SYS_move_mount,
        SYS_fsopen,
        SYS_perf_event_open,
        SYS_quotactl,
        SYS_swapon,
        SYS_reboot,
    ];
    let mut rules: Vec<_> = refused.map(|nr| Rule::always(nr, eperm)).into();
    rules.push(Rule::always(SYS_clone3, Action::Errno(ENOSYS as u16)));
    rules.push(Rule::new(SYS_clone, vec![(Test::HasAny(0, namespaces), eperm)], Action::Allow));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine for the five instructions that the assembler uses.
    fn run(program: &[sock_filter], nr: c_long, args: [u64; 6], arch: u32) -> u32 {
        let word = |offset: u32| match offset {
            OFF_NR => nr as u32,
            OFF_ARCH => arch,
            o => (args[(o as usize - 16) / 8] >> (8 * (o % 8))) as u32,
        };
        let (mut a, mut pc) = (0u32, 0usize);
        loop {
            let i = &program[pc];
            pc += 1;
            let code = u32::from(i.code);
            let taken = if code == BPF_LD | BPF_W | BPF_ABS {
                a = word(i.k);
                continue;
            } else if code == BPF_ALU | BPF_AND | BPF_K {
                a &= i.k;
                continue;
            } else if code == BPF_RET | BPF_K {
                return i.k;
            } else if code == BPF_JMP | BPF_JEQ | BPF_K {
                a == i.k
            } else if code == BPF_JMP | BPF_JGE | BPF_K {
                a >= i.k
            } else {
                a & i.k != 0
            };
            pc += usize::from(if taken { i.jt } else { i.jf });
        }
    }

    fn decide(nr: c_long, args: [u64; 6]) -> u32 {
        run(&assemble(&rules(false)), nr, args, AUDIT_ARCH_X86_64)
    }

    #[test]
    fn foreign_architectures_and_x32_are_absent() {
        let nosys = Action::Errno(libc::ENOSYS as u16).value();
        let program = assemble(&rules(false));
        assert_eq!(run(&program, libc::SYS_socket, [2, 1, 0, 0, 0, 0], 0x4000_0003), nosys);
        assert_eq!(run(&program, libc::SYS_socket | i64::from(X32_BIT), [2, 1, 0, 0, 0, 0], AUDIT_ARCH_X86_64), nosys);
    }

    #[test]
    fn no_socket_is_made_unseen() {
        for domain in 0..64 {
            assert_eq!(decide(libc::SYS_socket, [domain, 1, 0, 0, 0, 0]), Action::Notify.value(), "domain {domain}");
        }
    }

    #[test]
    fn sends_without_an_address_are_native_and_high_pointers_count() {
        assert_eq!(decide(libc::SYS_sendto, [3, 0, 9, 0, 0, 0]), Action::Allow.value());
        assert_eq!(decide(libc::SYS_sendto, [3, 0, 9, 0, 0x10, 0]), Action::Notify.value());
        assert_eq!(decide(libc::SYS_sendto, [3, 0, 9, 0, 1 << 32, 0]), Action::Notify.value());
    }

    #[test]
    fn memory_is_mapped_natively_but_what_may_be_a_ring() {
        let map = |flags: i32, offset: u64| decide(libc::SYS_mmap, [0, 4096, 3, flags as u64, 5, offset]);
        assert_eq!(map(libc::MAP_SHARED, 0), Action::Notify.value());
        assert_eq!(map(libc::MAP_SHARED | libc::MAP_LOCKED, 0), Action::Notify.value());
        for (flags, offset) in [
            (libc::MAP_SHARED, 4096),
            (libc::MAP_PRIVATE, 0),
            (libc::MAP_SHARED | libc::MAP_ANONYMOUS, 0),
            (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, 0),
        ] {
            assert_eq!(map(flags, offset), Action::Allow.value(), "{flags:x} {offset}");
        }
    }

    #[test]
    fn namespace_ioctls_are_trapped_and_terminal_ones_are_not() {
        assert_eq!(decide(libc::SYS_ioctl, [3, 0x894C, 0, 0, 0, 0]), Action::Notify.value());
        assert_eq!(decide(libc::SYS_ioctl, [3, 0xb701, 0, 0, 0, 0]), Action::Notify.value());
        assert_eq!(decide(libc::SYS_ioctl, [3, 0x8008_b70d, 0, 0, 0, 0]), Action::Notify.value());
        assert_eq!(decide(libc::SYS_ioctl, [3, 0x5401, 0, 0, 0, 0]), Action::Allow.value());
        assert_eq!(decide(libc::SYS_ioctl, [3, 0x4004_54ca, 0, 0, 0, 0]), Action::Notify.value());
    }

    #[test]
    fn the_data_path_is_native() {
        for nr in
            [libc::SYS_read, libc::SYS_write, libc::SYS_poll, libc::SYS_epoll_wait, libc::SYS_fstat, libc::SYS_futex]
        {
            assert_eq!(decide(nr, [3, 0, 0, 0, 0, 0]), Action::Allow.value());
        }
    }

    #[test]
    fn making_a_process_is_native_but_not_a_thread_or_a_namespace() {
        let clone = |flags: i32| decide(libc::SYS_clone, [flags as u64, 0, 0, 0, 0, 0]);
        let fork = libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
        let spawn = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        for flags in [fork, spawn, libc::CLONE_NEWUSER | libc::SIGCHLD, libc::CLONE_PARENT] {
            assert_eq!(clone(flags), Action::Allow.value(), "{flags:x}");
        }
        let thread = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
        for flags in [thread, libc::CLONE_NEWNET | libc::SIGCHLD, libc::CLONE_NEWNET | libc::CLONE_NEWUSER] {
            assert_eq!(clone(flags), Action::Notify.value(), "{flags:x}");
        }
        for nr in [libc::SYS_fork, libc::SYS_vfork] {
            assert_eq!(decide(nr, [0; 6]), Action::Allow.value());
        }
    }

    #[test]
    fn ways_around_the_filter_are_closed() {
        let nosys = Action::Errno(libc::ENOSYS as u16).value();
        for nr in [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register, libc::SYS_clone3] {
            assert_eq!(decide(nr, [0; 6]), nosys);
        }
    }
}
