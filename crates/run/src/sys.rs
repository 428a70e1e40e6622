//! System calls that the safe bindings lack, each wrapped once.

mod options;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

pub(crate) use options::{receive_timeout, send_timeout, set_socket_int, set_socket_option, socket_option};

fn check(r: libc::c_int) -> io::Result<libc::c_int> {
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(r) }
}

/// "Is an urgent byte next?"
const SIOCATMARK: libc::Ioctl = 0x8905;

/// The errno of an I/O error, EIO if it carries none.
pub(crate) fn errno_of(e: &io::Error) -> i32 {
    e.raw_os_error().unwrap_or(libc::EIO)
}

/// The soft limit of a resource of task `tid`, and its hard limit.
pub(crate) fn get_limit(tid: u32, resource: u32) -> io::Result<libc::rlimit64> {
    let mut old = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `old` is live and writable; a null new limit only reads.
    check(unsafe { libc::prlimit64(tid as libc::pid_t, resource as _, std::ptr::null(), &raw mut old) })?;
    Ok(old)
}

/// Sets both limits of a resource of task `tid` (0: of the caller).
pub(crate) fn set_limit(tid: u32, resource: u32, limit: libc::rlimit64) -> io::Result<()> {
    // SAFETY: `limit` is live; a null old limit is allowed.
    check(unsafe { libc::prlimit64(tid as libc::pid_t, resource as _, &raw const limit, std::ptr::null_mut()) })?;
    Ok(())
}

/// Gives the calling thread a table of descriptors of its own, with nothing in it.
///
/// For a thread that has just begun and will use no descriptor but those that it opens itself: not even those of its own
/// process that it borrowed before.
pub(crate) fn leave_descriptors() -> io::Result<()> {
    // SAFETY: with this flag the calling thread's table is a new one before anything is closed in it, so no descriptor that
    // another thread owns is closed; the caller owns none.
    check(unsafe { libc::close_range(0, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE as _) }).map(drop)
}

