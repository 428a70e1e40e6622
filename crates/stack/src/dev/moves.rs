//! Devices that go to another namespace (`dev_change_net_namespace`).

use std::borrow::Cow;
use std::sync::Arc;

use pernet::Net;

use super::{IfName, Link, LinkNotice, LinkRefused, OperState, kind, updown};
use crate::errno;
use crate::notice::Notice;
use crate::rtnl::{NetdevEvent, Rtnl};
use crate::state::Ns;

/// A move that was checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    /// The name in the new namespace.
    name: IfName,
    /// The index there; `None` for its own, or the next.
    index: Option<u32>,
}

/// Whether a device may go to `to`, and as what. `wanted` is the name for the case that its own is taken there.
pub(super) fn check(
    from: Ns<'_>,
    to: Ns<'_>,
    link: &Link,
    wanted: Option<&str>,
    index: Option<u32>,
) -> Result<Option<Move>, LinkRefused> {
    if link.class().netns_immutable {
        return Err(LinkRefused::says(errno::EINVAL, "The interface netns is immutable"));
    }
    if from.is(to) {
        return Ok(None);
    }
    let mut name = *link.name();
    if to.links.is_named(name.as_str()) {
        let Some(wanted) = wanted else {
            let text = "An interface with the same name exists in the target netns";
            return Err(LinkRefused::says(errno::EEXIST, text));
        };
        name = to.links.name_for(wanted).map_err(|why| {
            let text = format!("Unable to use '{wanted}' for the new interface name in the target netns");
            LinkRefused::Says(why.errno(), Some(Cow::Owned(text)), None)
        })?;
    }
    if let Some(taken) = link.alt_names().iter().find(|name| to.links.is_named(name)) {
        let text = format!("An interface with the altname {taken} exists in the target netns");
        return Err(LinkRefused::Says(errno::EEXIST, Some(Cow::Owned(text)), None));
    }
    if let Some(taken) = index.filter(|&index| to.links.by_index(index).is_some()) {
        let text = format!("An interface with ifindex {taken} exists in the target netns");
        return Err(LinkRefused::Says(errno::EBUSY, Some(Cow::Owned(text)), None));
    }
    Ok(Some(Move { name, index }))
}

impl Rtnl<'_> {
    /// Moves a device as checked; returns its index in the new namespace.
    pub(super) fn move_link(&mut self, from: Ns<'_>, to: Ns<'_>, index: u32, how: Move) -> u32 {
        updown::close_many(self, &[(from, index)]);
        let Ok(link) = from.links.update(index, |link| link.qdisc = "noop") else { return index };
        self.call_netdevice_notifiers(from, &link, NetdevEvent::Unregister);
        kind::leave(self, from, &link);
        let Ok(link) = from.links.remove(index) else { return index };
        let new_index = match how.index {
            Some(index) => index,
            None => to.links.index_for(index).unwrap_or(index),
        };
        let to_handle = to.net().map(Net::handle);
        let notice = LinkNotice::Del { link: Arc::clone(&link), to: to_handle.map(|net| (net, new_index)) };
        self.notify_caused(from, Notice::Link(notice));
        let mut moved = Link::clone(&link);
        moved.name = how.name;
        // What others wanted of it stays behind with them.
        (moved.promiscuity, moved.allmulti) = (0, 0);
        moved.stored_flags = moved.stored_flags & !(super::IfFlags::PROMISC | super::IfFlags::ALLMULTI);
        // Nobody in the new place has looked at its state yet.
        moved.stored_operstate = if moved.carrier { moved.stored_operstate } else { OperState::LowerLayerDown };
        moved.index = new_index;
        self.rewire(from, to, &mut moved, index);
        let Ok(link) = to.links.insert(moved, Some(new_index)) else { return index };
        self.call_netdevice_notifiers(to, &link, NetdevEvent::Register);
        let link = to.links.by_index(new_index).unwrap_or(link);
        self.notify_caused(to, Notice::Link(LinkNotice::New { link, change: u32::MAX, event: 0 }));
        new_index
    }

    /// After a move of `link`, which was `old` in `from`: whom it sits on, and who sits on it, find each other again.
    fn rewire(&mut self, from: Ns<'_>, to: Ns<'_>, link: &mut Link, old: u32) {
        let new = link.index;
        let handle = |ns: Ns<'_>| ns.net().map(|net| Box::new(net.handle()));
        let (here, there) = (handle(from), handle(to));
        // The device below, as seen from the new place.
        if link.below().is_some() {
            link.lower_net = match (&link.lower_net, &there) {
                (None, _) => here.clone(),
                (Some(below), Some(there)) if below == there => None,
                (below, _) => below.clone(),
            };
        }
        // The other end of a cable, as it sees this one.
        if link.class().kind == Some("veth") {
            let below = link.lower.unwrap_or(0);
            let net = link.lower_net().and_then(pernet::NetHandle::upgrade);
            let peer_ns = match &net {
                Some(net) => self.ns(net),
                None if link.lower_net.is_none() => Some(to),
                None => None,
            };
            if let Some(peer_ns) = peer_ns {
                let together = peer_ns.is(to);
                let _ = peer_ns.links.update(below, |peer| {
                    peer.lower = Some(new);
                    peer.lower_net = if together { None } else { there.clone() };
                });
            }
        }
        kind::restack(self, from, to, link, old);
    }
}
