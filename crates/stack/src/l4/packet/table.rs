//! Who hears of which device: sockets by themselves, and groups of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fanout::{Group, Groups};
use super::{Arrival, PacketSock};
use crate::dev::Link;
use crate::errno;
use crate::l2::{Cx, Frame};

/// Who hears of a device.
#[derive(Clone, Debug)]
enum Listener {
    Sock(Arc<PacketSock>),
    Group(Arc<Group>),
}

impl Listener {
    fn listens(&self) -> bool {
        match self {
            Self::Sock(sock) => sock.listens.load(Ordering::Relaxed),
            Self::Group(group) => group.listens(),
        }
    }

    fn is(&self, sock: &PacketSock) -> bool {
        matches!(self, Self::Sock(other) if other.id == sock.id)
    }
}

/// The packet sockets of a namespace, by the device that they are bound to; 0 for any.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    /// A leaf lock.
    by_device: Mutex<HashMap<u32, Vec<Listener>>>,
    /// All of them, and their groups. Locks before those of a group's members.
    socks: Mutex<BTreeMap<u64, Arc<PacketSock>>>,
    groups: Mutex<Groups>,
    /// How many of them hear anything: it is changed under the lock, and read with every frame.
    listening: AtomicUsize,
}

impl Packets {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Vec<Listener>>> {
        self.by_device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn socks(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<PacketSock>>> {
        self.socks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the socket where it belongs, or takes it away.
    pub(super) fn place(&self, sock: &Arc<PacketSock>, ifindex: Option<u32>) {
        match ifindex {
            Some(_) => self.socks().insert(sock.id, Arc::clone(sock)),
            None => self.socks().remove(&sock.id),
        };
        self.replace(|other| other.is(sock), ifindex.map(|ifindex| (ifindex, Listener::Sock(Arc::clone(sock)))));
    }

    /// The socket hears no more by itself, but by its group.
    pub(super) fn place_group(&self, sock: &Arc<PacketSock>, group: &Arc<Group>) {
        let same = |other: &Listener| matches!(other, Listener::Group(other) if Arc::ptr_eq(other, group));
        self.replace(|other| other.is(sock) || same(other), Some((group.ifindex, Listener::Group(Arc::clone(group)))));
    }

    pub(super) fn remove_group(&self, group: &Arc<Group>) {
        self.replace(|other| matches!(other, Listener::Group(other) if Arc::ptr_eq(other, group)), None);
    }

    fn replace(&self, gone: impl Fn(&Listener) -> bool, new: Option<(u32, Listener)>) {
        let mut all = self.lock();
        all.retain(|_, listeners| {
            listeners.retain(|other| !gone(other));
            !listeners.is_empty()
        });
        if let Some((ifindex, new)) = new {
            all.entry(ifindex).or_default().push(new);
        }
        let listening = all.values().flatten().filter(|listener| listener.listens()).count();
        self.listening.store(listening, Ordering::Release);
    }

    /// Everybody, the oldest first.
    pub(super) fn all(&self) -> Vec<Arc<PacketSock>> {
        self.socks().values().cloned().collect()
    }

    /// Those who hear of a device.
    fn of(&self, ifindex: u32) -> Vec<Listener> {
        let all = self.lock();
        [0, ifindex].iter().filter_map(|index| all.get(index)).flatten().cloned().collect()
    }
}

/// Whether any socket of the namespace hears frames.
pub(crate) fn watched(cx: Cx<'_>) -> bool {
    cx.state.l4.packets.peek().is_some_and(|packets| packets.listening.load(Ordering::Acquire) != 0)
}

/// A frame passes a device (`dev_queue_xmit_nit`, `packet_rcv`). Its data begin at the link-layer header when it goes out.
pub(crate) fn tap(cx: Cx<'_>, link: &Link, frame: &Frame, outgoing: bool) {
    let Some(packets) = cx.state.l4.packets.peek().filter(|_| watched(cx)) else { return };
    for listener in packets.of(link.index()) {
        match listener {
            Listener::Sock(sock) => sock.take(cx, link, frame, Arrival { outgoing, grouped: false }),
            Listener::Group(group) => group.take(cx, link, frame, outgoing),
        }
    }
}

/// The device went down or away: those who are bound to it are told (`packet_notifier`).
pub(crate) fn device_gone(cx: Cx<'_>, ifindex: u32, gone: bool) {
    let Some(packets) = cx.state.l4.packets.peek() else { return };
    for sock in packets.all() {
        let mut state = sock.lock();
        if state.ifindex != ifindex {
            continue;
        }
        state.error = Some(errno::ENETDOWN);
        if gone {
            state.members.retain(|member| member.ifindex != ifindex);
        }
        drop(state);
        sock.wake();
    }
}
