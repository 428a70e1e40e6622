//! Multicast groups that a socket hears of (`struct ip_mc_socklist`, `struct ipv6_mc_socklist`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use pernet::Origin;

use super::options::Opt;
use super::sock::{Sock, State};
use crate::dev::Link;
use crate::inet6::Flow6;
use crate::l2::Cx;
use crate::l3::{Flow, group_sources_changed, route_output};
use crate::{errno, inet, inet6, sysctl};

/// A group on a device, and of whom the socket hears there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) group: IpAddr,
    pub(crate) device: u32,
    /// Hears of these alone; else of all but these.
    pub(super) only: bool,
    pub(super) sources: Vec<IpAddr>,
}

impl Membership {
    fn admits(&self, source: IpAddr) -> bool {
        self.sources.contains(&source) == self.only
    }
}

/// A change of a membership's sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Hear of it too (`IP_ADD_SOURCE_MEMBERSHIP`).
    Join,
    /// And no more (`IP_DROP_SOURCE_MEMBERSHIP`).
    Leave,
    /// Hear of all but it (`IP_BLOCK_SOURCE`).
    Block,
    /// And of it again (`IP_UNBLOCK_SOURCE`).
    Unblock,
}

/// Whether a socket hears of a packet to a group (`ip_mc_sf_allow`, `inet6_mc_check`).
pub(crate) fn hears(state: &State, group: IpAddr, source: IpAddr, device: u32) -> bool {
    match state.members.iter().find(|m| m.group == group && m.device == device) {
        Some(member) => member.admits(source),
        None if group.is_ipv4() => state.options.is_on(Opt::IP_MULTICAST_ALL),
        None => state.options.is_on(Opt::IPV6_MULTICAST_ALL),
    }
}

/// The device that is meant: by index, by an address of it, or the one on the way to the group.
///
/// # Errors
/// `ENODEV`.
pub(crate) fn device(cx: Cx<'_>, group: IpAddr, ifindex: u32, own: Ipv4Addr) -> Result<Arc<Link>, i32> {
    let links = &cx.state.links;
    if ifindex != 0 {
        return links.by_index(ifindex).ok_or(errno::ENODEV);
    }
    if !own.is_unspecified() {
        let inet = cx.state.peek_inet();
        let owner = inet.and_then(|inet| inet.all_addrs().find(|(_, ifa)| ifa.local == own).map(|(index, _)| index));
        return owner.and_then(|index| links.by_index(index)).ok_or(errno::ENODEV);
    }
    let oif = match group {
        IpAddr::V4(_) => route_output(cx, &Flow::to(group)).map(|route| route.oif).ok(),
        // No address to send from is asked for: while those of a link are still being checked, there is none.
        IpAddr::V6(dst) => inet6::way(cx.ns(), &Flow6 { dst, ..Flow6::default() }, cx.now()).map(|way| way.oif).ok(),
    };
    oif.and_then(|oif| links.by_index(oif)).ok_or(errno::ENODEV)
}

/// Joins a group (`ip_mc_join_group`, `ipv6_sock_mc_join`). `source`: hears of this one alone.
///
/// # Errors
/// `EINVAL`, `ENODEV`, `EADDRINUSE`, `ENOBUFS`.
pub(crate) fn join(
    cx: Cx<'_>,
    sock: &Sock,
    group: IpAddr,
    (ifindex, own): (u32, Ipv4Addr),
    source: Option<IpAddr>,
) -> Result<(), i32> {
    if !group.is_multicast() {
        return Err(errno::EINVAL);
    }
    let link = device(cx, group, ifindex, own)?;
    let mut state = sock.lock();
    if state.members.iter().any(|m| m.group == group && m.device == link.index()) {
        return Err(errno::EADDRINUSE);
    }
    let most = usize::try_from(sysctl::number_or(cx.ns(), "ipv4/igmp_max_memberships", 20)).unwrap_or(0);
    if group.is_ipv4() && state.members.iter().filter(|m| m.group.is_ipv4()).count() >= most {
        return Err(errno::ENOBUFS);
    }
    let member =
        Membership { group, device: link.index(), only: source.is_some(), sources: source.into_iter().collect() };
    cx.state.l4.filters.changed(None, Some(&member));
    state.members.push(member);
    let mut rtnl = cx.stack.rtnl(Origin::KERNEL);
    match group {
        IpAddr::V4(group) => inet::join(&mut rtnl, cx.ns(), &link, group),
        IpAddr::V6(group) => inet6::join_group(&mut rtnl, cx.ns(), &link, group),
    }
    // Who was there before may have heard of others.
    group_sources_changed(&mut rtnl, cx.ns(), &link, group);
    Ok(())
}

