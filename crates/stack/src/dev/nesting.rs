//! How devices are stacked: not in circles, and not higher than Linux lets them be.

use std::sync::Arc;

use pernet::{Net, NetHandle};

use super::{KindChange, Link, LinkChange, LinkRefused, kind};
use crate::errno;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::Ns;

/// Most devices on top of each other (`MAX_NEST_DEV`). What follows a change up or down goes no deeper than this.
const MOST: usize = 8;

impl Rtnl<'_> {
    /// Whether `upper` may sit on `lower`, or be its master (`netdev_upper_dev_link`).
    ///
    /// # Errors
    /// `EBUSY` if that is a circle, `EMLINK` if it is too high.
    pub(super) fn may_nest(
        &mut self,
        (lower_ns, lower): (Ns<'_>, &Arc<Link>),
        (upper_ns, upper): (Ns<'_>, &Arc<Link>),
    ) -> Result<(), LinkRefused> {
        if self.stands_on((lower_ns, lower), (upper_ns, upper)) {
            return Err(LinkRefused::plain(errno::EBUSY));
        }
        if self.levels_below(lower_ns, lower) + self.levels_above(upper_ns, upper) > MOST {
            return Err(LinkRefused::plain(errno::EMLINK));
        }
        Ok(())
    }

    /// Whether the device may sit on another one than now, if that is what the change wants: only tunnels are moved.
    ///
    /// # Errors
    /// There is none, or [`Rtnl::may_nest`].
    pub(super) fn check_new_lower(
        &mut self,
        ns: Ns<'_>,
        link: &Arc<Link>,
        change: &LinkChange,
    ) -> Result<(), LinkRefused> {
        let master = change.master;
        let Some(KindChange::Vxlan(change)) = &change.data else { return Ok(()) };
        let Some(wanted) = change.dev.filter(|&dev| dev > 0 && Some(dev) != link.below()) else { return Ok(()) };
        let net = link.lower_net().and_then(NetHandle::upgrade);
        let lower_ns = net.as_deref().map_or(Some(ns), |net| self.ns(net)).ok_or(LinkRefused::NoStack)?;
        let text = "Invalid local interface, device not found";
        let lower = lower_ns.links.by_index(wanted).ok_or_else(|| LinkRefused::says(errno::ENODEV, text))?;
        self.may_nest((lower_ns, &lower), (ns, link))?;
        // A master that it gets with the same change comes on top.
        let Some(master) = master.and_then(|master| ns.links.by_index(master)) else { return Ok(()) };
        if self.stands_on((lower_ns, &lower), (ns, &master)) {
            return Err(LinkRefused::plain(errno::EBUSY));
        }
        if self.levels_below(lower_ns, &lower) + 1 + self.levels_above(ns, &master) > MOST {
            return Err(LinkRefused::plain(errno::EMLINK));
        }
        Ok(())
    }

    /// The device sat on `before` and may sit on another one now: both hear of it.
    pub(super) fn sit_elsewhere(&mut self, ns: Ns<'_>, index: u32, before: Option<u32>) {
        let Some(link) = ns.links.by_index(index).filter(|link| kind::sits(link) && link.below() != before) else {
            return;
        };
        let net = link.lower_net().and_then(NetHandle::upgrade);
        let Some(lower_ns) = net.as_deref().map_or(Some(ns), |net| self.ns(net)) else { return };
        let own = ns.net().filter(|_| net.is_some()).map(Net::handle);
        if let Some(before) = before {
            lower_ns.links.unstack(before, own.as_ref(), index);
        }
        if let Some(lower) = link.below() {
            lower_ns.links.stack(lower, own.as_ref(), index);
        }
        for device in [link.below(), before].into_iter().flatten() {
            self.edit(lower_ns, device, Some(NetdevEvent::ChangeUpper), |_| {});
        }
    }

    /// Whether `link` is `below`, or is on it by way of others.
    fn stands_on(&mut self, (ns, link): (Ns<'_>, &Arc<Link>), below: (Ns<'_>, &Arc<Link>)) -> bool {
        if ns.is(below.0) && link.index() == below.1.index() {
            return true;
        }
        let ports = ns.links.ports_of(link.index());
        ports.into_iter().filter_map(|port| ns.links.by_index(port)).any(|port| self.stands_on((ns, &port), below))
            || kind::sits(link)
                && self.with_lower(ns, link, |rtnl, ns, lower| rtnl.stands_on((ns, &lower), below)) == Some(true)
    }

    /// The highest pile of devices that `link` is the top of.
    fn levels_below(&mut self, ns: Ns<'_>, link: &Arc<Link>) -> usize {
        let lower = if kind::sits(link) {
            self.with_lower(ns, link, |rtnl, ns, lower| rtnl.levels_below(ns, &lower))
        } else {
            None
        };
        let ports = ns.links.ports_of(link.index()).into_iter().filter_map(|port| ns.links.by_index(port));
        1 + ports.map(|port| self.levels_below(ns, &port)).chain(lower).max().unwrap_or(0)
    }

    /// The highest pile of devices that `link` is the bottom of.
    fn levels_above(&mut self, ns: Ns<'_>, link: &Arc<Link>) -> usize {
        let master = link.master.and_then(|master| ns.links.by_index(master));
        let master = master.map(|master| self.levels_above(ns, &master));
        let uppers = ns.links.uppers_of(link.index()).into_iter().filter_map(|(net, upper)| match net {
            None => Some(self.levels_above(ns, &ns.links.by_index(upper)?)),
            Some(net) => {
                let net = NetHandle::upgrade(&net)?;
                let ns = self.ns(&net)?;
                Some(self.levels_above(ns, &ns.links.by_index(upper)?))
            }
        });
        1 + uppers.chain(master).max().unwrap_or(0)
    }
}
