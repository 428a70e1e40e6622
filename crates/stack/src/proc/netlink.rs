//! `/proc/net/netlink`: the netlink sockets of a namespace.

use std::fmt::Write as _;

use crate::Links;

/// Netlink protocols of which the kernel holds a socket in every namespace: route, socket diagnosis, IPsec, audit, FIB
/// lookup, netfilter, uevents, generic.
const KERNEL_SOCKETS: [u32; 8] = [0, 4, 6, 9, 10, 12, 15, 16];

/// A program's netlink socket, as the file shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetlinkSocket {
    /// Protocol number.
    pub protocol: u32,
    /// Port id.
    pub portid: u32,
    /// The first 32 multicast groups it is in.
    pub groups: u32,
    /// Bytes waiting in the receive queue.
    pub receive_queue: u32,
    /// Whether a dump is running.
    pub dump: bool,
    /// Messages lost to a full queue.
    pub drops: u32,
    /// Inode number of the socket.
    pub inode: u64,
}

/// The kernel's own sockets in the namespace with these links.
#[must_use]
pub fn kernel_netlink_sockets(links: &Links) -> Vec<NetlinkSocket> {
    let socket = |(n, protocol)| NetlinkSocket {
        protocol,
        portid: 0,
        groups: 0,
        receive_queue: 0,
        dump: false,
        drops: 0,
        inode: u64::from(links.salt() & 0x00ff_fff8) + n as u64 + 1,
    };
    KERNEL_SOCKETS.into_iter().enumerate().map(socket).collect()
}

/// `/proc/net/netlink` of the namespace with these links: the kernel's own sockets, each before the programs' sockets
/// of its protocol.
#[must_use]
pub fn proc_net_netlink(links: &Links, sockets: &[NetlinkSocket]) -> String {
    let mut out =
        String::from("sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n");
    let mut protocols: Vec<u32> = KERNEL_SOCKETS.into_iter().chain(sockets.iter().map(|s| s.protocol)).collect();
    protocols.sort_unstable();
    protocols.dedup();
    for protocol in protocols {
        let kernel = kernel_netlink_sockets(links).into_iter().find(|socket| socket.protocol == protocol);
        for s in kernel.iter().chain(sockets.iter().filter(|s| s.protocol == protocol)) {
            // Linux prints a hash of the socket's address, which only tells sockets apart.
            let sk = obscured(links.salt(), s.protocol, s.portid);
            let dump = u32::from(s.dump);
            let _ = writeln!(
                out,
                "{sk:016x} {:<3} {:<10} {:08x} {:<8} {:<8} {dump:<5} {:<8} {:<8} {:<8}",
                s.protocol, s.portid, s.groups, s.receive_queue, 0, 2, s.drops, s.inode,
            );
        }
    }
    out
}

fn obscured(salt: u32, protocol: u32, portid: u32) -> u32 {
    [protocol, portid].into_iter().fold(salt | 1, |hash, part| (hash ^ part).wrapping_mul(0x9e37_79b1).rotate_left(15))
}