/// Leaves a group (`ip_mc_leave_group`, `ipv6_sock_mc_drop`).
///
/// # Errors
/// `EADDRNOTAVAIL` if it was not joined there, `ENODEV`; `EINVAL` for what is no group of IPv6.
pub(crate) fn leave(cx: Cx<'_>, sock: &Sock, group: IpAddr, (ifindex, own): (u32, Ipv4Addr)) -> Result<(), i32> {
    if group.is_ipv6() && !group.is_multicast() {
        return Err(errno::EINVAL);
    }
    let mut state = sock.lock();
    let named = match device(cx, group, ifindex, own) {
        // Not even a way to the group.
        Err(error) if ifindex == 0 && own.is_unspecified() && group.is_ipv4() => return Err(error),
        _ if ifindex == 0 && own.is_unspecified() => None,
        Ok(link) => Some(link.index()),
        // A device that is gone may still be left by its number.
        Err(_) => Some(ifindex),
    };
    let at = state.members.iter().position(|m| m.group == group && named.is_none_or(|index| m.device == index));
    let at = at.ok_or(errno::EADDRNOTAVAIL)?;
    let gone = state.members.remove(at);
    leave_all(cx, vec![gone]);
    Ok(())
}

/// Leaves these, where their devices are still there.
pub(crate) fn leave_all(cx: Cx<'_>, members: Vec<Membership>) {
    if members.is_empty() {
        return;
    }
    for member in &members {
        cx.state.l4.filters.changed(Some(member), None);
    }
    let mut rtnl = cx.stack.rtnl(Origin::KERNEL);
    for member in members {
        let Some(link) = cx.state.links.by_index(member.device) else { continue };
        match member.group {
            IpAddr::V4(group) => inet::leave(&mut rtnl, cx.ns(), &link, group),
            IpAddr::V6(group) => inet6::leave_group(&mut rtnl, cx.ns(), &link, group),
        }
        group_sources_changed(&mut rtnl, cx.ns(), &link, member.group);
    }
}

/// A membership is another than before: sockets' wishes are counted, and routers told.
fn replaced(cx: Cx<'_>, link: &Link, before: &Membership, after: &Membership) {
    cx.state.l4.filters.changed(Some(before), Some(after));
    group_sources_changed(&mut cx.stack.rtnl(Origin::KERNEL), cx.ns(), link, after.group);
}

