//! IPv4 multicast groups that devices listen to (`ip_mc_list`), and the link-layer addresses they are heard under.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::refused::JoinError;
use super::{InetNotice, InetNotice::Group as Told};
use crate::clock;
use crate::dev::{HwAddr, Link};
use crate::mcast;
use crate::rtnl::Rtnl;
use crate::state::Ns;

/// All hosts: joined by every device that is up.
const ALL_HOSTS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
/// As many groups as one socket may join (`igmp_max_memberships`). The kernel joins for addresses with a socket.
const MAX_MEMBERSHIPS: usize = 20;
/// `ARPHRD_ETHER`.
const ETHERNET: u16 = 1;

/// A group of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Which.
    pub address: Ipv4Addr,
    /// How many parties listen.
    pub users: u32,
    /// When the first of them came, hundredths of a second on the stack's clock.
    pub joined: u32,
    /// Whether the device was told (`loaded`): not after it went down, until it is up again.
    pub(super) heard: bool,
}

/// The link-layer address under which a device hears of the group (`arp_mc_map`); `None` if it has no such thing.
fn link_address(link: &Link, group: Ipv4Addr) -> Option<HwAddr> {
    let [_, b, c, d] = group.octets();
    (link.class().arp_type == ETHERNET).then(|| HwAddr::new(&[1, 0, 0x5e, b & 0x7f, c, d])).flatten()
}

/// Whether the device listens to the group (`ip_check_mc`).
pub(crate) fn is_member(ns: Ns<'_>, index: u32, address: Ipv4Addr) -> bool {
    let inet = ns.inet.peek();
    let device = inet.as_ref().and_then(|inet| inet.device(index));
    device.is_some_and(|device| device.groups.iter().any(|group| group.address == address))
}

/// One more party listens to the group (`ip_mc_inc_group`).
pub(crate) fn join(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, address: Ipv4Addr) {
    let joined = clock::stamp(rtnl.now());
    {
        let mut inet = ns.inet.write();
        inet.generation = inet.generation.wrapping_add(1);
        let groups = &mut inet.device_mut(link.index()).groups;
        if let Some(group) = groups.iter_mut().find(|g| g.address == address) {
            group.users += 1;
            return;
        }
        if groups.is_empty() {
            groups.reserve_exact(1);
        }
        groups.insert(0, Group { address, users: 1, joined, heard: true });
    }
    listen(ns, link, address);
    tell(rtnl, ns, link, address, joined, true);
}

/// One party less does (`ip_mc_dec_group`).
pub(crate) fn leave(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, address: Ipv4Addr) {
    let gone = {
        let mut inet = ns.inet.write();
        let groups = &mut inet.device_mut(link.index()).groups;
        let Some(at) = groups.iter().position(|g| g.address == address) else { return };
        groups[at].users = groups[at].users.saturating_sub(1);
        if groups[at].users > 0 {
            return;
        }
        let gone = groups.remove(at);
        inet.generation = inet.generation.wrapping_add(1);
        gone
    };
    if gone.heard {
        forget(ns, link, address);
    }
    tell(rtnl, ns, link, address, gone.joined, false);
}

/// The device came up (`ip_mc_up`): it joins all hosts, and is told of what it joined while down.
pub(super) fn up(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    join(rtnl, ns, link, ALL_HOSTS);
    let unheard: Vec<Ipv4Addr> = {
        let mut inet = ns.inet.write();
        let groups = inet.device_mut(link.index()).groups.iter_mut().filter(|g| !g.heard);
        groups.map(|group| (group.heard = true, group.address).1).collect()
    };
    for address in unheard {
        listen(ns, link, address);
    }
}

/// The device went down (`ip_mc_down`): what it had joined stays joined, and unheard.
pub(super) fn down(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    let Some(heard) = ns.inet.peek().and_then(|inet| inet.device(link.index()).map(|d| d.groups.clone())) else {
        return;
    };
    for group in heard.iter().filter(|g| g.heard) {
        forget(ns, link, group.address);
    }
    for group in &mut ns.inet.write().device_mut(link.index()).groups {
        group.heard = false;
    }
    if heard.iter().any(|g| g.address == ALL_HOSTS) {
        leave(rtnl, ns, link, ALL_HOSTS);
    }
}

/// The device leaves, or does no IPv4 any more (`ip_mc_destroy_dev`).
pub(super) fn destroy(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>) {
    let groups = {
        let mut inet = ns.inet.write();
        inet.joined_for.retain(|(index, _)| *index != link.index());
        std::mem::take(&mut inet.device_mut(link.index()).groups)
    };
    for group in groups {
        if group.heard {
            forget(ns, link, group.address);
        }
        if group.address == ALL_HOSTS {
            tell(rtnl, ns, link, group.address, group.joined, false);
        }
    }
}

/// Joins a group for an address that is one (`IFA_F_MCAUTOJOIN`).
///
/// # Errors
/// [`JoinError`].
pub(super) fn auto_join(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, address: Ipv4Addr) -> Result<(), JoinError> {
    if !address.is_multicast() {
        return Err(JoinError::NotMulticast);
    }
    {
        let mut inet = ns.inet.write();
        let key = (link.index(), address);
        if inet.joined_for.contains(&key) {
            return Err(JoinError::Joined);
        }
        if inet.joined_for.len() >= MAX_MEMBERSHIPS {
            return Err(JoinError::TooMany);
        }
        inet.joined_for.push(key);
    }
    join(rtnl, ns, link, address);
    Ok(())
}

/// Leaves it, if it was joined so.
pub(super) fn auto_leave(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, address: Ipv4Addr) {
    let joined = {
        let mut inet = ns.inet.write();
        let before = inet.joined_for.len();
        inet.joined_for.retain(|key| *key != (link.index(), address));
        inet.joined_for.len() != before
    };
    if joined {
        leave(rtnl, ns, link, address);
    }
}

fn listen(ns: Ns<'_>, link: &Link, group: Ipv4Addr) {
    if let Some(address) = link_address(link, group) {
        mcast::add(ns, link, address);
    }
}

fn forget(ns: Ns<'_>, link: &Link, group: Ipv4Addr) {
    if let Some(address) = link_address(link, group) {
        mcast::del(ns, link, address);
    }
}

fn tell(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, address: Ipv4Addr, joined: u32, present: bool) {
    let notice: InetNotice = Told { ifindex: link.index(), address, joined, present };
    rtnl.notify_caused(ns, notice.into());
}
