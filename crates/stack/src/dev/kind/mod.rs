//! The kinds of devices, one file each: what is particular to them.

mod dummy;
mod veth;

use std::sync::Arc;

pub use dummy::DUMMY;
pub use veth::{VETH, VethPeer};

use super::{Link, LinkClass, LinkRefused};
use crate::rtnl::Rtnl;
use crate::state::Ns;

/// A device to be made, as its kind wants it described.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KindSpec {
    /// Swallows what it is given.
    Dummy,
    /// One end of a cable, with the other.
    Veth(Box<VethPeer>),
}

impl KindSpec {
    /// What all devices of the kind share.
    #[must_use]
    pub const fn class(&self) -> &'static LinkClass {
        match self {
            Self::Dummy => &DUMMY,
            Self::Veth(_) => &VETH,
        }
    }
}

/// What may be changed of a device that is there, by its kind.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KindChange {
    /// A kind that has nothing to change; the word is the one in the request.
    Nothing(Box<str>),
}

/// What may be changed of a device as a port of its master.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PortChange {}

/// The device came up (`ndo_open`), as far as its kind cares.
pub(super) fn open(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    if std::ptr::eq(link.class(), &raw const VETH) {
        veth::open(rtnl, ns, link);
    }
}

/// The device goes down (`ndo_stop`).
pub(super) fn stop(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    if std::ptr::eq(link.class(), &raw const VETH) {
        veth::stop(rtnl, ns, link);
    }
}

/// Checks what is particular to the kind, and gives what is to be done once nothing can fail.
pub(super) type Refusal = LinkRefused;