/// Memory of this size and more is the machine's again as soon as it is given back, and until then costs only those of its
/// pages that were written. A C library other than glibc is left as it is.
///
/// glibc begins so, but moves the border up with the first such block that is given back: from then on they are cut from
/// its heap, which is never returned from the middle, and those asked for as zeros are overwritten from end to end. The
/// buffers of a connection are such blocks where a program has said how large they are to be, and where [others](crate::blocks)
/// cannot be had; most connections use a page of each.
pub(crate) fn give_back_from(bytes: libc::c_int) {
    #[cfg(target_env = "gnu")]
    // SAFETY: numbers only; the allocator takes its own locks.
    unsafe {
        // To set the border stops its moving. Four blocks a connection are more than the 65,536 that are the most else.
        libc::mallopt(libc::M_MMAP_THRESHOLD, bytes);
        libc::mallopt(libc::M_MMAP_MAX, libc::c_int::MAX);
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = bytes;
}

/// Where the list of robust mutexes of thread `tid` is; 0 if it has none, or if it cannot be asked.
pub(crate) fn robust_list(tid: u32) -> u64 {
    let (mut head, mut size) = (0u64, 0usize);
    // SAFETY: both are live and of the size of a pointer and of a size_t; the kernel writes one of each.
    let r = unsafe { libc::syscall(libc::SYS_get_robust_list, tid as libc::pid_t, &raw mut head, &raw mut size) };
    if r == 0 { head } else { 0 }
}

/// Copies from the memory of task `tid`; returns how much could be read.
pub(crate) fn vm_read(tid: u32, address: u64, into: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut _, iov_len: into.len() };
    // SAFETY: the local vector describes `into`, live and writable; the remote one is only interpreted in the other task.
    let n = unsafe { libc::process_vm_readv(tid as libc::pid_t, &raw const local, 1, &raw const remote, 1, 0) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// Copies into the memory of task `tid`; returns how much could be written.
pub(crate) fn vm_write(tid: u32, address: u64, from: &[u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: from.as_ptr().cast_mut().cast(), iov_len: from.len() };
    let remote = libc::iovec { iov_base: address as *mut _, iov_len: from.len() };
    // SAFETY: the local vector describes `from`, which is only read; the remote one is interpreted in the other task.
    let n = unsafe { libc::process_vm_writev(tid as libc::pid_t, &raw const local, 1, &raw const remote, 1, 0) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// Copies several ranges from the memory of task `tid`, in order; returns how much could be read before one could not.
pub(crate) fn vm_read_parts<const N: usize>(tid: u32, parts: [(u64, &mut [u8]); N]) -> io::Result<usize> {
    let remote: [_; N] =
        std::array::from_fn(|i| libc::iovec { iov_base: parts[i].0 as *mut _, iov_len: parts[i].1.len() });
    let local = parts.map(|(_, into)| libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() });
    let (pid, n) = (tid as libc::pid_t, N as libc::c_ulong);
    // SAFETY: the local vectors describe what `parts` borrowed, live and writable until the end of this function; the remote
    // ones are only interpreted in the other task.
    let n = unsafe { libc::process_vm_readv(pid, local.as_ptr(), n, remote.as_ptr(), n, 0) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// Copies several ranges into the memory of task `tid`, in order; returns how much could be written before one could not.
pub(crate) fn vm_write_parts(tid: u32, parts: &[(u64, &[u8])]) -> io::Result<usize> {
    let vector = |base: *const u8, iov_len| libc::iovec { iov_base: base.cast_mut().cast(), iov_len };
    let local: Vec<_> = parts.iter().map(|(_, from)| vector(from.as_ptr(), from.len())).collect();
    let remote: Vec<_> = parts.iter().map(|&(address, from)| vector(address as *const u8, from.len())).collect();
    let (pid, n) = (tid as libc::pid_t, parts.len() as libc::c_ulong);
    // SAFETY: the local vectors describe the parts, which are only read; the remote ones are interpreted in the other task.
    let n = unsafe { libc::process_vm_writev(pid, local.as_ptr(), n, remote.as_ptr(), n, 0) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// Whom a task acts for: the real, the effective and the saved one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) uid: [u32; 3],
    pub(crate) gid: [u32; 3],
}

/// `struct pidfd_info` of Linux 6.13.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    /// pid, tgid, ppid; uid and gid, each pair of them real, effective and saved; what follows is of no interest.
    numbers: [u32; 12],
}

const PIDFD_GET_INFO: libc::c_ulong = 0xC040_FF0B;
const PIDFD_INFO_CREDS: u64 = 1 << 1;

/// Who the task that this pidfd is of acts for, in our user namespace (Linux 6.13).
pub(crate) fn ids(pidfd: BorrowedFd<'_>) -> io::Result<Ids> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_CREDS, ..PidfdInfo::default() };
    // SAFETY: `info` is live, writable and of the size that the ioctl number carries.
    check(unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO as _, &raw mut info) })?;
    if info.mask & PIDFD_INFO_CREDS == 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let [_, _, _, ruid, rgid, euid, egid, suid, sgid, ..] = info.numbers;
    Ok(Ids { uid: [ruid, euid, suid], gid: [rgid, egid, sgid] })
}

/// The effective capabilities of task `tid` in its own user namespace.
pub(crate) fn effective_capabilities(tid: u32) -> io::Result<u64> {
    // Version 3: two sets of effective, permitted and inheritable, the low halves first.
    let mut header = [0x2008_0522, tid];
    let mut sets = [[0u32; 3]; 2];
    // SAFETY: the structures of version 3, both live and writable: a version and a pid, and two times three words.
    let r = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
    if r < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from(sets[0][0]) | u64::from(sets[1][0]) << 32)
}

/// Bytes sent on this AF_UNIX socket that the other end has not read, as the kernel accounts them (SIOCOUTQ).
pub(crate) fn unread_by_peer(fd: BorrowedFd<'_>) -> usize {
    let mut n: libc::c_int = 0;
    // SAFETY: TIOCOUTQ writes one int, and `n` is one.
    let r = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut n) };
    if r < 0 { 0 } else { n as usize }
}

/// Does anyone but us have this file open?  Asked by trying for a write lease, which the kernel grants only then.
///
/// `fd` must be our one descriptor of the file, opened for reading.
pub(crate) fn open_elsewhere(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: F_SETLEASE takes a number.
    let r = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
    if r < 0 {
        // EAGAIN says so; any other refusal means that we cannot know, and keeping is the safe side.
        return true;
    }
    // SAFETY: as above; gives the lease back.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
    false
}

