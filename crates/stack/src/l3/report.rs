//! Telling routers which groups somebody here listens to: IGMP (RFC 2236, RFC 3376) and MLD (RFC 2710, RFC 3810).
//!
//! A change is told soon and once more a little later, as it may get lost; several that come together are told in one
//! message. Who is asked answers after a while that he chooses, so that not all answer at once. What is told of a group, and of
//! whom it is heard there, [`records`] says.

mod records;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::{Reach, Received, internet_checksum, v4, v6};
use crate::dev::{IfFlags, Link};
use crate::inet6::devconf;
use crate::l2::{Cx, Work, work_at};
use crate::mib::{self, Ip};
use crate::neigh;
use crate::rtnl::Rtnl;
use crate::state::{ConfOf, Ns};
use crate::{inet, inet6, sysctl};
pub(crate) use records::Hears;
use records::{Change, Record};

/// Types of messages.
mod igmp {
    pub(super) const QUERY: u8 = 0x11;
    pub(super) const REPORT_V1: u8 = 0x12;
    pub(super) const REPORT_V2: u8 = 0x16;
    pub(super) const LEAVE: u8 = 0x17;
    pub(super) const REPORT_V3: u8 = 0x22;
}

mod mld {
    pub(super) const QUERY: u8 = 130;
    pub(super) const REPORT_V1: u8 = 131;
    pub(super) const DONE: u8 = 132;
    pub(super) const REPORT_V2: u8 = 143;
}

/// `IPV4_DEVCONF_FORCE_IGMP_VERSION`, and how long after the first the last report of a change comes, in milliseconds: of the
/// older versions, of the newest; and the same of IPv6.
const FORCE_IGMP_VERSION: usize = 17;
const REPORT_WITHIN4: [usize; 2] = [27, 28];
const REPORT_WITHIN6: [usize; 2] = [30, 31];
/// Around the records of a message: its header, IPv4's with an option, IPv6's with another.
const AROUND4: usize = 8 + 24;
const AROUND6: usize = 8 + 48;
/// What a program changes by several calls is told as one: so long is waited for more.
const TOGETHER: Duration = Duration::from_millis(8);
/// How long a router of an older version is remembered that asked: twice its interval and the time to answer.
const OLDER_LASTS: Duration = Duration::from_secs(2 * 125 + 10);

/// One of the two protocols on one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct On {
    pub(super) ifindex: u32,
    pub(super) v4: bool,
}

/// What is to be told on a device.
#[derive(Debug, Default)]
struct Reports {
    changes: Vec<Change>,
    /// Of whom is heard, as it was told or is about to be: of groups where that is not everybody.
    hears: HashMap<IpAddr, Hears>,
    /// When the next of them is told. Who comes before that came for an earlier one, which was told with others.
    due: Option<Duration>,
    /// Groups that a router asked for and that are to be answered, the unspecified one for all; and of which senders, unless
    /// of the whole group.
    answers: HashMap<IpAddr, Vec<IpAddr>>,
    /// Until then routers of an older version are there, which one.
    older: Option<(u8, Duration)>,
}

/// All of it, for a namespace.
#[derive(Debug, Default)]
pub(super) struct AllReports(HashMap<On, Reports>);

impl Reports {
    fn hears(&self, group: IpAddr) -> Hears {
        self.hears.get(&group).cloned().unwrap_or_default()
    }

    /// What is heard in a group is this now; what was.
    fn hear(&mut self, group: IpAddr, now: Hears) -> Hears {
        let before = if now.is_plain() { self.hears.remove(&group) } else { self.hears.insert(group, now) };
        before.unwrap_or_default()
    }

    /// What is still to be told of a group.
    fn change(&mut self, group: IpAddr) -> &mut Change {
        let at = self.changes.iter().position(|change| change.group == group).unwrap_or_else(|| {
            self.changes.push(Change::new(group));
            self.changes.len() - 1
        });
        &mut self.changes[at]
    }
}

/// A device begins or ceases to listen to a group. Under rtnl: the message goes out when nobody holds that.
pub(crate) fn changed(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, group: IpAddr, joined: bool) {
    let wanted = heard(ns, link, group);
    later(rtnl, ns, link, group, |reports, times| {
        let (before, now) = if joined {
            reports.hear(group, wanted.clone());
            (Hears::nobody(), wanted)
        } else {
            // Nobody is left whose wishes would be kept.
            (reports.hear(group, Hears::default()), Hears::nobody())
        };
        let change = reports.change(group);
        change.joined = (joined, times);
        change.note(&before, &now, times);
        true
    });
}

