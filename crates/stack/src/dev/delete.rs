//! Taking devices away (`unregister_netdevice_many`).

use std::sync::Arc;

use pernet::{Net, NetRef};

use super::{Link, LinkNotice, LinkRefused, updown};
use crate::errno;
use crate::notice::Notice;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::Ns;

/// A device that goes, and where it is; the reference is there if it is not where the request is.
struct Going {
    net: Option<NetRef>,
    index: u32,
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

    /// Takes devices of a namespace away, and those that go with them.
    pub(super) fn unregister(&mut self, ns: Ns<'_>, indexes: &[u32]) {
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
        for &(ns, index) in &devices {
            let Some(link) = ns.links.by_index(index) else { continue };
            self.call_netdevice_notifiers(ns, &link, NetdevEvent::Unregister);
            let Ok(link) = ns.links.remove(index) else { continue };
            self.notify(ns, Notice::Link(LinkNotice::Del { link, to: None }));
        }
    }

    /// Notes that a device goes, and those that go with it (`dellink` of its kind). `home` is where the request is.
    fn queue(&mut self, home: Ns<'_>, ns: Ns<'_>, index: u32, going: &mut Vec<Going>) {
        let Some(link) = ns.links.by_index(index) else { return };
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
        let index = link.lower.filter(|&index| index > 0)?;
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
