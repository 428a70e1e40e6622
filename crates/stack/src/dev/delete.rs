//! Taking devices away (`unregister_netdevice_many`).

use std::sync::Arc;

use pernet::{Net, NetHandle, NetRef};

use super::{Link, LinkNotice, LinkRefused, kind, updown};
use crate::errno;
use crate::notice::Notice;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::Ns;

/// A device that goes, and where it is; the reference is there if it is not where the request is.
struct Going {
    net: Option<NetRef>,
    index: u32,
}

/// Why devices go.
#[derive(Clone, Copy)]
enum Why {
    /// That was asked for, or follows from it.
    Asked,
    /// They cannot be what a request wants; `heard`: the first of them was told of.
    Refused { heard: bool },
}

impl Rtnl<'_> {
    /// Takes a device away, and with it what cannot be without it (`rtnl_dellink`).
    ///
    /// # Errors
    /// [`LinkRefused`]: there is none, or it is not one that can be taken away.
    pub fn del_link(&mut self, net: &Net, index: u32) -> Result<(), LinkRefused> {
        let ns = self.ns(net).ok_or(LinkRefused::NoStack)?;
        let link = ns.links.by_index(index).ok_or(LinkRefused::plain(errno::ENODEV))?;
        if link.class().kind.is_none() {
            return Err(LinkRefused::plain(errno::EOPNOTSUPP));
        }
        self.unregister(ns, &[index]);
        self.run_linkwatch();
        Ok(())
    }

    /// Takes all devices of a group away (`rtnl_group_dellink`).
    ///
    /// # Errors
    /// `EPERM` for group 0, which everything is in by default; `ENODEV` for one that nothing is in; `EOPNOTSUPP` if one
    /// of them cannot be taken away. Then none is.
    pub fn del_group(&mut self, net: &Net, group: u32) -> Result<(), LinkRefused> {
        let ns = self.ns(net).ok_or(LinkRefused::NoStack)?;
        if group == 0 {
            return Err(LinkRefused::plain(errno::EPERM));
        }
        let members = ns.links.of_group(group);
        if members.is_empty() {
            return Err(LinkRefused::plain(errno::ENODEV));
        }
        let fixed = |&index: &u32| ns.links.by_index(index).is_some_and(|link| link.class().kind.is_none());
        if members.iter().any(fixed) {
            return Err(LinkRefused::plain(errno::EOPNOTSUPP));
        }
        self.unregister(ns, &members);
        self.run_linkwatch();
        Ok(())
    }

    /// What dies with a namespace: its devices, and those elsewhere that cannot be without them. Nobody hears of those
    /// in it; what listens elsewhere does.
    pub(super) fn dismantle(&mut self, ns: Ns<'_>, handle: &NetHandle) {
        if ns.links.untouched() {
            return;
        }
        // Those elsewhere, by their namespaces: each is told of all of its own in one go.
        let mut bereaved: Vec<(NetRef, Vec<u32>)> = Vec::new();
        let mut note = |net: NetRef, index: u32| match bereaved.iter_mut().find(|(known, _)| *known == net) {
            Some((_, all)) => all.push(index),
            None => bereaved.push((net, vec![index])),
        };
        for link in ns.links.all() {
            for (net, upper) in ns.links.uppers_of(link.index()) {
                if let Some(net) = net.as_ref().and_then(NetHandle::upgrade) {
                    note(net, upper);
                }
            }
            let Some(below) = link.lower_net().and_then(NetHandle::upgrade) else { continue };
            let Some(below_ns) = self.ns(&below) else { continue };
            let Some(index) = link.below() else { continue };
            below_ns.links.unstack(index, Some(handle), link.index());
            let Some(peer) = below_ns.links.by_index(index) else { continue };
            // The index may be another one's by now.
            let ours = peer.lower == Some(link.index()) && peer.lower_net() == Some(handle);
            if ours && peer.class().kind == Some("veth") {
                note(below, index);
            }
        }
        for (net, indexes) in bereaved {
            if let Some(ns) = self.ns(&net) {
                self.unregister(ns, &indexes);
            }
        }
        ns.links.clear();
        self.run_linkwatch();
    }

    /// Takes devices of a namespace away, and those that go with them.
    pub(super) fn unregister(&mut self, ns: Ns<'_>, indexes: &[u32]) {
        self.unregister_many(ns, indexes, Why::Asked);
    }

    /// Takes a device away that was made for a request that is refused; its other end, if it has one, was told of.
    pub(super) fn unregister_new(&mut self, ns: Ns<'_>, index: u32, heard: bool) {
        self.unregister_many(ns, &[index], Why::Refused { heard });
    }

    fn unregister_many(&mut self, ns: Ns<'_>, indexes: &[u32], why: Why) {
        let mut going: Vec<Going> = Vec::new();
        for &index in indexes {
            self.queue(ns, ns, index, &mut going);
        }
        let nets: Vec<Option<NetRef>> = going.iter().map(|g| g.net.clone()).collect();
        let devices: Vec<(Ns<'_>, u32)> = going
            .iter()
            .zip(&nets)
            .filter_map(|(g, net)| Some((net.as_deref().map_or(Some(ns), |net| self.ns(net))?, g.index)))
            .collect();
        updown::close_many(self, &devices);
        for &(ns, index) in &devices {
            let _ = ns.links.update(index, |link| link.qdisc = "noop");
        }
        for (at, &(ns, index)) in devices.iter().enumerate() {
            let Some(link) = ns.links.by_index(index) else { continue };
            self.call_netdevice_notifiers(ns, &link, NetdevEvent::Unregister);
            kind::leave(self, ns, &link);
            kind::unstack(self, ns, &link);
            let Ok(link) = ns.links.remove(index) else { continue };
            let notice = Notice::Link(LinkNotice::Del { link, to: None });
            match why {
                Why::Asked => self.notify(ns, notice),
                Why::Refused { heard } if at > 0 || heard => self.notify_caused(ns, notice),
                Why::Refused { .. } => {}
            }
        }
    }

    /// Notes that a device goes, and those that go with it (`dellink` of its kind). `home` is where the request is.
    fn queue(&mut self, home: Ns<'_>, ns: Ns<'_>, index: u32, going: &mut Vec<Going>) {
        let Some(link) = ns.links.by_index(index) else { return };
        if going
            .iter()
            .any(|g| g.index == index && g.net.as_deref().map_or_else(|| ns.is(home), |net| ns.net() == Some(net)))
        {
            return;
        }
        kind::delete(self, ns, &link);
        let net = if ns.is(home) { None } else { ns.to_ref() };
        going.push(Going { net, index });
        // The other end of a cable goes too; neither has another end from here on.
        if link.class().kind == Some("veth") {
            let peer = self.with_lower(ns, &link, |_, peer_ns, peer| {
                let _ = peer_ns.links.update(peer.index(), Link::unwire);
                let net = if peer_ns.is(home) { None } else { peer_ns.to_ref() };
                Going { net, index: peer.index() }
            });
            going.extend(peer);
            let _ = ns.links.update(index, Link::unwire);
        }
    }

    /// Calls `f` with the device below (or at the other end), and the namespace it is in; `None` if there is none, or if
    /// it is in a namespace that is dying.
    pub(super) fn with_lower<R>(
        &mut self,
        ns: Ns<'_>,
        link: &Arc<Link>,
        f: impl FnOnce(&mut Self, Ns<'_>, Arc<Link>) -> R,
    ) -> Option<R> {
        let index = link.below()?;
        let Some(handle) = link.lower_net() else {
            let lower = ns.links.by_index(index)?;
            return Some(f(self, ns, lower));
        };
        let net = handle.upgrade()?;
        let ns = self.ns(&net)?;
        let lower = ns.links.by_index(index)?;
        Some(f(self, ns, lower))
    }
}

impl Link {
    /// The other end is gone.
    fn unwire(&mut self) {
        (self.lower, self.lower_net) = (Some(0), None);
    }
}
