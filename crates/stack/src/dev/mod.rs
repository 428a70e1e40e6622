//! Network devices of a namespace: what one is ([`Link`]), what its kind fixes for every device of that kind
//! ([`LinkClass`]), and the table a namespace keeps of them ([`Links`]).

mod addr;
mod altnames;
mod class;
mod counters;
mod create;
mod delete;
mod devconf;
mod error;
mod fdb;
mod flags;
mod kind;
mod link;
mod links;
mod moves;
mod name;
mod nesting;
mod pernet;
mod random;
mod refused;
mod relations;
mod request;
mod set;
mod updown;
mod watch;

pub use addr::HwAddr;
pub use class::{LOOPBACK, LinkClass, OffloadLimits, Queues};
pub use counters::{Counters, LinkStats};
pub use devconf::{Inet4Conf, Inet6Conf};
pub use error::LinkError;
pub use fdb::{FdbChange, FdbEntry, FdbFilter, FdbRemote};
pub use flags::IfFlags;
pub use kind::{
    BRIDGE, Bridge, BridgeChange, BridgePort, BridgePortChange, DUMMY, IFB, KindChange, KindData, KindSpec, MACVLAN,
    MACVTAP, Macvlan, MacvlanChange, PortChange, PortData, PortState, TAP, TUN, Tun, TunPlace, TunRequest, TunSpec,
    VETH, VLAN, VXLAN, VethPeer, Vlan, VlanChange, VniChange, VniRun, Vnis, Vxlan, VxlanChange, tun_flag,
};
pub use link::{Link, NameAssign, OperState};
pub use links::{LinkPage, Links};
pub use name::{IFNAMSIZ, IfName, NameError};
pub use pernet::{LinkDevices, Stack};
pub use refused::{Blame, LinkRefused};
pub(crate) use relations::FdbFound;
pub use request::{FlagChange, LinkChange, NewLink, OffloadChange};
pub(crate) use updown::listen_to_all;
pub(crate) use watch::Linkwatch;

use std::sync::Arc;

use ::pernet::NetHandle;

use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::Ns;

/// What listeners are told of links.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LinkNotice {
    /// It is there, or is another than before.
    New {
        /// The device.
        link: Arc<Link>,
        /// Flags that changed (`ifi_change`); all of them for a device that is new.
        change: u32,
        /// `IFLA_EVENT_*`, 0 for none.
        event: u32,
    },
    /// As a port of a bridge it is there or another than before; as a port of a bridge it is gone.
    Port {
        /// The device.
        link: Arc<Link>,
        /// Whether it is gone as a port.
        gone: bool,
    },
    /// An entry of a forwarding table is there, or is another than before; or it is gone.
    Fdb {
        /// The entry.
        entry: FdbEntry,
        /// Whether it is gone.
        gone: bool,
    },
    /// Hardware is asked to count what it routes, or no more.
    L3Stats {
        /// The device.
        index: u32,
        /// Whether it is asked to.
        wanted: bool,
    },
    /// A tunnel takes packets of these networks from here on, or no more.
    Vnis {
        /// The tunnel.
        index: u32,
        /// The networks.
        run: VniRun,
        /// Whether it takes them no more.
        gone: bool,
    },
    /// It is gone.
    Del {
        /// The device as it was.
        link: Arc<Link>,
        /// The namespace it moved to, and its index there.
        to: Option<(NetHandle, u32)>,
    },
}

impl LinkNotice {
    /// Something about `link` is another than before.
    pub(crate) fn changed(link: &Arc<Link>) -> Self {
        Self::New { link: Arc::clone(link), change: 0, event: 0 }
    }
}

/// A device goes through something: what other devices do about it (those stacked on it, its master), and the message.
pub(crate) fn netdev_event(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, event: NetdevEvent) {
    kind::event(rtnl, ns, link, event);
}
