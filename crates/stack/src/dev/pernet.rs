//! The device table as per-namespace state of the core.

use pernet::{InitError, Key, Namespaces, Net, RegisterError, Subsystem};

use super::Links;
use crate::clock;

/// The device that registers the table: each namespace is born with its loopback device, index 1
/// (`loopback_net_ops`, which Linux registers as the first pernet *device*). What it costs at birth is to note the time;
/// the device itself is made for whoever looks first.
///
/// There is nothing to do when a namespace dies: nobody can reach it any more, and the core drops the table with the
/// devices in it.
#[derive(Debug)]
pub struct LinkDevices(());

impl Subsystem for LinkDevices {
    const NAME: &'static str = "loopback";
    type State = Links;

    fn init(&self, net: &Net) -> Result<Links, InitError> {
        Ok(Links::with_loopback(net.hash_mix(), clock::monotonic_centiseconds()))
    }
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
