//! Devices whose cable is a file: what is sent through one, a program reads, and what it writes, comes in.

use std::sync::{Arc, Mutex, PoisonError};

use pernet::{Net, NetHandle, NetRef};

use super::{KindData, KindSpec, edit};
use crate::dev::class::{ETHER, LinkClass, Queues};
use crate::dev::request::{LinkChange, NewLink};
use crate::dev::{HwAddr, IfFlags, Inet6Conf, Link, LinkRefused, OffloadLimits, watch};
use crate::errno;
use crate::l2::{Cables, TunQueue};
use crate::rtnl::Rtnl;
use crate::state::Ns;

/// Flags of a device and of its file, as `IFF_*` of `TUNSETIFF`.
pub mod tun_flag {
    /// Packets begin with the network's header.
    pub const TUN: u16 = 0x0001;
    /// Packets begin with the link's header.
    pub const TAP: u16 = 0x0002;
    /// Received in batches.
    pub const NAPI: u16 = 0x0010;
    /// Received in pieces.
    pub const NAPI_FRAGS: u16 = 0x0020;
    /// Born without a carrier.
    pub const NO_CARRIER: u16 = 0x0040;
    /// Several files may be its cable.
    pub const MULTI_QUEUE: u16 = 0x0100;
    /// A file is its cable again.
    pub const ATTACH_QUEUE: u16 = 0x0200;
    /// A file is its cable no more, for now.
    pub const DETACH_QUEUE: u16 = 0x0400;
    /// It stays when nobody has its file open.
    pub const PERSIST: u16 = 0x0800;
    /// No word on the protocol before a packet.
    pub const NO_PI: u16 = 0x1000;
    /// Without effect.
    pub const ONE_QUEUE: u16 = 0x2000;
    /// A header about offloads before a packet.
    pub const VNET_HDR: u16 = 0x4000;
    /// Only if there is none.
    pub const EXCL: u16 = 0x8000;
}
use tun_flag as flag;

/// Flags that a file gives its device each time it becomes its cable; the first one also says how it receives.
const GIVEN: u16 = flag::NO_PI | flag::ONE_QUEUE | flag::VNET_HDR;
const GIVEN_FIRST: u16 = GIVEN | flag::NAPI | flag::NAPI_FRAGS | flag::MULTI_QUEUE;
/// Files that one device may have.
const MOST_QUEUES: u32 = 256;

const BOTH: LinkClass = LinkClass {
    kind: Some("tun"),
    qdisc: "pfifo_fast",
    sets_carrier: true,
    offload: OffloadLimits { tso_max_size: 65_536, ..ETHER.offload },
    ..ETHER
};
const PLAIN: LinkClass = LinkClass {
    arp_type: 65_534,
    flags: IfFlags::POINTOPOINT.with(IfFlags::NOARP).with(IfFlags::MULTICAST),
    max_mtu: 65_535,
    tx_queue_len: 500,
    address: HwAddr::EMPTY,
    broadcast: HwAddr::EMPTY,
    inet6: &Inet6Conf::WITHOUT_LINK_LAYER,
    ..BOTH
};
const ETHERNET: LinkClass = LinkClass { max_mtu: 65_521, ..BOTH };
const MANY: Queues = Queues::Fixed(MOST_QUEUES, MOST_QUEUES);

/// Devices for packets that begin with the network's header.
pub static TUN: LinkClass = PLAIN;
/// Devices for Ethernet packets.
pub static TAP: LinkClass = ETHERNET;
/// With a queue for each of several files.
static TUN_MULTI: LinkClass = LinkClass { qdisc: "mq", queues: MANY, ..PLAIN };
static TAP_MULTI: LinkClass = LinkClass { qdisc: "mq", queues: MANY, ..ETHERNET };

/// Where a device is, for those who have its file open: it may be renamed, moved and taken away meanwhile.
#[derive(Clone, Debug, Default)]
pub struct TunPlace(Arc<Mutex<Option<(NetHandle, u32)>>>);

impl TunPlace {
    /// Its namespace and index; `None` if it is gone.
    #[must_use]
    pub fn get(&self) -> Option<(NetRef, u32)> {
        let place = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        place.and_then(|(net, index)| Some((net.upgrade()?, index)))
    }