/// Sockets want to hear of others than before in a group that the device listens to. Under rtnl, as [`changed`].
pub(crate) fn sources_changed(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, group: IpAddr) {
    let now = heard(ns, link, group);
    later(rtnl, ns, link, group, |reports, times| {
        let before = reports.hear(group, now.clone());
        let differs = before != now;
        if differs {
            reports.change(group).note(&before, &now, times);
        }
        differs
    });
}

/// Of whom sockets want to hear; of all where none has said anything.
fn heard(ns: Ns<'_>, link: &Link, group: IpAddr) -> Hears {
    ns.state().l4.peek_filters().and_then(|filters| filters.heard(link.index(), group)).unwrap_or_default()
}

/// Notes a change of a group, and sees that it is told if there is something to tell.
fn later(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, group: IpAddr, note: impl FnOnce(&mut Reports, u32) -> bool) {
    let on = On { ifindex: link.index(), v4: group.is_ipv4() };
    if !link.is_up() || !link.stored_flags.contains(IfFlags::MULTICAST) || !is_told(ns, group) {
        return;
    }
    let (times, soon) = (times(ns, on.v4), rtnl.now() + TOGETHER);
    let first = {
        let mut all = ns.state().l3.reports.lock();
        let reports = all.0.entry(on).or_default();
        let first = note(reports, times) && reports.due.is_none_or(|due| due > soon);
        reports.due = if first { Some(soon) } else { reports.due };
        first
    };
    if first {
        rtnl.set_timer(ns, soon, crate::rtnl::Timer::Work(Box::new(Work::TellGroups(on))));
    }
}

/// Whether routers are to know of a group at all: not of those that everybody is in, or that do not leave the host.
fn is_told(ns: Ns<'_>, group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => {
            let near = group.octets()[..3] == [224, 0, 0];
            let near_told = sysctl::number_or(ns, "ipv4/igmp_link_local_mcast_reports", 1) != 0;
            group != Ipv4Addr::new(224, 0, 0, 1) && (!near || near_told)
        }
        IpAddr::V6(group) => group != Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1) && inet6::reach_of(group) > 1,
    }
}

/// How often a change is told.
fn times(ns: Ns<'_>, v4: bool) -> u32 {
    // That of MLD is the machine's, which no emulated namespace changes.
    let times = if v4 { sysctl::number_or(ns, "ipv4/igmp_qrv", 2) } else { 2 };
    u32::try_from(times).unwrap_or(1).max(1)
}

/// The version that is spoken on a device: 1 to 3 for IGMP, 1 to 2 for MLD.
fn version(cx: Cx<'_>, link: &Link, on: On) -> u8 {
    let ns = cx.ns();
    let (forced, newest) = if on.v4 {
        let of = |of| inet::conf(ns, of, FORCE_IGMP_VERSION).unwrap_or(0);
        let all = of(ConfOf::All);
        (if all == 0 { of(ConfOf::Dev(link.index())) } else { all }, 3)
    } else {
        (inet6::setting(ns, link, devconf::FORCE_MLD_VERSION), 2)
    };
    let older = cx.state.l3.reports.lock().0.get(&on).and_then(|reports| reports.older);
    match (u8::try_from(forced), older) {
        (Ok(forced), _) if (1..=newest).contains(&forced) => forced,
        (_, Some((older, until))) if cx.now() < until => older,
        _ => newest,
    }
}

/// What changed is told, and will be once more if need be (`igmp_ifc_timer_expire`).
pub(crate) fn tell(cx: Cx<'_>, on: On) {
    let Some(link) = cx.state.links.by_index(on.ifindex).filter(|link| link.is_up()) else {
        cx.state.l3.reports.lock().0.remove(&on);
        return;
    };
    let newest = speaks_newest(cx, &link, on);
    let next = cx.now() + within(cx, report_within(cx, &link, on, newest));
    let (mut records, mut joins) = (Vec::new(), Vec::new());
    let again = {
        let mut all = cx.state.l3.reports.lock();
        let Some(reports) = all.0.get_mut(&on) else { return };
        if reports.due.is_none_or(|due| due > cx.now()) {
            return;
        }
        let mut changes = std::mem::take(&mut reports.changes);
        changes.retain_mut(|change| {
            let (joined, left) = change.joined;
            // A group that nobody listens to is one in which nobody is heard, whatever is not known of it.
            let now = if joined { reports.hears(change.group) } else { Hears::nobody() };
            if newest {
                change.records(&now, &mut records);
            } else if left > 0 {
                joins.push((change.group, joined));
            }
            change.told()
        });
        reports.changes = changes;
        reports.due = (!reports.changes.is_empty()).then_some(next);
        !reports.changes.is_empty()
    };
    if newest {
        report(cx, &link, on, &records);
    } else {
        say_older(cx, &link, on, &joins);
    }
    if again {
        work_at(cx, next, Work::TellGroups(on));
    }
}

