//! `SIOCADDRT` and `SIOCDELRT`: what `route` asks.

use pernet::{Cap, NetRef, Origin};
use pernet_stack::RTENTRY_LEN;

use super::Outcome;
use crate::mem::Memory;
use crate::task::Task;
use crate::world::World;

pub(super) const SIOCADDRT: u32 = 0x890B;
pub(super) const SIOCDELRT: u32 = 0x890C;
/// Of the days of kernels that sent routes as messages of their own; never answered.
pub(super) const SIOCRTMSG: u32 = 0x890D;

/// Where a `struct rtentry` has the address of its device's name.
const RT_DEV: usize = 88;
const IFNAMSIZ: usize = 16;

/// Answers one, made on a socket of `family`: IPv4 sockets know them.
pub(super) fn handle(world: &World, task: Task, net: &NetRef, family: i32, request: u32, at: u64) -> Outcome {
    if family != libc::AF_INET {
        return Outcome::Errno(libc::ENOTTY);
    }
    if request == SIOCRTMSG {
        return Outcome::Errno(libc::EINVAL);
    }
    let memory = Memory::of(task.tid);
    let mut raw = [0; RTENTRY_LEN];
    if let Err(e) = memory.read(at, &mut raw) {
        return Outcome::Errno(e.errno());
    }
    if !world.users.cred(task).capable(net.owner(), Cap::NetAdmin) {
        return Outcome::Errno(libc::EPERM);
    }
    let pointer = raw.get(RT_DEV..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_ne_bytes(*bytes));
    let mut name = [0; IFNAMSIZ];
    if pointer != 0
        && let Err(e) = memory.read(pointer, &mut name)
    {
        return Outcome::Errno(e.errno());
    }
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(IFNAMSIZ - 1);
    let name = String::from_utf8_lossy(&name[..end]).into_owned();
    let device = (pointer != 0).then_some(name.as_str());
    match world.stack.rtnl(Origin::KERNEL).rtentry(net, request == SIOCADDRT, &raw, device) {
        Ok(()) => Outcome::Value(0),
        Err(e) => Outcome::Errno(e.errno()),
    }
}