/// What a filter's notifications do to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notify {
    /// There are none.
    No,
    /// It waits as in any blocking call: a signal takes it out.
    Interruptible,
    /// Once we have seen it, only a fatal signal does.
    Killable,
}

/// Installs a seccomp program on the calling thread and returns the notification descriptor.
pub(crate) fn install_filter(program: &[libc::sock_filter], notify: Notify) -> io::Result<Option<OwnedFd>> {
    let fprog = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    let flags = match notify {
        Notify::No => 0,
        Notify::Interruptible => libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
        Notify::Killable => libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    };
    // SAFETY: `fprog` describes `program`, both live; the kernel copies them.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER as libc::c_long,
            flags as libc::c_long,
            &raw const fprog,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: with NEW_LISTENER a non-negative result is a fresh descriptor that nobody else owns.
    Ok((notify != Notify::No).then(|| unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
}

/// One datagram from `fd` without waiting, and the process that sent it (needs SO_PASSCRED).
pub(crate) fn recv_with_sender(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, u32)> {
    let mut control = [0u64; 8];
    let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: an all-zero `msghdr` is valid: no name, no vectors, no control data.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.as_mut_ptr().cast();
    msg.msg_controllen = size_of_val(&control);
    // SAFETY: every pointer in `msg` describes a live local buffer of the stated length.
    let n = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut msg, libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC) };
    if n < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut pid = 0;
    // SAFETY: the kernel filled `msg_control` and `msg_controllen`; the CMSG macros stay inside that length.
    unsafe {
        let mut c = libc::CMSG_FIRSTHDR(&raw const msg);
        while !c.is_null() {
            if (*c).cmsg_level == libc::SOL_SOCKET && (*c).cmsg_type == libc::SCM_CREDENTIALS {
                let cred: libc::ucred = libc::CMSG_DATA(c).cast::<libc::ucred>().read_unaligned();
                pid = cred.pid as u32;
            } else if (*c).cmsg_level == libc::SOL_SOCKET && (*c).cmsg_type == libc::SCM_RIGHTS {
                // Descriptors that a program attached to a netlink message: nobody asked for them, so they are closed.
                let count = ((*c).cmsg_len as usize - libc::CMSG_LEN(0) as usize) / size_of::<RawFd>();
                for i in 0..count {
                    drop(OwnedFd::from_raw_fd(libc::CMSG_DATA(c).cast::<RawFd>().add(i).read_unaligned()));
                }
            }
            c = libc::CMSG_NXTHDR(&raw const msg, c);
        }
    }
    Ok((n as usize, pid))
}

/// Receives one datagram without waiting; returns its whole length (`buffer` holds at most its own).
pub(crate) fn recv_datagram(fd: BorrowedFd<'_>, buffer: &mut [u8], peek: bool) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC | if peek { libc::MSG_PEEK } else { 0 };
    // SAFETY: pointer and length describe `buffer`, live and writable.
    let n = unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// A packet as a packet socket gave it.
pub(crate) struct PacketMeta {
    /// Its length, which may be more than the buffer held.
    pub(crate) len: usize,
    /// This host sent it.
    pub(crate) outgoing: bool,
    /// Since 1970.
    pub(crate) time: std::time::Duration,
}

/// Receives one packet from an AF_PACKET socket with SO_TIMESTAMPNS, without waiting.
pub(crate) fn receive_packet(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<PacketMeta> {
    let mut control = [0u64; 8];
    let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all-zero is a valid address and a valid `msghdr`.
    let (mut from, mut msg): (libc::sockaddr_ll, libc::msghdr) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    msg.msg_name = (&raw mut from).cast();
    msg.msg_namelen = size_of_val(&from) as libc::socklen_t;
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.as_mut_ptr().cast();
    msg.msg_controllen = size_of_val(&control);
    // SAFETY: every pointer in `msg` describes a live local buffer of the stated length.
    let n = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut msg, libc::MSG_DONTWAIT | libc::MSG_TRUNC) };
    if n < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut time = None;
    // SAFETY: the kernel filled `msg_control` and `msg_controllen`; the CMSG macros stay inside that length.
    unsafe {
        let mut c = libc::CMSG_FIRSTHDR(&raw const msg);
        while !c.is_null() {
            if (*c).cmsg_level == libc::SOL_SOCKET && (*c).cmsg_type == libc::SCM_TIMESTAMPNS {
                let at: libc::timespec = libc::CMSG_DATA(c).cast::<libc::timespec>().read_unaligned();
                time = Some(std::time::Duration::new(at.tv_sec as u64, at.tv_nsec as u32));
            }
            c = libc::CMSG_NXTHDR(&raw const msg, c);
        }
    }
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let outgoing = from.sll_pkttype == libc::PACKET_OUTGOING;
    Ok(PacketMeta { len: n as usize, outgoing, time: time.unwrap_or_else(now) })
}

