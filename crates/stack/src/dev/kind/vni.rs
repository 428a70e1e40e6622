//! Which networks a tunnel for many takes packets of (`vnifilter`), and where each network's unknown addresses go.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use pernet::Net;

use super::vxlan::Vxlan;
use super::{KindData, edit};
use crate::dev::fdb::{FdbEntry, FdbRemote, REMOTES_AT_ONCE};
use crate::dev::{HwAddr, Link, LinkNotice, LinkRefused};
use crate::errno;
use crate::notice::Notice;
use crate::rtnl::Rtnl;
use crate::state::Ns;

/// Networks that one tunnel may hold, as many as Linux's table.
const MOST: u64 = 1 << 25;

/// Networks with numbers in a row that are treated alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VniRun {
    /// The first number.
    pub start: u32,
    /// The last one.
    pub end: u32,
    /// Where packets for unknown addresses go, if not where the tunnel's go.
    pub remote: Option<IpAddr>,
}

/// The networks of a tunnel. A range is one entry, however many networks it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vnis(BTreeMap<u32, (u32, Option<IpAddr>)>);

/// A part of a range: runs of networks that are there, and gaps.
struct Piece {
    start: u32,
    end: u32,
    /// What is there: nothing, or networks with this remote.
    held: Option<Option<IpAddr>>,
}

impl Vnis {
    /// The networks in order, neighbours that are alike in one run.
    pub fn runs(&self) -> impl Iterator<Item = VniRun> + '_ {
        self.0.iter().map(|(&start, &(end, remote))| VniRun { start, end, remote })
    }

    /// The runs from the network `start` on.
    pub fn runs_from(&self, start: u32) -> impl Iterator<Item = VniRun> + '_ {
        self.runs_over(start, u32::MAX).map(move |run| VniRun { start: run.start.max(start), ..run })
    }

    fn runs_over(&self, start: u32, end: u32) -> impl Iterator<Item = VniRun> + '_ {
        let before = self.0.range(..=start).next_back().filter(|(_, (last, _))| *last >= start);
        let first = before.map_or(start, |(&first, _)| first);
        self.0.range(first..=end.max(first)).map(|(&start, &(end, remote))| VniRun { start, end, remote })
    }

    fn len(&self) -> u64 {
        self.runs().map(|run| u64::from(run.end - run.start) + 1).sum()
    }

    fn holds_any(&self, start: u32, end: u32) -> bool {
        self.runs_over(start, end).next().is_some_and(|run| run.start <= end)
    }

    /// The range cut where something begins or ends.
    fn pieces(&self, start: u32, end: u32) -> Vec<Piece> {
        let mut out = Vec::new();
        let mut at = u64::from(start);
        let last = u64::from(end);
        for run in self.runs_over(start, end).filter(|run| run.start <= end) {
            let (from, to) = (run.start.max(start), run.end.min(end));
            if u64::from(from) > at {
                out.push(Piece { start: at as u32, end: from - 1, held: None });
            }
            out.push(Piece { start: from, end: to, held: Some(run.remote) });
            at = u64::from(to) + 1;
        }
        if at <= last {
            out.push(Piece { start: at as u32, end, held: None });
        }
        out
    }

    /// Takes the range out.
    fn clear(&mut self, start: u32, end: u32) {
        let over: Vec<VniRun> = self.runs_over(start, end).filter(|run| run.start <= end).collect();
        for run in over {
            self.0.remove(&run.start);
            if run.start < start {
                self.0.insert(run.start, (start - 1, run.remote));
            }
            if run.end > end {
                self.0.insert(end + 1, (run.end, run.remote));
            }
        }
    }

    /// Puts the range in, joined with neighbours that are like it.
    fn set(&mut self, start: u32, end: u32, remote: Option<IpAddr>) {
        self.clear(start, end);
        let (mut first, mut last) = (start, end);
        if let Some((&before, &(until, its))) = self.0.range(..start).next_back()
            && until.checked_add(1) == Some(start)
            && its == remote
        {
            first = before;
        }
        if let Some(next) = end.checked_add(1)
            && let Some(&(until, its)) = self.0.get(&next)
            && its == remote
        {
            self.0.remove(&next);
            last = until;
        }
        self.0.insert(first, (last, remote));
    }
}

/// What a request says of a range of networks; one that ends before it begins says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VniChange {
    /// The first number.
    pub start: u32,
    /// The last one.
    pub end: u32,
    /// Where packets for unknown addresses go.
    pub remote: Option<IpAddr>,
}

/// A range that becomes another.
struct Change {
    start: u32,
    end: u32,
    before: Option<Option<IpAddr>>,
    after: Option<Option<IpAddr>>,
}

