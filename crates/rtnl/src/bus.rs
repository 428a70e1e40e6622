//! Who listens: per namespace the sockets by port and group, and beside it the sockets that hear other namespaces.

use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, OnceLock};

use hashbrown::HashMap;
use pernet::{Cap, InitError, Key, Net, NetHandle, Subsystem};

use crate::endpoint::{Endpoint, flag, lock};
use crate::error::SockError;
use crate::protocols::Protocol;
use crate::queue::{Bytes, Queued};
use crate::socket::SockAddr;

/// The netlink bus of one namespace, a pernet subsystem. An idle namespace costs a mutex and a null pointer.
pub(crate) struct NetBus {
    /// The bus lock: protects port and group tables of one namespace, and the port and group words of its sockets.
    /// Below core's peer tables, above the receive queues.
    tables: Mutex<Option<Box<[Table; Protocol::COUNT]>>>,
}

#[derive(Default)]
struct Table {
    ports: HashMap<u32, Arc<Endpoint>>,
    groups: HashMap<u32, Vec<Arc<Endpoint>>>,
}

/// The registration of [`NetBus`].
pub(crate) struct BusSubsystem;

impl Subsystem for BusSubsystem {
    const NAME: &'static str = "netlink";
    type State = NetBus;

    fn init(&self, _net: &Net) -> Result<NetBus, InitError> {
        Ok(NetBus { tables: Mutex::new(None) })
    }
    // No exit: a socket holds its namespace, so a dying namespace has none left.
}

impl NetBus {
    fn with<R>(&self, protocol: Protocol, f: impl FnOnce(&mut Table) -> R) -> R {
        let mut tables = lock(&self.tables);
        f(&mut tables.get_or_insert_default()[protocol.index()])
    }

    /// Gives `ep` the port `portid`.
    pub(crate) fn bind(&self, ep: &Arc<Endpoint>, portid: u32) -> Result<(), SockError> {
        self.with(ep.protocol, |table| {
            // Tested under the lock: two threads that bind one socket must not both win.
            if ep.bound() {
                return if ep.portid() == portid { Ok(()) } else { Err(SockError::AlreadyBound) };
            }
            if table.ports.contains_key(&portid) {
                return Err(SockError::PortTaken);
            }
            table.ports.insert(portid, ep.clone());
            ep.set_bound(portid);
            Ok(())
        })
    }

    /// Gives `ep` the port `first` or, if that is taken, a random one of the range Linux uses.
    pub(crate) fn autobind(&self, ep: &Arc<Endpoint>, first: u32) {
        self.with(ep.protocol, |table| {
            if ep.bound() {
                return;
            }
            let mut portid = first;
            while portid == 0 || table.ports.contains_key(&portid) {
                portid = random_port();
            }
            table.ports.insert(portid, ep.clone());
            ep.set_bound(portid);
        });
    }

    /// Replaces the groups of `ep` by what `change` makes of them.
    pub(crate) fn set_groups(&self, ep: &Arc<Endpoint>, change: impl FnOnce(u64) -> u64) {
        self.with(ep.protocol, |table| {
            let old = ep.groups();
            let new = change(old);
            for group in 1..=ep.protocol.groups() {
                let bit = 1 << (group - 1);
                if old & bit == 0 && new & bit != 0 {
                    table.groups.entry(group).or_default().push(ep.clone());
                } else if old & bit != 0 && new & bit == 0 {
                    table.leave(group, ep);
                }
            }
            ep.set_groups(new);
        });
    }

    /// Forgets `ep` and frees its port.
    pub(crate) fn remove(&self, ep: &Arc<Endpoint>) {
        self.set_groups(ep, |_| 0);
        self.with(ep.protocol, |table| {
            if ep.bound() {
                table.ports.remove(&ep.portid());
            }
        });
    }

    /// The bound sockets, by protocol and port.
    pub(crate) fn bound(&self) -> Vec<Arc<Endpoint>> {
        let mut all: Vec<_> = lock(&self.tables)
            .iter()
            .flat_map(|tables| tables.iter())
            .flat_map(|table| table.ports.values().cloned())
            .collect();
        all.sort_unstable_by_key(|ep| (ep.protocol.number(), ep.portid()));
        all
    }