    fn set(&self, place: Option<(NetHandle, u32)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// How a device is set up.
#[derive(Clone, Debug)]
pub struct Tun {
    /// What it is and how packets look, as [`tun_flag`].
    pub flags: u16,
    /// Who may have its file besides those who may configure the network.
    pub owner: Option<u32>,
    /// The group that may.
    pub group: Option<u32>,
    /// Files that are its cable.
    pub queues: u32,
    /// Files that are not, for now.
    pub disabled: u32,
    /// Bytes that may wait to be read.
    pub send_buffer: i32,
    /// Bytes of the header about offloads.
    pub header_len: i32,
    /// Whether numbers in it are little-endian by request.
    pub little_endian: bool,
    place: TunPlace,
    pub(crate) cables: Cables,
}

impl Tun {
    /// Whether a flag is set.
    #[must_use]
    pub const fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// Who asks for a device, and for which (`TUNSETIFF`).
#[derive(Clone, Debug)]
pub struct TunRequest {
    /// Its name; one with `%d` gets a number, an empty one stands for the usual.
    pub name: String,
    /// As [`tun_flag`].
    pub flags: u16,
    /// The index of one that is made.
    pub index: Option<u32>,
    /// Whether the requester may configure the namespace.
    pub privileged: bool,
    /// The requester.
    pub uid: u32,
    /// The requester's groups.
    pub groups: Vec<u32>,
}

/// How a new device is described to the rest.
#[derive(Clone, Debug)]
pub struct TunSpec(Tun);

impl TunSpec {
    pub(super) const fn class(&self) -> &'static LinkClass {
        match (self.0.is(flag::TAP), self.0.is(flag::MULTI_QUEUE)) {
            (false, false) => &TUN,
            (true, false) => &TAP,
            (false, true) => &TUN_MULTI,
            (true, true) => &TAP_MULTI,
        }
    }
}

pub(super) fn prepare(spec: &TunSpec, link: &mut Link) {
    link.data = Some(Arc::new(KindData::Tun(spec.0.clone())));
}

/// It is in the table.
pub(super) fn settled(ns: Ns<'_>, link: &Link, tun: &Tun) {
    tun.place.set(ns.net().map(|net| (net.handle(), link.index)));
}

/// It is gone for good.
pub(super) fn gone(tun: &Tun) {
    tun.place.set(None);
}

impl Rtnl<'_> {
    /// Makes a file the cable of a device, which is made if there is none (`tun_set_iff`); what the device sends waits in
    /// `queue`.
    ///
    /// # Errors
    /// [`LinkRefused`].
    pub fn attach_tun(
        &mut self,
        net: &Net,
        request: &TunRequest,
        queue: &Arc<TunQueue>,
    ) -> Result<TunPlace, LinkRefused> {
        let ns = self.ns(net).ok_or(LinkRefused::NoStack)?;
        let asked = request.flags;
        if let Some(link) = ns.links.by_name(&request.name) {
            let invalid = LinkRefused::plain(errno::EINVAL);
            if asked & flag::EXCL != 0 {
                return Err(LinkRefused::plain(errno::EBUSY));
            }
            let Some(KindData::Tun(tun)) = link.data() else { return Err(invalid) };
            let kind = if asked & flag::TUN != 0 { flag::TUN } else { flag::TAP };
            if !tun.is(asked & kind) || tun.is(flag::MULTI_QUEUE) != (asked & flag::MULTI_QUEUE != 0) {
                return Err(invalid);
            }
            may_attach(tun, request)?;
            let place = tun.place.clone();
            let index = link.index();
            tun.cables.plug(queue);
            edit(ns, index, |data| {
                if let KindData::Tun(tun) = data {
                    tun.flags = tun.flags & !GIVEN | asked & GIVEN;
                    tun.queues += 1;
                }
            });
            watch::set_carrier(self, ns, index, asked & flag::NO_CARRIER == 0);
            self.run_linkwatch();
            return Ok(place);
        }
        self.make_tun(net, request, queue)
    }

    fn make_tun(&mut self, net: &Net, request: &TunRequest, queue: &Arc<TunQueue>) -> Result<TunPlace, LinkRefused> {
        let asked = request.flags;
        if !request.privileged {
            return Err(LinkRefused::plain(errno::EPERM));
        }
        // One that is told to be both is the first.
        let (kind, usual) = match asked & (flag::TUN | flag::TAP) {
            0 => return Err(LinkRefused::plain(errno::EINVAL)),
            kind if kind & flag::TUN != 0 => (flag::TUN, "tun%d"),
            _ => (flag::TAP, "tap%d"),
        };
        let pieces = asked & flag::NAPI_FRAGS != 0;
        if pieces && (kind == flag::TUN || asked & flag::NAPI == 0) {
            return Err(LinkRefused::plain(errno::EINVAL));
        }
        let tun = Tun {
            flags: kind | asked & GIVEN_FIRST,
            owner: None,
            group: None,
            queues: 1,
            disabled: 0,
            send_buffer: i32::MAX,
            header_len: 10,
            little_endian: false,
            place: TunPlace::default(),
            cables: Cables::default(),
        };
        tun.cables.plug(queue);
        let place = tun.place.clone();
        let name = if request.name.is_empty() { usual.to_owned() } else { request.name.clone() };
        let change = LinkChange { name: Some(name.into()), ..LinkChange::default() };
        let new = NewLink { index: request.index, change, ..NewLink::new(KindSpec::Tun(Box::new(TunSpec(tun)))) };
        let link = self.new_link(net, &new)?;
        if asked & flag::NO_CARRIER != 0
            && let Some(ns) = self.ns(net)
        {
            watch::lose_first_carrier(self, ns, link.index());
        }
        Ok(place)
    }

    /// A file is the device's cable no more for now, or is again (`tun_set_queue`).
    ///
    /// # Errors
    /// `EINVAL` if there is no such device, or not one with several queues.
    pub fn switch_tun_queue(&mut self, place: &TunPlace, queue: &Arc<TunQueue>, on: bool) -> Result<(), LinkRefused> {
        let several = self.with_tun(place, |_, ns, index, tun| {
            let several = tun.is(flag::MULTI_QUEUE);
            if several {
                if on {
                    tun.cables.plug(queue);
                } else {
                    tun.cables.unplug(queue);
                }
                edit(ns, index, |data| {
                    if let KindData::Tun(tun) = data {
                        let (more, less) = if on {
                            (&mut tun.queues, &mut tun.disabled)
                        } else {
                            (&mut tun.disabled, &mut tun.queues)
                        };
                        *more += 1;
                        *less = less.saturating_sub(1);
                    }
                });
            }
            several
        });
        if several == Some(true) { Ok(()) } else { Err(LinkRefused::plain(errno::EINVAL)) }
    }

    /// A file was closed: a device that does not persist goes with its last one.
    pub fn close_tun(&mut self, place: &TunPlace, queue: &Arc<TunQueue>, disabled: bool) {
        self.with_tun(place, |rtnl, ns, index, tun| {
            tun.cables.unplug(queue);
            let last = tun.queues + tun.disabled <= 1;
            edit(ns, index, |data| {
                if let KindData::Tun(tun) = data {
                    let count = if disabled { &mut tun.disabled } else { &mut tun.queues };
                    *count = count.saturating_sub(1);
                }
            });
            if !last {
                return;
            }
            watch::set_carrier(rtnl, ns, index, false);
            if !tun.is(flag::PERSIST) {
                rtnl.unregister(ns, &[index]);
            }
            rtnl.run_linkwatch();
        });
    }

    /// The device has a signal, or none, as its file says (`TUNSETCARRIER`).
    pub fn set_tun_carrier(&mut self, place: &TunPlace, on: bool) {
        self.with_tun(place, |rtnl, ns, index, _| {
            watch::set_carrier(rtnl, ns, index, on);
            rtnl.run_linkwatch();
        });
    }

    /// Changes how a device is set up; nobody is told. `None` if it is gone.
    pub fn change_tun<R>(&mut self, place: &TunPlace, change: impl FnOnce(&mut Tun) -> R) -> Option<R> {
        let mut result = None;
        self.with_tun(place, |_, ns, index, _| {
            edit(ns, index, |data| {
                if let KindData::Tun(tun) = data {
                    result = Some(change(tun));
                }
            });
        });
        result
    }

    fn with_tun<R>(&mut self, place: &TunPlace, f: impl FnOnce(&mut Self, Ns<'_>, u32, &Tun) -> R) -> Option<R> {
        let (net, index) = place.get()?;
        let ns = self.ns(&net)?;
        let link = ns.links.by_index(index)?;
        match link.data() {
            Some(KindData::Tun(tun)) if tun.place.is(place) => Some(f(self, ns, index, tun)),
            _ => None,
        }
    }
}

/// Whether the requester may have the device's file, and whether there is room for one more.
fn may_attach(tun: &Tun, request: &TunRequest) -> Result<(), LinkRefused> {
    let stranger = tun.owner.is_some_and(|owner| owner != request.uid)
        || tun.group.is_some_and(|group| !request.groups.contains(&group));
    if stranger && !request.privileged {
        return Err(LinkRefused::plain(errno::EPERM));
    }
    if !tun.is(flag::MULTI_QUEUE) && tun.queues > 0 {
        return Err(LinkRefused::plain(errno::EBUSY));
    }
    if tun.queues + tun.disabled >= MOST_QUEUES {
        return Err(LinkRefused::plain(errno::E2BIG));
    }
    Ok(())
}
