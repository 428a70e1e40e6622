//! The AF_UNIX sockets of a namespace, as `ss -x` lists them.
//!
//! The host's kernel has them.  It is asked for all, and those are taken that are open in programs of this run: a socket
//! that we made tells its namespace, any other is where its program is.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;

use pernet::NetRef;
use pernet_rtnl::UnixEntry;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

use crate::sockets::Emulated;
use crate::task::{Task, numbers};
use crate::world::{World, lock};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Of `struct nlmsghdr` and `struct unix_diag_msg`.
const HEADER: usize = 16;
/// Name, inode of a path, peer, those who wait, queues, memory, owner.
const EVERYTHING: u32 = 0x7f;
const PEER: u32 = 4;

fn half(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |&half| u16::from_ne_bytes(half)).into()
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|&word| u32::from_ne_bytes(word)).collect()
}

/// One of the kernel's, with its name as the kernel has it.
fn parse(message: &[u8]) -> Option<UnixEntry> {
    let (fixed, mut rest) = message.split_first_chunk::<HEADER>()?;
    let numbers = words(&fixed[4..]);
    let mut entry = UnixEntry {
        ty: fixed[1],
        state: fixed[2],
        inode: numbers[0],
        cookie: u64::from(numbers[1]) | u64::from(numbers[2]) << 32,
        ..UnixEntry::default()
    };
    while rest.len() >= 4 {
        let (len, ty) = (half(rest, 0), half(rest, 2));
        let value = rest.get(4..len)?;
        let numbers = words(value);
        match (ty, numbers.as_slice()) {
            (0, _) => entry.name = Some(value.to_vec()),
            (2, [peer]) => entry.peer = Some(*peer),
            (3, _) => entry.pending = numbers,
            (4, [read, written]) => entry.queues = (*read, *written),
            (5, _) => entry.memory = numbers.try_into().unwrap_or_default(),
            (6, _) => entry.shutdown = value.first().copied().unwrap_or(0),
            (7, [uid]) => entry.uid = *uid,
            _ => {}
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(entry)
}

/// Whether of all there are, or of one.
const ALL: u16 = 0x300;
const ONE: u16 = 0;

/// The host's, all of them or that with this inode, with as much as is asked for.  Nothing where the machine does not tell.
fn ask(which: u16, inode: u32, shown: u32) -> rustix::io::Result<Vec<UnixEntry>> {
    let protocol = Some(netlink::SOCK_DIAG);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    let mut request = Vec::new();
    request.extend((HEADER as u32 + 24).to_ne_bytes());
    request.extend([SOCK_DIAG_BY_FAMILY, 1 | which].map(u16::to_ne_bytes).concat());
    request.extend([0; 8]);
    request.extend([libc::AF_UNIX as u8, 0, 0, 0]);
    // Of one, whatever its cookie.
    request.extend([u32::MAX, inode, shown, u32::MAX, u32::MAX].map(u32::to_ne_bytes).concat());
    send(&socket, &request, SendFlags::empty())?;
    let mut entries = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let (len, _) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        let mut rest = &buffer[..len];
        while rest.len() >= HEADER {
            let len = words(&rest[..4])[0] as usize;
            match half(rest, 4) as u16 {
                NLMSG_DONE | NLMSG_ERROR => return Ok(entries),
                _ => entries.extend(rest.get(HEADER..len).and_then(parse)),
            }
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        if len == 0 || which == ONE {
            return Ok(entries);
        }
    }
}

/// The inodes of all that there are on the host.
pub(super) fn inodes() -> HashSet<u64> {
    ask(ALL, 0, 0).unwrap_or_default().into_iter().map(|entry| entry.inode.into()).collect()
}

/// The inode of the socket that the one with this inode is connected to.
pub(super) fn peer_of(inode: u64) -> Option<u64> {
    let found = ask(ONE, u32::try_from(inode).ok()?, PEER).ok()?;
    found.first()?.peer.filter(|&peer| peer != 0).map(u64::from)
}

/// The AF_UNIX sockets of a namespace.
pub(crate) fn sockets(world: &World, net: &NetRef) -> Vec<UnixEntry> {
    let mut held: HashMap<u64, Task> = HashMap::new();
    let me = std::process::id();
    for pid in numbers("/proc").into_iter().filter(|&pid| pid != me) {
        let task = Task::new(pid);
        // Of strangers nothing is looked at.
        if lock(&world.spaces).of_task(task).is_none() {
            continue;
        }
        for inode in task.sockets() {
            held.entry(inode).or_insert(task);
        }
    }
    let here = |entry: &UnixEntry| {
        let inode = u64::from(entry.inode);
        let Some(task) = held.get(&inode) else { return false };
        match world.sockets.by_inode(inode) {
            Some((_, Emulated::Unix(at))) => at == *net,
            // What stands for a socket of another family.
            Some(_) => false,
            None => world.net_of(*task).is_ok_and(|at| at == *net),
        }
    };
    let mut entries: Vec<UnixEntry> = ask(ALL, 0, EVERYTHING).unwrap_or_default().into_iter().filter(here).collect();
    for entry in &mut entries {
        let abstracted = entry.name.as_deref().and_then(|name| name.strip_prefix(b"\0"));
        if let Some(name) = abstracted.and_then(|name| world.unix.inside(name)) {
            entry.name = Some([&[0], name.as_slice()].concat());
        }
    }
    entries
}

/// `/proc/net/unix` of a namespace.  Names are bytes, as they were said.
pub(crate) fn proc_net(world: &World, net: &NetRef) -> Vec<u8> {
    const LISTEN: u8 = 10;
    let mut out = b"Num       RefCount Protocol Flags    Type St Inode Path\n".to_vec();
    for entry in sockets(world, net) {
        let (listens, connected) = (entry.state == LISTEN, entry.peer.is_some());
        let _ = write!(
            out,
            "{:016x}: {:08X} {:08X} {:08X} {:04X} {:02X} {:5}",
            entry.cookie,
            2 + u8::from(connected),
            0,
            if listens { 0x1_0000 } else { 0 },
            entry.ty,
            if connected { 3 } else { 1 },
            entry.inode,
        );
        if let Some(name) = &entry.name {
            let shown: Vec<u8> = name.iter().map(|&byte| if byte == 0 { b'@' } else { byte }).collect();
            let shown = if name.first() == Some(&0) { &shown } else { name.strip_suffix(b"\0").unwrap_or(name) };
            out.push(b' ');
            out.extend_from_slice(shown);
        }
        out.push(b'\n');
    }
    out
}
