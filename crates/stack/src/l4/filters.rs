//! What sockets want to hear of groups, and of whom, device by device (`/proc/net/mcfilter` and `mcfilter6`).

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::member::Membership;
use crate::l3::Hears;
use crate::state::Ns;

/// Of one group on one device.
#[derive(Debug)]
struct Wanted {
    device: u32,
    group: IpAddr,
    /// Sockets that are members, and those of them that hear of all but some.
    members: usize,
    excluding: u32,
    /// Senders that somebody named: how many sockets want to hear of them, and how many of all but them.
    sources: Vec<(IpAddr, [u32; 2])>,
}

/// Those of a namespace, the newest group first. A leaf lock.
#[derive(Debug, Default)]
pub(crate) struct Filters(Mutex<Vec<Wanted>>);

impl Filters {
    fn lock(&self) -> MutexGuard<'_, Vec<Wanted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A socket's membership is another than before.
    pub(super) fn changed(&self, before: Option<&Membership>, after: Option<&Membership>) {
        let mut all = self.lock();
        // The new one first, so that what stays keeps its place.
        if let Some(after) = after {
            let at = position(&all, after).unwrap_or_else(|| {
                let (device, group) = (after.device, after.group);
                all.insert(0, Wanted { device, group, members: 0, excluding: 0, sources: Vec::new() });
                0
            });
            all[at].members += 1;
            all[at].excluding += u32::from(!after.only);
            for &source in &after.sources {
                let sources = &mut all[at].sources;
                let known = sources.iter().position(|(known, _)| *known == source).unwrap_or_else(|| {
                    sources.push((source, [0; 2]));
                    sources.len() - 1
                });
                sources[known].1[usize::from(!after.only)] += 1;
            }
        }
        let Some((before, at)) = before.and_then(|before| Some((before, position(&all, before)?))) else { return };
        all[at].members -= 1;
        all[at].excluding -= u32::from(!before.only);
        for source in &before.sources {
            if let Some((_, counts)) = all[at].sources.iter_mut().find(|(known, _)| known == source) {
                counts[usize::from(!before.only)] -= 1;
            }
        }
        all[at].sources.retain(|(_, counts)| *counts != [0; 2]);
        if all[at].members == 0 {
            all.remove(at);
        }
    }
}

impl Filters {
    /// Of whom all sockets together hear in a group on a device (RFC 3376, 3.2); `None` if none is a member.
    pub(crate) fn heard(&self, device: u32, group: IpAddr) -> Option<Hears> {
        let all = self.lock();
        let wanted = all.iter().find(|wanted| (wanted.device, wanted.group) == (device, group))?;
        let only = wanted.excluding == 0;
        // Who hears of all but some keeps out whom nobody wants to hear.
        let counted = |&&(_, [include, exclude]): &&(IpAddr, [u32; 2])| {
            if only { include > 0 } else { include == 0 && exclude == wanted.excluding }
        };
        let sources = wanted.sources.iter().filter(counted).map(|(source, _)| *source).collect();
        Some(Hears { only, sources })
    }
}

fn position(all: &[Wanted], member: &Membership) -> Option<usize> {
    all.iter().position(|wanted| (wanted.device, wanted.group) == (member.device, member.group))
}

/// `/proc/net/mcfilter`.
pub(crate) fn mcfilter(ns: Ns<'_>) -> String {
    listed(ns, false, "Idx Device        MCA        SRC    INC    EXC\n")
}

/// `/proc/net/mcfilter6`.
pub(crate) fn mcfilter6(ns: Ns<'_>) -> String {
    listed(ns, true, "Idx Device                Multicast Address                   Source Address    INC    EXC\n")
}

fn listed(ns: Ns<'_>, v6: bool, heading: &str) -> String {
    let mut out = String::from(heading);
    let Some(filters) = ns.state().l4.peek_filters() else { return out };
    let mut rows = Vec::new();
    for wanted in filters.lock().iter().filter(|wanted| wanted.group.is_ipv6() == v6) {
        rows.extend(wanted.sources.iter().map(|&(source, counts)| (wanted.device, wanted.group, source, counts)));
    }
    rows.sort_by_key(|row| row.0);
    for (device, group, source, [include, exclude]) in rows {
        let Some(link) = ns.links.by_index(device) else { continue };
        let name = link.name().to_string();
        let _ = write!(out, "{device:3} {name:>6.6} ");
        let _ = match (group, source) {
            (IpAddr::V4(group), IpAddr::V4(source)) => {
                writeln!(out, "0x{:08x} 0x{:08x} {include:6} {exclude:6}", group.to_bits(), source.to_bits())
            }
            (IpAddr::V6(group), IpAddr::V6(source)) => {
                writeln!(out, "{:032x} {:032x} {include:6} {exclude:6}", group.to_bits(), source.to_bits())
            }
            _ => Ok(()),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(only: bool, sources: &[u8]) -> Membership {
        let sources = sources.iter().map(|&last| IpAddr::from([10, 0, 0, last])).collect();
        Membership { group: IpAddr::from([232, 1, 1, 1]), device: 1, only, sources }
    }

    /// Senders by the last byte of their addresses, with both counts.
    fn counts(filters: &Filters) -> Vec<(u8, [u32; 2])> {
        let last = |addr: IpAddr| if let IpAddr::V4(addr) = addr { addr.octets()[3] } else { 0 };
        let all = filters.lock();
        all.iter().flat_map(|wanted| &wanted.sources).map(|&(source, counts)| (last(source), counts)).collect()
    }

    #[test]
    fn senders_are_counted_for_each_socket_and_forgotten_with_the_last() {
        let filters = Filters::default();
        let (one, two, three) = (member(false, &[1, 9]), member(true, &[9, 3]), member(true, &[3]));
        filters.changed(None, Some(&one));
        filters.changed(None, Some(&two));
        assert_eq!(counts(&filters), [(1, [0, 1]), (9, [1, 1]), (3, [1, 0])]);
        filters.changed(Some(&two), Some(&three));
        assert_eq!(counts(&filters), [(1, [0, 1]), (9, [0, 1]), (3, [1, 0])]);
        filters.changed(Some(&one), None);
        assert_eq!(counts(&filters), [(3, [1, 0])]);
        filters.changed(Some(&three), None);
        assert!(filters.lock().is_empty());
        // Of what was never told nothing is taken away.
        filters.changed(Some(&three), None);
    }
}