    pub(crate) fn by_port(&self, protocol: Protocol, portid: u32) -> Option<Arc<Endpoint>> {
        lock(&self.tables).as_ref()?[protocol.index()].ports.get(&portid).cloned()
    }
}

impl Table {
    fn leave(&mut self, group: u32, ep: &Arc<Endpoint>) {
        if let Some(members) = self.groups.get_mut(&group) {
            members.retain(|member| !Arc::ptr_eq(member, ep));
            if members.is_empty() {
                self.groups.remove(&group);
            }
        }
    }
}

/// A random port of 0x80000000..=0xFFFFEFFF.
fn random_port() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    // Each RandomState is differently keyed; hashing nothing with it is a random number.
    0x8000_0000 + (RandomState::new().hash_one(0u8) % 0x7fff_f000) as u32
}

/// A datagram for a group.
pub(crate) struct Multicast<'a> {
    pub(crate) protocol: Protocol,
    pub(crate) group: u32,
    pub(crate) bytes: &'a [u8],
    /// Port of the sender, 0 for the kernel.
    pub(crate) from: u32,
    /// Sockets with this port get nothing, in whatever namespace they live (that is how Linux 6.18 counts); 0 for none.
    pub(crate) exclude_port: u32,
    /// The sending socket gets nothing.
    pub(crate) exclude: Option<&'a Endpoint>,
}

/// The buses of one emulated system.
pub(crate) struct Bus {
    key: OnceLock<Key<BusSubsystem>>,
    foreign: Foreign,
}

/// Sockets with `NETLINK_LISTEN_ALL_NSID`, by the namespace they live in. An event asks each such namespace once, by
/// core's reverse index, what it calls the origin.
struct Foreign {
    /// Number of sockets in the list, so that the usual event, with nobody listening, takes no shared lock.
    count: AtomicUsize,
    /// Beside the bus locks in the order; never held together with one.
    listeners: Mutex<Vec<(NetHandle, Vec<Arc<Endpoint>>)>>,
}

impl Bus {
    pub(crate) fn new() -> Self {
        let foreign = Foreign { count: AtomicUsize::new(0), listeners: Mutex::new(Vec::new()) };
        Self { key: OnceLock::new(), foreign }
    }

    /// Called once, right after the registration.
    pub(crate) fn set_key(&self, key: Key<BusSubsystem>) {
        let _ = self.key.set(key);
    }