/// Changes of whom a socket hears in a group (`ip_mc_source`).
///
/// # Errors
/// `EINVAL`, `EADDRNOTAVAIL`, `EADDRINUSE`, those of [`join`].
pub(crate) fn source(
    cx: Cx<'_>,
    sock: &Sock,
    group: IpAddr,
    (ifindex, own): (u32, Ipv4Addr),
    source: IpAddr,
    how: Source,
) -> Result<(), i32> {
    if !group.is_multicast() {
        return Err(errno::EINVAL);
    }
    let link = device(cx, group, ifindex, own)?;
    let mut state = sock.lock();
    let only = matches!(how, Source::Join | Source::Leave);
    let most = most_sources(cx, group.is_ipv6());
    let Some(at) = state.members.iter().position(|m| m.group == group && m.device == link.index()) else {
        drop(state);
        return if how == Source::Join {
            join(cx, sock, group, (ifindex, own), Some(source))
        } else {
            Err(errno::EINVAL)
        };
    };
    let member = &mut state.members[at];
    if member.only != only {
        return Err(errno::EINVAL);
    }
    let known = member.sources.iter().position(|&s| s == source);
    match (how, known) {
        (Source::Join | Source::Block, None) if member.sources.len() >= most => return Err(errno::ENOBUFS),
        (Source::Join | Source::Block, None) => {
            let before = member.clone();
            member.sources.push(source);
            replaced(cx, &link, &before, member);
        }
        (Source::Join | Source::Block, Some(_)) => return Err(errno::EADDRNOTAVAIL),
        (Source::Leave | Source::Unblock, Some(known)) => {
            if member.only && member.sources.len() == 1 {
                let gone = state.members.remove(at);
                leave_all(cx, vec![gone]);
            } else {
                let before = member.clone();
                member.sources.remove(known);
                replaced(cx, &link, &before, member);
            }
        }
        (Source::Leave | Source::Unblock, None) => return Err(errno::EADDRNOTAVAIL),
    }
    Ok(())
}

/// How many senders a socket may name of a group.
pub(super) fn most_sources(cx: Cx<'_>, v6: bool) -> usize {
    /// `net.ipv6.mld_max_msf`, which only the host has.
    const OF_IPV6: usize = 64;
    if v6 {
        return OF_IPV6;
    }
    usize::try_from(sysctl::number_or(cx.ns(), "ipv4/igmp_max_msf", 10)).unwrap_or(0)
}

/// Says anew of whom a socket hears in a group that it joined (`ip_mc_msfilter`, `ip6_mc_msfilter`): of these alone if
/// `only`, else of all but these. Who hears of nobody leaves.
///
/// # Errors
/// `EINVAL`, `ENODEV`, `EADDRNOTAVAIL`.
pub(crate) fn set_sources(
    cx: Cx<'_>,
    sock: &Sock,
    group: IpAddr,
    on: (u32, Ipv4Addr),
    only: bool,
    sources: Vec<IpAddr>,
) -> Result<(), i32> {
    if !group.is_multicast() {
        return Err(errno::EINVAL);
    }
    let link = device(cx, group, on.0, on.1)?;
    if only && sources.is_empty() {
        return leave(cx, sock, group, (link.index(), Ipv4Addr::UNSPECIFIED));
    }
    let mut state = sock.lock();
    let member = state.members.iter_mut().find(|m| m.group == group && m.device == link.index());
    let member = member.ok_or(errno::EINVAL)?;
    let before = member.clone();
    (member.only, member.sources) = (only, sources);
    replaced(cx, &link, &before, member);
    Ok(())
}

/// Of whom a socket hears in a group: of these alone, or of all but these.
///
/// # Errors
/// `EINVAL` for what is no group, `ENODEV`, `EADDRNOTAVAIL` if it was not joined there.
pub(crate) fn sources(
    cx: Cx<'_>,
    state: &State,
    group: IpAddr,
    on: (u32, Ipv4Addr),
) -> Result<(bool, Vec<IpAddr>), i32> {
    if !group.is_multicast() {
        return Err(errno::EINVAL);
    }
    let link = device(cx, group, on.0, on.1)?;
    let member = state.members.iter().find(|m| m.group == group && m.device == link.index());
    member.map(|member| (member.only, member.sources.clone())).ok_or(errno::EADDRNOTAVAIL)
}

/// The addresses of a group request: what stands at `at`, of either family.
pub(crate) fn ip4(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    bytes.get(at..)?.first_chunk::<4>().map(|b| Ipv4Addr::from(*b))
}

/// As [`ip4`].
pub(crate) fn ip6(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    bytes.get(at..)?.first_chunk::<16>().map(|b| Ipv6Addr::from(*b))
}