/// How long after a report it may be repeated.
fn report_within(cx: Cx<'_>, link: &Link, on: On, newest: bool) -> Duration {
    let (of4, of6) = (REPORT_WITHIN4[usize::from(newest)], REPORT_WITHIN6[usize::from(newest)]);
    let set = match on.v4 {
        true => inet::conf(cx.ns(), ConfOf::Dev(link.index()), of4).unwrap_or(0),
        false => inet6::setting(cx.ns(), link, of6),
    };
    Duration::from_millis(u64::try_from(set).unwrap_or(0).max(1))
}

/// Whether the newest version is spoken, the one that knows of senders.
fn speaks_newest(cx: Cx<'_>, link: &Link, on: On) -> bool {
    version(cx, link, on) == if on.v4 { 3 } else { 2 }
}

/// Some time within `most`.
fn within(cx: Cx<'_>, most: Duration) -> Duration {
    let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(cx.stack.random() % micros)
}

/// Sends records.
fn report(cx: Cx<'_>, link: &Arc<Link>, on: On, records: &[Record]) {
    let (ty, around) = if on.v4 { (igmp::REPORT_V3, AROUND4) } else { (mld::REPORT_V2, AROUND6) };
    for message in records::messages(ty, records, (link.mtu as usize).saturating_sub(around)) {
        send(cx, link, on.v4, None, &message);
    }
}

/// Tells routers of an older version who joined a group, or left it.
fn say_older(cx: Cx<'_>, link: &Arc<Link>, on: On, joins: &[(IpAddr, bool)]) {
    let version = version(cx, link, on);
    for (group, joined) in joins {
        let left = !joined;
        let all_routers: IpAddr = match on.v4 {
            true => Ipv4Addr::new(224, 0, 0, 2).into(),
            false => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2).into(),
        };
        let (ty, to) = match (on.v4, version, left) {
            // The oldest says nothing when it leaves.
            (true, 1, true) => continue,
            (true, 1, false) => (igmp::REPORT_V1, *group),
            (true, _, true) => (igmp::LEAVE, all_routers),
            (true, _, false) => (igmp::REPORT_V2, *group),
            (false, _, true) => (mld::DONE, all_routers),
            (false, _, false) => (mld::REPORT_V1, *group),
        };
        let mut message = vec![ty, 0, 0, 0];
        match group {
            IpAddr::V4(group) => message.extend(group.octets()),
            IpAddr::V6(group) => {
                message.extend([0; 4]);
                message.extend(group.octets());
            }
        }
        send(cx, link, on.v4, Some(to), &message);
    }
}

/// Sends a message to `to`, or to all routers that speak the newest version.
fn send(cx: Cx<'_>, link: &Arc<Link>, v4: bool, to: Option<IpAddr>, message: &[u8]) {
    let (to, packet) = if v4 {
        let to = match to {
            Some(IpAddr::V4(to)) => to,
            _ => Ipv4Addr::new(224, 0, 0, 22),
        };
        let from = inet::select_addr(cx.ns(), Some(link.index()), to, crate::fib::scope::LINK);
        let mut message = message.to_vec();
        let sum = internet_checksum(&message, 0);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let packet = v4::alert_packet(from, to, &message);
        cx.state.mib.v4.ip.inc(Ip::OutRequests);
        mib::transmitted4(cx.state, Reach::Multicast, packet.len());
        (IpAddr::V4(to), packet)
    } else {
        let to = match to {
            Some(IpAddr::V6(to)) => to,
            _ => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16),
        };
        let from = inet6::link_local_of(cx.ns(), link.index()).unwrap_or(Ipv6Addr::UNSPECIFIED);
        let packet = v6::alert_packet(from, to, message);
        if let Some(ty) = message.first() {
            mib::sends_message6(cx.state, link, &packet, *ty, true);
        }
        (IpAddr::V6(to), packet)
    };
    // Nobody waits for its fate: what matters is told twice.
    let _ = neigh::output(cx, link, to, packet);
}