/// Binds an AF_PACKET socket to a device and a protocol; returns the device's hardware type.
pub(crate) fn bind_packet(fd: BorrowedFd<'_>, index: u32, protocol: u16) -> io::Result<u16> {
    // SAFETY: all-zero is a valid address.
    let mut at: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    at.sll_family = libc::AF_PACKET as u16;
    at.sll_protocol = protocol.to_be();
    at.sll_ifindex = index as i32;
    let mut len = size_of_val(&at) as libc::socklen_t;
    // SAFETY: `at` is live and of the stated length.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const at).cast(), len) })?;
    // SAFETY: `at` and `len` are live and describe each other.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut at).cast(), &raw mut len) })?;
    Ok(at.sll_hatype)
}

/// Packets that an AF_PACKET socket had no room for.
pub(crate) fn packets_dropped(fd: BorrowedFd<'_>) -> u64 {
    // SAFETY: all-zero is a valid `tpacket_stats`.
    let mut stats: libc::tpacket_stats = unsafe { std::mem::zeroed() };
    let mut len = size_of_val(&stats) as libc::socklen_t;
    // SAFETY: `stats` and `len` are live and describe each other.
    let r = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut stats).cast(),
            &raw mut len,
        )
    };
    if r < 0 { 0 } else { stats.tp_drops.into() }
}