impl Rtnl<'_> {
    /// Whether the device is a tunnel that filters (`vxlan_vnifilter_process` asks so before it reads on).
    ///
    /// # Errors
    /// [`LinkRefused`].
    pub fn check_vni_device(&mut self, net: &Net, index: u32) -> Result<(), LinkRefused> {
        let ns = self.ns(net).ok_or(LinkRefused::NoStack)?;
        device(ns, index).map(drop)
    }

    /// Lets a tunnel take packets of more networks (RTM_NEWTUNNEL).
    ///
    /// # Errors
    /// [`LinkRefused`]; then none was added.
    pub fn add_vnis(&mut self, net: &Net, index: u32, wanted: &[VniChange]) -> Result<(), LinkRefused> {
        let ns = self.ns(net).ok_or(LinkRefused::NoStack)?;
        let (link, vxlan) = device(ns, index)?;
        let mut next = Vnis::clone(&vxlan.vnis);
        let mut changes = Vec::new();
        for want in wanted.iter().filter(|want| want.start <= want.end) {
            if want.remote.is_some_and(|to| to.is_multicast()) && vxlan.dev.is_none() {
                let text = "Local interface required for multicast remote group";
                return Err(LinkRefused::says(errno::EINVAL, text));
            }
            for other in ns.links.filters_like(vxlan.flavour()).into_iter().filter(|&other| other != index) {
                if device(ns, other).is_ok_and(|(_, other)| other.vnis.holds_any(want.start, want.end)) {
                    return Err(LinkRefused::says(errno::EEXIST, "VNI in use"));
                }
            }
            for piece in next.pieces(want.start, want.end) {
                // To say nothing of one of which nothing was said changes nothing.
                if piece.held == Some(None) && want.remote.is_none() {
                    continue;
                }
                let (start, end) = (piece.start, piece.end);
                changes.push(Change { start, end, before: piece.held, after: Some(want.remote) });
            }
            next.set(want.start, want.end, want.remote);
            if next.len() > MOST || want.end == u32::MAX {
                return Err(LinkRefused::plain(errno::E2BIG));
            }
        }
        check_hosts(&vxlan, &changes)?;
        self.commit_vnis(ns, &link, &vxlan, next, &changes);
        Ok(())
    }

    /// Takes networks from a tunnel (RTM_DELTUNNEL).
    ///
    /// # Errors
    /// [`LinkRefused`]; then none was taken.
    pub fn del_vnis(&mut self, net: &Net, index: u32, wanted: &[VniChange]) -> Result<(), LinkRefused> {
        let ns = self.ns(net).ok_or(LinkRefused::NoStack)?;
        let (link, vxlan) = device(ns, index)?;
        let mut next = Vnis::clone(&vxlan.vnis);
        let mut changes = Vec::new();
        for want in wanted.iter().filter(|want| want.start <= want.end) {
            for piece in next.pieces(want.start, want.end) {
                let Some(remote) = piece.held else { return Err(LinkRefused::plain(errno::ENOENT)) };
                changes.push(Change { start: piece.start, end: piece.end, before: Some(remote), after: None });
            }
            next.clear(want.start, want.end);
        }
        self.commit_vnis(ns, &link, &vxlan, next, &changes);
        Ok(())
    }

    fn commit_vnis(&mut self, ns: Ns<'_>, link: &Link, vxlan: &Vxlan, next: Vnis, changes: &[Change]) {
        edit(ns, link.index(), |data| {
            if let KindData::Vxlan(vxlan) = data {
                vxlan.vnis = Arc::new(next);
            }
        });
        for change in changes {
            let hosts = [change.before, change.after].map(|side| side.and_then(|own| own.or(vxlan.remote)));
            if hosts != [None, None] {
                for vni in change.start..=change.end {
                    self.reach(ns, link, vxlan, vni, hosts);
                }
            }
            self.tell_vnis(ns, link, change);
        }
    }

    /// Where the unknown addresses of a network go from here on. As on Linux, another host joins the one before.
    fn reach(&mut self, ns: Ns<'_>, link: &Link, vxlan: &Vxlan, vni: u32, hosts: [Option<IpAddr>; 2]) {
        match hosts {
            [before, Some(now)] if before != Some(now) => self.add_host(ns, &host(link, vxlan, vni, now)),
            [Some(before), None] => self.del_host(ns, &host(link, vxlan, vni, before)),
            _ => {}
        }
    }

    fn tell_vnis(&mut self, ns: Ns<'_>, link: &Link, change: &Change) {
        let gone = change.after.is_none();
        let remote = if gone { change.before } else { change.after }.flatten();
        let run = VniRun { start: change.start, end: change.end, remote };
        self.notify_caused(ns, Notice::Link(LinkNotice::Vnis { index: link.index(), run, gone }));
    }

    /// The tunnel goes, and with it its networks.
    pub(super) fn forget_vnis(&mut self, ns: Ns<'_>, link: &Link, vxlan: &Vxlan) {
        for run in vxlan.vnis.runs() {
            self.notify_caused(ns, Notice::Link(LinkNotice::Vnis { index: link.index(), run, gone: true }));
        }
    }

    /// The tunnel sends what it knows no host for elsewhere than `before`: its networks that say nothing follow.
    pub(super) fn redirect(&mut self, ns: Ns<'_>, link: &Link, vxlan: &Vxlan, before: Option<IpAddr>) {
        let Some(now) = vxlan.remote.filter(|&now| before != Some(now)) else { return };
        let mut entries = vec![host(link, vxlan, 0, now)];
        let runs: Vec<VniRun> = vxlan.vnis.runs().filter(|run| run.remote.is_none()).collect();
        let numbers = runs.iter().rev().flat_map(|run| (run.start..=run.end).rev()).filter(|&vni| vni != 0);
        entries.extend(numbers.map(|vni| host(link, vxlan, vni, now)));
        for entry in entries {
            self.add_host(ns, &entry);
            if let Some(before) = before {
                self.del_host(ns, &host(link, vxlan, entry.src_vni, before));
            }
        }
    }
}