/// A message came in: a router asks, or another answers who listens to the same group.
pub(super) fn receive(cx: Cx<'_>, link: &Arc<Link>, packet: &Received) {
    let message = packet.frame.data();
    let v4 = packet.src.is_ipv4();
    let on = On { ifindex: link.index(), v4 };
    let Some(&ty) = message.first() else { return };
    let group_at = |at: usize| -> Option<IpAddr> {
        match v4 {
            true => message.get(at..at + 4).and_then(|b| <[u8; 4]>::try_from(b).ok()).map(IpAddr::from),
            false => message.get(at..at + 16).and_then(|b| <[u8; 16]>::try_from(b).ok()).map(IpAddr::from),
        }
    };
    let group = group_at(if v4 { 4 } else { 8 });
    match (v4, ty) {
        (true, igmp::QUERY) | (false, mld::QUERY) => {
            let Some(group) = group.filter(|_| packet.hop_limit == 1) else { return };
            asked(cx, on, message, group);
        }
        (true, igmp::REPORT_V1 | igmp::REPORT_V2) | (false, mld::REPORT_V1) => {
            // Of those who listen to a group one is enough to answer.
            if let Some(group) = group
                && let Some(reports) = cx.state.l3.reports.lock().0.get_mut(&on)
            {
                reports.answers.remove(&group);
            }
        }
        _ => {}
    }
}

/// A router asks for a group, or for all: it is answered in a while.
fn asked(cx: Cx<'_>, on: On, message: &[u8], group: IpAddr) {
    let (newest, older, most) = if on.v4 {
        let code = message.get(1).copied().unwrap_or(0);
        let older = if code == 0 { 1 } else { 2 };
        let most = if code == 0 { 100 } else { u64::from(code) };
        (message.len() >= 12, older, Duration::from_millis(100 * most))
    } else {
        let code = message.get(4..6).map_or(0, |b| u64::from(u16::from_be_bytes([b[0], b[1]])));
        (message.len() >= 28, 1, Duration::from_millis(code))
    };
    let now = cx.now();
    {
        let mut all = cx.state.l3.reports.lock();
        let reports = all.0.entry(on).or_default();
        if !newest {
            reports.older = Some((older, now + OLDER_LASTS));
        }
        let sources = if newest { sources_asked(on.v4, message) } else { Vec::new() };
        if let Some(asked) = reports.answers.get_mut(&group) {
            // The whole group, if one asks for that.
            if sources.is_empty() {
                asked.clear();
            } else if !asked.is_empty() {
                asked.extend(sources);
            }
            return;
        }
        reports.answers.insert(group, sources);
    }
    work_at(cx, now + within(cx, most), Work::AnswerGroups(on, group));
}

/// The senders that a query of the newest version names.
fn sources_asked(v4: bool, message: &[u8]) -> Vec<IpAddr> {
    let (count_at, len) = if v4 { (10, 4) } else { (26, 16) };
    let count = message.get(count_at..count_at + 2).map_or(0, |b| usize::from(u16::from_be_bytes([b[0], b[1]])));
    let listed = message.get(count_at + 2..).unwrap_or_default().chunks_exact(len).take(count);
    listed
        .filter_map(|bytes| match v4 {
            true => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
            false => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        })
        .collect()
}

/// What a router asked for is answered, if it still holds.
pub(crate) fn answer(cx: Cx<'_>, on: On, group: IpAddr) {
    let ns = cx.ns();
    let asked = cx.state.l3.reports.lock().0.get_mut(&on).and_then(|reports| reports.answers.remove(&group));
    let Some(asked) = asked else { return };
    let Some(link) = cx.state.links.by_index(on.ifindex).filter(|link| link.is_up()) else { return };
    let groups: Vec<IpAddr> = if on.v4 {
        inet::groups_of(ns, on.ifindex).into_iter().map(IpAddr::V4).collect()
    } else {
        inet6::groups_of(ns, on.ifindex).into_iter().map(IpAddr::V6).collect()
    };
    let meant = |other: &IpAddr| (group.is_unspecified() || *other == group) && is_told(ns, *other);
    let groups: Vec<_> = groups.into_iter().filter(meant).collect();
    if !speaks_newest(cx, &link, on) {
        let joins: Vec<_> = groups.into_iter().map(|group| (group, true)).collect();
        return say_older(cx, &link, on, &joins);
    }
    let records: Vec<_> = {
        let all = cx.state.l3.reports.lock();
        let reports = all.0.get(&on);
        let hears = |group| reports.map(|reports| reports.hears(group)).unwrap_or_default();
        groups.into_iter().filter_map(|group| records::answer(group, &hears(group), &asked)).collect()
    };
    report(cx, &link, on, &records);
}
