//! `SIOCSARP`, `SIOCGARP` and `SIOCDARP`: what `arp` asks.

use pernet::{Cap, NetRef, Origin};
use pernet_stack::ArpRequest;

use super::Outcome;
use crate::mem::Memory;
use crate::task::Task;
use crate::world::World;

const SIOCDARP: u32 = 0x8953;
const SIOCGARP: u32 = 0x8954;
const SIOCSARP: u32 = 0x8955;

/// Whether a request is one of these.
pub(super) fn is_arp(request: u32) -> bool {
    (SIOCDARP..=SIOCSARP).contains(&request)
}

/// Answers one, made on a socket of `family`: IPv4 and packet sockets know them.
pub(super) fn handle(world: &World, task: Task, net: &NetRef, family: i32, request: u32, at: u64) -> Outcome {
    if family != libc::AF_INET && family != libc::AF_PACKET {
        return Outcome::Errno(libc::ENOTTY);
    }
    if request != SIOCGARP && !world.users.cred(task).capable(net.owner(), Cap::NetAdmin) {
        return Outcome::Errno(libc::EPERM);
    }
    let memory = Memory::of(task.tid);
    let mut raw = [0; ArpRequest::LEN];
    if let Err(e) = memory.read(at, &mut raw) {
        return Outcome::Errno(e.errno());
    }
    let mut asked = ArpRequest::new(raw);
    let done = match request {
        SIOCSARP => world.stack.rtnl(Origin::KERNEL).arp_set(net, &asked),
        SIOCDARP => world.stack.rtnl(Origin::KERNEL).arp_delete(net, &asked),
        _ => world.stack.arp_get(net, &mut asked),
    };
    match done {
        Ok(()) if request == SIOCGARP => match memory.write(at, asked.raw()) {
            Ok(()) => Outcome::Value(0),
            Err(e) => Outcome::Errno(e.errno()),
        },
        Ok(()) => Outcome::Value(0),
        Err(e) => Outcome::Errno(e.errno()),
    }
}
