//! The device table as per-namespace state of the core.

use pernet::{InitError, Key, Namespaces, Net, RegisterError, Subsystem};

use super::{IfName, LOOPBACK, Link, Links, NameAssign};
use crate::clock;

/// The device that registers the table: each namespace is born with its loopback device, index 1
/// (`loopback_net_ops`, which Linux registers as the first pernet *device*).
///
/// There is nothing to do when a namespace dies: nobody can reach it any more, and the core drops the table with the
/// devices in it.
#[derive(Debug)]
pub struct LinkDevices(());

impl Subsystem for LinkDevices {
    const NAME: &'static str = "loopback";
    type State = Links;

    fn init(&self, net: &Net) -> Result<Links, InitError> {
        let salt = net.hash_mix();
        let links = Links::new(salt);
        // Neither can fail: the name is valid and the table is empty. If one did, the namespace would not come to be.
        let name = IfName::new("lo").map_err(|_| InitError::NoMemory)?;
        links.insert(loopback(name, salt), None).map_err(|_| InitError::NoMemory)?;
        Ok(links)
    }
}

fn loopback(name: IfName, salt: u32) -> Link {
    let mut lo = Link::new(&LOOPBACK, name);
    lo.name_assign = NameAssign::Predictable;
    lo.inet6_changed = clock::monotonic_centiseconds();
    // RFC 4861 wants ReachableTime spread over half to one and a half of 30 s; the salt is as random as it needs.
    lo.inet6_reachable_ms = 15_000 + salt % 30_000;
    lo
}

/// The network stack of one emulated system. Clones are the same stack.
#[derive(Clone)]
pub struct Stack {
    links: Key<LinkDevices>,
}

impl Stack {
    /// Gives every namespace of `ns`, those that exist and those to come, its network stack.
    ///
    /// # Errors
    /// What [`Namespaces::register_device`] says, for instance that an existing namespace could not be set up.
    pub fn register(ns: &Namespaces) -> Result<Self, RegisterError> {
        Ok(Self { links: ns.register_device(LinkDevices(()))? })
    }

    /// The devices of `net`; `None` only if `net` is of another system, or while it is being made.
    #[must_use]
    pub fn links<'n>(&self, net: &'n Net) -> Option<&'n Links> {
        net.get(self.links)
    }
}