    /// The bus of `net`; `None` for a namespace whose subsystems are not up yet.
    pub(crate) fn of<'n>(&self, net: &'n Net) -> Option<&'n NetBus> {
        net.get(*self.key.get()?)
    }

    /// Starts or stops hearing other namespaces.
    pub(crate) fn listen_all(&self, net: &Net, ep: &Arc<Endpoint>, on: bool) {
        let mut listeners = lock(&self.foreign.listeners);
        // The option changes with the list, under its lock: two threads that set and clear it leave both alike.
        ep.set(flag::LISTEN_ALL_NSID, on);
        let place = listeners.iter().position(|(home, _)| home.cookie() == net.cookie());
        match (on, place) {
            (true, Some(at)) if listeners[at].1.iter().any(|other| Arc::ptr_eq(other, ep)) => {}
            (true, Some(at)) => listeners[at].1.push(ep.clone()),
            (true, None) => listeners.push((net.handle(), vec![ep.clone()])),
            (false, Some(at)) => {
                listeners[at].1.retain(|other| !Arc::ptr_eq(other, ep));
                if listeners[at].1.is_empty() {
                    listeners.swap_remove(at);
                }
            }
            (false, None) => {}
        }
        self.foreign.count.store(listeners.iter().map(|(_, eps)| eps.len()).sum(), Release);
    }

    /// Whether anyone would hear a message to this group of `net`; a cheap no spares building it.
    pub(crate) fn heard(&self, net: &Net, protocol: Protocol, group: u32) -> bool {
        self.foreign.count.load(Acquire) != 0
            || self.of(net).is_some_and(|bus| {
                lock(&bus.tables).as_ref().is_some_and(|all| all[protocol.index()].groups.contains_key(&group))
            })
    }

    /// Hands a message of namespace `net` to the members of a group and to the permitted listeners elsewhere. Wakes them
    /// after the locks of this crate are gone. Overruns are the receivers' own business.
    pub(crate) fn multicast(&self, net: &Net, message: &Multicast<'_>) {
        let mut shared: Option<Arc<[u8]>> = None;
        let mut wake = Vec::new();
        let mut send = |ep: &Arc<Endpoint>, origin_nsid: Option<i32>| {
            let excluded = message.exclude_port != 0 && message.exclude_port == ep.portid();
            // A membership is kept, and shown, from before the socket is bound; it is heard by only from then on.
            if excluded || !ep.bound() || message.exclude.is_some_and(|sender| std::ptr::eq(sender, &raw const **ep)) {
                return;
            }
            let bytes = Bytes::Shared(shared.get_or_insert_with(|| message.bytes.into()).clone());
            let from = SockAddr { portid: message.from, groups: SockAddr::mask(message.group) };
            if ep.deliver(Queued { bytes, from, group: message.group, origin_nsid }).wake {
                wake.push(ep.clone());
            }
        };
        if let Some(bus) = self.of(net) {
            let tables = lock(&bus.tables);
            let members = tables.as_ref().and_then(|all| all[message.protocol.index()].groups.get(&message.group));
            members.into_iter().flatten().for_each(|ep| send(ep, None));
        }
        if self.foreign.count.load(Acquire) != 0 {
            let listeners = lock(&self.foreign.listeners);
            for (home, eps) in listeners.iter().filter(|(home, _)| home.cookie() != net.cookie()) {
                let interested = |ep: &&Arc<Endpoint>| {
                    ep.protocol == message.protocol
                        && ep.in_group(message.group)
                        && ep.opener.capable(net.owner(), Cap::NetBroadcast)
                };
                let mut eps = eps.iter().filter(interested).peekable();
                if eps.peek().is_none() {
                    continue;
                }
                // The listeners hold their namespace, so upgrading fails only while the last of them closes.
                let Some(id) = home.upgrade().and_then(|home| home.peernet2id(net)) else {
                    continue;
                };
                eps.for_each(|ep| send(ep, Some(id.get())));
            }
        }
        wake.iter().for_each(|ep| ep.wake());
    }
}

/// Whether `ep` hears other namespaces.
pub(crate) fn listens_all(ep: &Endpoint) -> bool {
    ep.has(flag::LISTEN_ALL_NSID)
}

#[cfg(test)]
mod tests {
    use pernet::{Cred, Namespaces};
    use pernet_stack::Stack;
    use pernet_wire::uapi::*;

    use super::*;
    use crate::{LocalClient, Rtnetlink};

    #[test]
    fn a_closed_socket_is_in_no_list() {
        let system = Namespaces::new();
        let stack = Stack::register(&system).expect("stack");
        let rtnl = Rtnetlink::new(&system, &stack).expect("rtnl");
        let root = Cred::root(system.init_user_ns());
        let net = system.create(&root).expect("namespace");
        let client = LocalClient::new(root.clone(), 7);
        let socket = rtnl.open(&net, Protocol::Route, &root);
        socket.bind(SockAddr::new(7, 1), &client).expect("bound");
        for _ in 0..2 {
            socket.setsockopt(NETLINK_LISTEN_ALL_NSID, &[1, 0, 0, 0], &client).expect("root");
        }
        let (shared, ep) = (socket.shared.clone(), Arc::downgrade(&socket.ep));
        assert_eq!(shared.bus.foreign.count.load(Acquire), 1, "set twice, listed once");
        drop(socket);
        assert_eq!(shared.bus.foreign.count.load(Acquire), 0);
        assert!(ep.upgrade().is_none(), "nothing holds it");
    }

    #[test]
    fn random_ports_are_those_of_linux() {
        assert!((0..1000).map(|_| random_port()).all(|port| (0x8000_0000..=0xffff_efff).contains(&port)));
    }
}
