//! Making devices (`rtnl_newlink_create`).

use std::sync::Arc;

use pernet::{Net, NetRef};

use super::kind::{self, KindSpec, VethPeer};
use super::request::{LinkChange, NewLink, address};
use super::{HwAddr, IfFlags, Link, LinkClass, LinkError, LinkRefused, NameAssign, updown, watch};
use crate::errno;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::Ns;

/// `addr_assign_type`: drawn at random, set by a user.
const ADDR_RANDOM: u8 = 1;
pub(super) const ADDR_SET: u8 = 3;

/// Most queues a device may be made with.
const MAX_QUEUES: u32 = 4096;
const TX_QUEUES: &str = "Invalid number of transmit queues";
const RX_QUEUES: &str = "Invalid number of receive queues";

/// How a device is to be born.
struct Birth<'a> {
    class: &'static LinkClass,
    /// Beside the pattern of the kind, if the request names none.
    name: Option<&'a str>,
    index: Option<u32>,
    tx_queues: Option<u32>,
    rx_queues: Option<u32>,
    change: &'a LinkChange,
}

impl Rtnl<'_> {
    /// Makes a device. It is in `net`, or in the namespace that the request says.
    ///
    /// # Errors
    /// [`LinkRefused`]; then there is none.
    pub fn new_link(&mut self, net: &Net, new: &NewLink) -> Result<Arc<Link>, LinkRefused> {
        let home: NetRef = new.change.net.clone().unwrap_or_else(|| net.to_ref());
        let ns = self.ns(&home).ok_or(LinkRefused::NoStack)?;
        let base = self.ns(new.link_net.as_deref().unwrap_or(net)).ok_or(LinkRefused::NoStack)?;
        let made = self.make(base, ns, new).and_then(|made| self.configure(ns, new, made.index()));
        self.run_linkwatch();
        made.map(|made| ns.links.by_index(made.index()).unwrap_or(made))
    }

    /// Gives a new device its flags and its master, and tells of it; or takes it away again, if that is not to be its
    /// master (`rtnl_configure_link`, `do_set_master`).
    fn configure(&mut self, ns: Ns<'_>, new: &NewLink, index: u32) -> Result<Arc<Link>, LinkRefused> {
        let link = ns.links.by_index(index).ok_or(LinkRefused::plain(errno::ENODEV))?;
        let master = self.master_at_birth(ns, new, &link);
        // To tell of it would give the other namespace a number, and that would stay.
        let heard = master.is_ok() || link.lower_net().is_none();
        if heard {
            updown::first_flags(self, ns, index, new.change.flags);
        }
        match master {
            Ok(Some(master)) => kind::join(self, ns, master, index),
            Ok(None) => {}
            Err(why) => {
                self.unregister_new(ns, index, heard);
                return Err(why);
            }
        }
        Ok(link)
    }

    /// A device in the table, of which nobody has heard yet.
    fn make(&mut self, base: Ns<'_>, ns: Ns<'_>, new: &NewLink) -> Result<Arc<Link>, LinkRefused> {
        let birth = Birth {
            class: new.kind.class(),
            name: new.change.name.as_deref(),
            index: new.index,
            tx_queues: new.tx_queues,
            rx_queues: new.rx_queues,
            change: &new.change,
        };
        if let KindSpec::Veth(peer) = &new.kind {
            return self.new_pair(base, ns, &birth, peer);
        }
        let mut link = self.prepare(ns, &birth)?;
        kind::prepare(base, ns, new, &mut link)?;
        let vni = kind::vni(&link);
        let link = self.register(ns, link, birth.index)?;
        let sits = kind::may_sit(self, ns, &link);
        sits.inspect_err(|_| self.unregister_new(ns, link.index(), false))?;
        if link.lower_net().is_some() {
            // It will not be told of if its master refuses it: so the device below is not to be told of either.
            let joins = self.master_at_birth(ns, new, &link);
            joins.inspect_err(|_| self.unregister_new(ns, link.index(), false))?;
        }
        if let Some((vni, flavour)) = vni {
            base.links.add_vni(vni, flavour, link.index());
        }
        kind::created(self, ns, &link);
        Ok(link)
    }

    /// The master that the request names, if the new device may join it.
    fn master_at_birth(&mut self, ns: Ns<'_>, new: &NewLink, link: &Arc<Link>) -> Result<Option<u32>, LinkRefused> {
        let Some(master) = new.change.master.filter(|&master| master > 0) else { return Ok(None) };
        let master = ns.links.by_index(master).ok_or(LinkRefused::plain(errno::EINVAL))?;
        kind::may_join(self, ns, &master, link)?;
        Ok(Some(master.index()))
    }

    /// A device as it will be put into the table, with every property that the request gives (`rtnl_create_link`).
    fn prepare(&mut self, ns: Ns<'_>, birth: &Birth<'_>) -> Result<Link, LinkRefused> {
        let change = birth.change;
        let class = birth.class;
        let kind = class.kind.unwrap_or("link");
        let name = match birth.name {
            Some(name) => ns.links.name_for(name)?,
            None => ns.links.name_for(&format!("{kind}%d"))?,
        };
        // What the kind itself looks at comes first.
        if let Some(bytes) = &change.address {
            let address = HwAddr::new(bytes).filter(|a| a.as_bytes().len() == class.address.as_bytes().len());
            if unicast(&address.ok_or(LinkRefused::AddressTooShort)?).is_err() {
                return Err(LinkRefused::BadAddress);
            }
        }
        let mut link = Link::new(class, name);
        link.name_assign = if birth.name.is_some() { NameAssign::User } else { NameAssign::Enum };
        let (tx, rx) = class.queues.count();
        (link.tx_queues, link.rx_queues) = (birth.tx_queues.unwrap_or(tx), birth.rx_queues.unwrap_or(rx));
        if let Some(mtu) = change.mtu {
            let checked = check_mtu(&link, mtu);
            // Cables look at it themselves, and give no reason.
            let silent = class.kind == Some("veth");
            checked.map_err(|why| if silent { LinkRefused::plain(why.errno()) } else { why })?;
            link.mtu = mtu;
        }
        for count in [birth.tx_queues, birth.rx_queues].iter().flatten() {
            if !(1..=MAX_QUEUES).contains(count) {
                let text = if birth.tx_queues == Some(*count) { TX_QUEUES } else { RX_QUEUES };
                return Err(LinkRefused::says(errno::EINVAL, text));
            }
        }
        let len = class.address.as_bytes().len();
        if let Some(bytes) = &change.address {
            link.address = address(bytes, len).ok_or(LinkRefused::AddressTooShort)?;
            link.addr_assign = ADDR_SET;
        } else if len == 6 {
            link.address = self.random_address();
            link.addr_assign = ADDR_RANDOM;
        }
        if let Some(bytes) = &change.broadcast {
            link.broadcast = address(bytes, len).ok_or(LinkRefused::AddressTooShort)?;
        }
        link.tx_queue_len = change.tx_queue_len.unwrap_or(link.tx_queue_len);
        link.group = change.group.unwrap_or(0);
        link.link_mode = change.link_mode.unwrap_or(0);
        if let Some(state) = change.operstate {
            super::set::enter_operstate(&mut link, state);
        }
        let salt = self.random();
        link.inet6_changed = crate::clock::monotonic_centiseconds();
        link.inet6_reachable_ms = 15_000 + u32::try_from(salt % 30_000).unwrap_or(0);
        Ok(link)
    }

    /// Puts a device into the table and tells the parts (`register_netdevice`); who listens hears of it later.
    fn register(&mut self, ns: Ns<'_>, link: Link, index: Option<u32>) -> Result<Arc<Link>, LinkRefused> {
        let link = ns.links.insert(link, index)?;
        self.call_netdevice_notifiers(ns, &link, NetdevEvent::Register);
        Ok(link)
    }

    /// Both ends of a cable, the other one first. Where this one cannot be then, the other is taken away again, and who
    /// listens hears of both.
    fn new_pair(
        &mut self,
        base: Ns<'_>,
        ns: Ns<'_>,
        birth: &Birth<'_>,
        peer: &VethPeer,
    ) -> Result<Arc<Link>, LinkRefused> {
        // An end that nobody describes is like this one, but for its name.
        let mut like = birth.change.clone();
        (like.name, like.flags, like.net, like.master) = (None, None, None, None);
        let peer_change = peer.change.as_ref().unwrap_or(&like);
        // One that is described is at home where the request is, whatever becomes of this end.
        let described = peer.change.is_some();
        let peer_net = peer_change.net.clone().or_else(|| described.then(|| base.to_ref()).flatten());
        let peer_ns = match &peer_net {
            Some(net) => self.ns(net).ok_or(LinkRefused::NoStack)?,
            None => ns,
        };
        let other = Birth {
            class: birth.class,
            name: peer_change.name.as_deref(),
            // As Linux has it: an index for the other end alone is not listened to.
            index: peer.index.filter(|_| birth.index.is_some()),
            tx_queues: peer.tx_queues,
            rx_queues: peer.rx_queues,
            change: peer_change,
        };
        let this = match self.prepare(ns, birth) {
            // That this one's name is taken is found out when it is put into the table.
            Err(LinkRefused::Table(LinkError::NameTaken)) => None,
            checked => Some(checked?),
        };
        let that = self.prepare(peer_ns, &other)?;
        let early = peer_change.flags.is_some_and(|f| f.apply(that.stored_flags).contains(IfFlags::UP));
        let that = self.register(peer_ns, that, other.index)?;
        if early {
            // It would come up before it has anything to be connected to. Who listens has not heard of it.
            self.unregister_new(peer_ns, that.index(), false);
            return Err(LinkRefused::plain(errno::ENOTCONN));
        }
        let _ = peer_ns.links.update(that.index(), |link| link.lower = Some(0));
        watch::lose_first_carrier(self, peer_ns, that.index());
        updown::first_flags(self, peer_ns, that.index(), peer_change.flags);
        let registered = self.register_other(ns, this, birth);
        let this = registered.inspect_err(|_| self.unregister_new(peer_ns, that.index(), true))?;
        watch::lose_first_carrier(self, ns, this.index());
        let net_of = |of: Ns<'_>| if ns.is(peer_ns) { None } else { of.net().map(|net| Box::new(net.handle())) };
        let _ = ns.links.update(this.index(), |link| {
            (link.lower, link.lower_net) = (Some(that.index()), net_of(peer_ns));
        });
        let _ = peer_ns.links.update(that.index(), |link| {
            (link.lower, link.lower_net) = (Some(this.index()), net_of(ns));
        });
        Ok(this)
    }

    /// Puts the second end of a cable into the table; `None`: its name was taken before.
    fn register_other(&mut self, ns: Ns<'_>, link: Option<Link>, birth: &Birth<'_>) -> Result<Arc<Link>, LinkRefused> {
        let mut link = link.ok_or(LinkError::NameTaken)?;
        // The first end may have taken the number that this one's name would have had.
        if ns.links.by_name(link.name().as_str()).is_some() {
            link.name = ns.links.name_for(birth.name.unwrap_or("veth%d"))?;
        }
        link.lower = Some(0);
        self.register(ns, link, birth.index)
    }

    /// A number that nobody foresees.
    pub(crate) fn random(&self) -> u64 {
        self.stack().random()
    }

    /// A random address of a single device, locally administered (`eth_hw_addr_random`).
    pub(super) fn random_address(&self) -> HwAddr {
        let mut bytes = self.random().to_ne_bytes();
        bytes[0] = bytes[0] & !1 | 2;
        HwAddr::new(&bytes[..6]).unwrap_or(HwAddr::ZERO6)
    }
}

/// Whether the device takes that MTU (`dev_validate_mtu`).
pub(super) fn check_mtu(link: &Link, mtu: u32) -> Result<(), LinkRefused> {
    if i32::try_from(mtu).is_err() || mtu < link.min_mtu() {
        return Err(LinkRefused::MtuTooSmall);
    }
    if link.max_mtu() > 0 && mtu > link.max_mtu() {
        return Err(LinkRefused::MtuTooLarge);
    }
    Ok(())
}

/// Whether it is an address that a device can have (`is_valid_ether_addr`).
pub(super) fn unicast(address: &HwAddr) -> Result<(), LinkRefused> {
    if address.is_multicast() || address.is_zero() { Err(LinkRefused::BadAddress) } else { Ok(()) }
}