/// Is something to be read here now?
pub(crate) fn readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// Sends one datagram without waiting and without SIGPIPE.
pub(crate) fn send_datagram(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: pointer and length describe `bytes`, which is only read.
    let n = unsafe {
        libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Receives with the caller's flags.
pub(crate) fn recv_flags(fd: BorrowedFd<'_>, buffer: &mut [u8], flags: i32) -> io::Result<usize> {
    // SAFETY: pointer and length describe `buffer`, live and writable.
    let n = unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags & !libc::MSG_TRUNC) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// Sends with the caller's flags; says how much.
pub(crate) fn send_flags(fd: BorrowedFd<'_>, bytes: &[u8], flags: i32) -> io::Result<usize> {
    // SAFETY: pointer and length describe `bytes`, which is only read.
    let n = unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// Shuts a socket down; one that is not connected is as shut as can be.
pub(crate) fn shutdown(fd: BorrowedFd<'_>, how: i32) {
    // SAFETY: takes numbers only.
    unsafe { libc::shutdown(fd.as_raw_fd(), how) };
}

fn poll_now(fd: BorrowedFd<'_>, events: libc::c_short) -> libc::c_short {
    let mut one = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // SAFETY: `one` is one live pollfd; with a timeout of 0 it does not wait.
    let n = unsafe { libc::poll(&raw mut one, 1, 0) };
    if n > 0 { one.revents } else { 0 }
}

/// Has the other end been closed, or shut down both ways?
pub(crate) fn is_hung_up(fd: BorrowedFd<'_>) -> bool {
    poll_now(fd, 0) & (libc::POLLHUP | libc::POLLERR) != 0
}

/// Is there something to read, or to accept, or an error?
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> bool {
    poll_now(fd, libc::POLLIN) != 0
}

/// What there is to take from a stream that does not block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// Nothing yet.
    Nothing,
    /// Bytes, or the end, or an error.
    Something,
    /// The same, and behind it nothing: the other end has been closed, or shut down both ways.
    Last,
    /// A byte that was sent out of band is next.
    Urgent,
}

/// What is next in a stream.
///
/// It is asked before each read. Urgent bytes stay in their place among the others from when one was seen: a read that comes
/// before that has something else to take, and stops there. Reads stop before an urgent byte, but one at the head is read with what follows: if it came
/// between a read that found nothing and that read, nothing would tell it from others. What was seen here stays at the head,
/// because nobody else reads.
pub(crate) fn next_in_stream(fd: BorrowedFd<'_>) -> Waiting {
    match poll_now(fd, libc::POLLIN | libc::POLLPRI | libc::POLLRDHUP) {
        0 => Waiting::Nothing,
        events if events & libc::POLLPRI != 0 => {
            urgent_inline(fd);
            if is_at_mark(fd) { Waiting::Urgent } else { Waiting::Something }
        }
        events if events & (libc::POLLHUP | libc::POLLERR) != 0 => Waiting::Last,
        _ => Waiting::Something,
    }
}

fn is_at_mark(fd: BorrowedFd<'_>) -> bool {
    let mut at: libc::c_int = 0;
    // SAFETY: the request writes an int, and `at` is one.
    let r = unsafe { libc::ioctl(fd.as_raw_fd(), SIOCATMARK, &raw mut at) };
    r == 0 && at != 0
}

/// Bytes that can be read.
pub(crate) fn readable_bytes(fd: BorrowedFd<'_>) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes an int, and `bytes` is one.
    let r = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    if r == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}

/// Leaves urgent bytes in their place among the others. Kernels without them on AF_UNIX refuse, and none will come.
fn urgent_inline(fd: BorrowedFd<'_>) {
    let _ = set_socket_int(fd, libc::SOL_SOCKET, libc::SO_OOBINLINE, 1);
}

/// Sets or clears O_NONBLOCK of an open file.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) {
    // It is ours, and open: neither call has a reason to fail.
    let Ok(flags) = rustix::fs::fcntl_getfl(fd) else { return };
    let mut wanted = flags;
    wanted.set(rustix::fs::OFlags::NONBLOCK, nonblocking);
    let _ = rustix::fs::fcntl_setfl(fd, wanted);
}

/// Takes the pending error of a socket.
pub(crate) fn take_socket_error(fd: BorrowedFd<'_>) -> i32 {
    let mut error: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `error` and `len` are live and describe each other.
    let r = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut error).cast(), &raw mut len)
    };
    if r == 0 { error } else { 0 }
}

/// Makes one end of a datagram pair show an error (ECONNRESET): the other leaves while something is unread there, and
/// comes back.
pub(crate) fn reset_pair(end: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<()> {
    let family = libc::AF_UNIX as libc::sa_family_t;
    // SAFETY: an address of two bytes asks for a name of the kernel's choice; `family` is live.  An end that has one
    // keeps it.
    unsafe { libc::bind(end.as_raw_fd(), (&raw const family).cast(), 2) };
    // SAFETY: all-zero is a valid `sockaddr_un`.
    let mut name: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: `name` and `len` are live and describe each other.
    check(unsafe { libc::getsockname(end.as_raw_fd(), (&raw mut name).cast(), &raw mut len) })?;
    // A full queue is as good as one more.
    let _ = send_datagram(end, &[0]);
    let nobody = libc::AF_UNSPEC as libc::sa_family_t;
    // SAFETY: an address of no family dissolves the connection; `nobody` is live.
    check(unsafe { libc::connect(other.as_raw_fd(), (&raw const nobody).cast(), 2) })?;
    // SAFETY: `name` holds the `len` bytes that the kernel wrote.
    check(unsafe { libc::connect(other.as_raw_fd(), (&raw const name).cast(), len) })?;
    Ok(())
}

/// Is this file in non-blocking mode?
pub(crate) fn is_nonblocking(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| flags.contains(rustix::fs::OFlags::NONBLOCK))
}

/// Binds an AF_UNIX socket to a name of the kernel's choice and lets it listen.
pub(crate) fn autobind_listen(fd: BorrowedFd<'_>, backlog: i32) -> io::Result<()> {
    let family = libc::AF_UNIX as libc::sa_family_t;
    // SAFETY: an address of two bytes (the family alone) asks for autobind; `family` is live.
    let r = unsafe { libc::bind(fd.as_raw_fd(), (&raw const family).cast(), 2) };
    if r < 0 {
        let e = io::Error::last_os_error();
        // A second listen() finds the name in place.
        if e.raw_os_error() != Some(libc::EINVAL) {
            return Err(e);
        }
    }
    // SAFETY: takes numbers only.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) })?;
    Ok(())
}