/// Whether the tunnel may send what it knows no host for elsewhere: each of its networks then has an entry.
pub(super) fn check_redirect(vxlan: &Vxlan) -> Result<(), LinkRefused> {
    let silent = vxlan.vnis.runs().filter(|run| run.remote.is_none());
    count(silent.map(|run| (run.start, run.end)))
}

fn check_hosts(vxlan: &Vxlan, changes: &[Change]) -> Result<(), LinkRefused> {
    let reached = changes.iter().filter(|c| c.after.is_some_and(|own| own.or(vxlan.remote).is_some()));
    count(reached.map(|c| (c.start, c.end)))
}

/// Entries for every network of these ranges must be so few that one request may make them.
fn count(ranges: impl Iterator<Item = (u32, u32)>) -> Result<(), LinkRefused> {
    let all: u64 = ranges.map(|(start, end)| u64::from(end - start) + 1).sum();
    if all > REMOTES_AT_ONCE { Err(LinkRefused::plain(errno::E2BIG)) } else { Ok(()) }
}

/// The entry by which unknown addresses of a network go to a host.
pub(super) fn host(link: &Link, vxlan: &Vxlan, vni: u32, address: IpAddr) -> FdbEntry {
    let own = (vni != 0).then_some(vni);
    let remote = FdbRemote { address, port: None, vni: own, ifindex: vxlan.dev };
    FdbEntry::unknown_addresses(link.index(), HwAddr::ZERO6, vni, remote)
}

fn device(ns: Ns<'_>, index: u32) -> Result<(Arc<Link>, Vxlan), LinkRefused> {
    let link = ns.links.by_index(index).ok_or(LinkRefused::plain(errno::ENODEV))?;
    match link.data() {
        Some(KindData::Vxlan(vxlan)) if vxlan.filters() => {
            let vxlan = vxlan.clone();
            Ok((link, vxlan))
        }
        Some(KindData::Vxlan(_)) => Err(LinkRefused::plain(errno::EOPNOTSUPP)),
        _ => Err(LinkRefused::says(errno::EINVAL, "vxlan: The device is not a vxlan device")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)));

    fn runs(vnis: &Vnis) -> Vec<(u32, u32, bool)> {
        vnis.runs().map(|run| (run.start, run.end, run.remote.is_some())).collect()
    }

    #[test]
    fn neighbours_that_are_alike_are_one_run() {
        let mut vnis = Vnis::default();
        vnis.set(10, 12, None);
        vnis.set(14, 14, None);
        vnis.set(13, 13, None);
        assert_eq!(runs(&vnis), [(10, 14, false)]);
        vnis.set(12, 12, A);
        assert_eq!(runs(&vnis), [(10, 11, false), (12, 12, true), (13, 14, false)]);
        vnis.set(12, 12, None);
        assert_eq!(runs(&vnis), [(10, 14, false)]);
        vnis.set(u32::MAX - 1, u32::MAX, A);
        vnis.clear(0, 11);
        assert_eq!(runs(&vnis), [(12, 14, false), (u32::MAX - 1, u32::MAX, true)]);
        assert_eq!(vnis.len(), 5);
    }

    #[test]
    fn a_table_of_runs_is_a_table_of_numbers() {
        // A small generator: the same numbers every time.
        let mut state = 1_u32;
        let mut next = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % below
        };
        let mut vnis = Vnis::default();
        let mut plain: BTreeMap<u32, Option<IpAddr>> = BTreeMap::new();
        for _ in 0..3000 {
            let start = next(40);
            let end = start + next(8);
            let remote = if next(2) == 0 { A } else { None };
            let held = vnis.pieces(start, end);
            assert_eq!(held.iter().map(|p| p.end - p.start + 1).sum::<u32>(), end - start + 1);
            for piece in &held {
                for vni in piece.start..=piece.end {
                    assert_eq!(piece.held, plain.get(&vni).copied());
                }
            }
            assert_eq!(vnis.holds_any(start, end), plain.range(start..=end).next().is_some());
            if next(3) == 0 {
                vnis.clear(start, end);
                plain.retain(|vni, _| !(start..=end).contains(vni));
            } else {
                vnis.set(start, end, remote);
                plain.extend((start..=end).map(|vni| (vni, remote)));
            }
            let flat: Vec<_> = vnis.runs().flat_map(|r| (r.start..=r.end).map(move |v| (v, r.remote))).collect();
            assert_eq!(flat, plain.iter().map(|(&v, &r)| (v, r)).collect::<Vec<_>>());
            let all: Vec<_> = vnis.runs().collect();
            assert!(all.windows(2).all(|w| w[0].end + 1 < w[1].start || w[0].remote != w[1].remote));
        }
    }
}