/// `stat(2)` as the kernel's structure; `follow` as in `lstat` against `stat`.  `dir` is AT_FDCWD or a directory; an
/// empty path means `dir` itself.
pub(crate) fn stat_at(dir: RawFd, path: &CString, follow: bool) -> Result<libc::stat64, i32> {
    let flags = if path.is_empty() {
        libc::AT_EMPTY_PATH
    } else if follow {
        0
    } else {
        libc::AT_SYMLINK_NOFOLLOW
    };
    // SAFETY: all-zero is a valid `stat64`.
    let mut st: libc::stat64 = unsafe { std::mem::zeroed() };
    // SAFETY: `path` is NUL-terminated and live, `st` is live and writable.
    if unsafe { libc::fstatat64(dir, path.as_ptr(), &raw mut st, flags) } < 0 {
        return Err(errno_of(&io::Error::last_os_error()));
    }
    Ok(st)
}

/// `statx(2)` with the caller's own flags and mask.
pub(crate) fn statx_at(dir: RawFd, path: &CString, flags: i32, mask: u32) -> Result<libc::statx, i32> {
    // SAFETY: all-zero is a valid `statx`.
    let mut st: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: `path` is NUL-terminated and live, `st` is live and writable.
    if unsafe { libc::statx(dir, path.as_ptr(), flags, mask, &raw mut st) } < 0 {
        return Err(errno_of(&io::Error::last_os_error()));
    }
    Ok(st)
}

/// `statfs(2)` of an open file.
pub(crate) fn statfs_of(fd: BorrowedFd<'_>) -> Result<libc::statfs, i32> {
    // SAFETY: all-zero is a valid `statfs`.
    let mut st: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `st` is live and writable.
    if unsafe { libc::fstatfs(fd.as_raw_fd(), &raw mut st) } < 0 {
        return Err(errno_of(&io::Error::last_os_error()));
    }
    Ok(st)
}

/// The bytes of a plain kernel structure, for copying into a program.
pub(crate) fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: `Plain` promises a structure of integers with no padding that the kernel would not also write; the
    // values here come from zeroed memory, so every byte is initialised.
    unsafe { std::slice::from_raw_parts((&raw const *value).cast(), size_of::<T>()) }
}

/// Kernel structures made of integers only.
///
/// # Safety
/// Implementers consist of integers, and their values are built from zeroed memory.
pub(crate) unsafe trait Plain {}
// SAFETY: integers only; `stat_at` starts from zeroed memory.
unsafe impl Plain for libc::stat64 {}
// SAFETY: integers only; `statx_at` starts from zeroed memory.
unsafe impl Plain for libc::statx {}
// SAFETY: integers only; `statfs_of` starts from zeroed memory.
unsafe impl Plain for libc::statfs {}

/// A namespace ioctl (`NS_GET_*`) that takes no argument.
pub(crate) fn ns_ioctl(fd: BorrowedFd<'_>, request: u64) -> Result<i32, i32> {
    // SAFETY: these ioctls take no argument and return a number or a descriptor.
    let r = unsafe { libc::ioctl(fd.as_raw_fd(), request as _) };
    if r < 0 { Err(errno_of(&io::Error::last_os_error())) } else { Ok(r) }
}

/// `NS_GET_USERNS` or `NS_GET_PARENT`: the related namespace as a descriptor.
pub(crate) fn ns_related(fd: BorrowedFd<'_>, request: u64) -> Result<OwnedFd, i32> {
    let r = ns_ioctl(fd, request)?;
    // SAFETY: on success these two requests return a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(r) })
}

/// `NS_GET_OWNER_UID` of a user namespace.
pub(crate) fn ns_owner_uid(fd: BorrowedFd<'_>) -> Result<u32, i32> {
    let mut uid: libc::uid_t = 0;
    // SAFETY: the ioctl writes one uid_t, and `uid` is one.
    let r = unsafe { libc::ioctl(fd.as_raw_fd(), 0xb704 as _, &raw mut uid) };
    if r < 0 { Err(errno_of(&io::Error::last_os_error())) } else { Ok(uid) }
}
