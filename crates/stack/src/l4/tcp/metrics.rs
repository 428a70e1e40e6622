//! What TCP remembers of other hosts when a connection has ended in good order (`tcp_metrics.c`): how far away they are.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pernet::Net;

use super::sock::{Inner, Sock};
use crate::dev::Stack;
use crate::l2::Cx;
use crate::sysctl;

/// So many hosts are remembered; for another one, that is forgotten of which nothing was heard for the longest time.
const MOST: usize = 1024;
/// What is older is no longer a beginning for what is measured now (`TCP_METRICS_TIMEOUT`).
const STALE: Duration = Duration::from_secs(3600);

/// What is remembered of a pair of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpMetrics {
    /// The other host.
    pub destination: IpAddr,
    /// Our address.
    pub source: IpAddr,
    /// Since a connection last added to it.
    pub age: Duration,
    /// Round trip, microseconds; 0 if none was measured.
    pub rtt: u32,
    /// Its deviation.
    pub rtt_var: u32,
    /// Tells it from all others of the namespace; those made later have larger ones.
    pub id: u64,
}

#[derive(Clone, Copy, Debug)]
struct Host {
    id: u64,
    heard: Duration,
    rtt: u32,
    rtt_var: u32,
}

impl Host {
    /// A connection ends that has measured this. One that found the way longer is believed at once, one that found it shorter
    /// by an eighth; of the deviation, a quarter.
    fn measured(&mut self, rtt: u32, rtt_var: u32) {
        if rtt == 0 {
            return;
        }
        let apart = self.rtt.abs_diff(rtt).max(rtt_var);
        self.rtt = if rtt > self.rtt { rtt } else { self.rtt - (self.rtt - rtt) / 8 };
        self.rtt_var = if apart >= self.rtt_var { apart } else { self.rtt_var - (self.rtt_var - apart) / 4 };
    }
}

#[derive(Debug, Default)]
struct Table {
    /// By destination and source.
    hosts: BTreeMap<(IpAddr, IpAddr), Host>,
    made: u64,
}

/// The hosts that a namespace remembers.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// A leaf lock.
    table: Mutex<Table>,
}

impl Hosts {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard_of(&self, destination: IpAddr, source: IpAddr, rtt: (u32, u32), now: Duration) {
        let mut table = self.lock();
        let key = (destination, source);
        let known = table.hosts.get_mut(&key).filter(|host| now.saturating_sub(host.heard) < STALE);
        if let Some(host) = known {
            host.heard = now;
            return host.measured(rtt.0, rtt.1);
        }
        if table.hosts.len() >= MOST && !table.hosts.contains_key(&key) {
            let oldest = table.hosts.iter().min_by_key(|(_, host)| host.heard).map(|(key, _)| *key);
            oldest.and_then(|oldest| table.hosts.remove(&oldest));
        }
        table.made += 1;
        let mut host = Host { id: table.made, heard: now, rtt: 0, rtt_var: 0 };
        host.measured(rtt.0, rtt.1);
        table.hosts.insert(key, host);
    }
}

impl Sock {
    /// The connection ends in good order: what it has measured is remembered (`tcp_update_metrics`).
    pub(super) fn remember_host(&self, cx: Cx<'_>, inner: &Inner) {
        let (Some(local), Some(peer)) = (inner.local, inner.peer) else { return };
        if sysctl::number_or(cx.ns(), "ipv4/tcp_no_metrics_save", 0) != 0 {
            return;
        }
        let measured = (inner.counts.rtt, inner.counts.rtt_var);
        cx.state.tcp.hosts.heard_of(peer.ip().to_canonical(), local.ip().to_canonical(), measured, cx.now());
    }
}

impl Stack {
    /// What TCP remembers of other hosts, in the order in which it heard of them first.
    #[must_use]
    pub fn tcp_metrics(&self, net: &Net) -> Vec<TcpMetrics> {
        let Some(tcp) = self.state(net).and_then(|state| state.tcp.peek()) else { return Vec::new() };
        let now = self.inner().clock.now();
        let mut listed: Vec<TcpMetrics> = tcp
            .hosts
            .lock()
            .hosts
            .iter()
            .map(|(&(destination, source), host)| TcpMetrics {
                destination,
                source,
                age: now.saturating_sub(host.heard),
                rtt: host.rtt,
                rtt_var: host.rtt_var,
                id: host.id,
            })
            .collect();
        listed.sort_by_key(|metrics| metrics.id);
        listed
    }

    /// Forgets those for which `which` says so (destination, source); says how many there were.
    pub fn forget_tcp_metrics(&self, net: &Net, which: impl Fn(IpAddr, IpAddr) -> bool) -> usize {
        let Some(tcp) = self.state(net).and_then(|state| state.tcp.peek()) else { return 0 };
        let mut table = tcp.hosts.lock();
        let before = table.hosts.len();
        table.hosts.retain(|key, _| !which(key.0, key.1));
        before - table.hosts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u16) -> IpAddr {
        let [high, low] = last.to_be_bytes();
        IpAddr::from([10, 0, high, low])
    }

    fn host(hosts: &Hosts, to: u16) -> Option<(u32, u32)> {
        hosts.lock().hosts.get(&(ip(to), ip(1))).map(|host| (host.rtt, host.rtt_var))
    }

    /// The figures are the kernel's, of connections with these round trips.
    #[test]
    fn what_is_measured_moves_what_is_remembered() {
        let hosts = Hosts::default();
        let now = Duration::from_secs(9);
        hosts.heard_of(ip(2), ip(1), (5000, 0), now);
        assert_eq!(host(&hosts, 2), Some((5000, 5000)), "of nothing everything is new");
        hosts.heard_of(ip(2), ip(1), (72, 36), now);
        assert_eq!(host(&hosts, 2), Some((4384, 4982)));
        hosts.heard_of(ip(2), ip(1), (9000, 3), now);
        assert_eq!(host(&hosts, 2), Some((9000, 4891)));
        hosts.heard_of(ip(2), ip(1), (0, 0), now);
        assert_eq!(host(&hosts, 2), Some((9000, 4891)), "nothing was measured");
    }

    #[test]
    fn what_is_old_is_no_beginning() {
        let hosts = Hosts::default();
        hosts.heard_of(ip(2), ip(1), (5000, 0), Duration::ZERO);
        hosts.heard_of(ip(2), ip(1), (80, 40), STALE);
        assert_eq!(host(&hosts, 2), Some((80, 80)));
    }

    #[test]
    fn the_oldest_makes_room() {
        let hosts = Hosts::default();
        let most = u16::try_from(MOST).unwrap();
        for n in 0..most {
            hosts.heard_of(ip(n), ip(1), (50, 50), Duration::from_secs(n.into()));
        }
        hosts.heard_of(ip(0), ip(1), (50, 50), Duration::from_secs(u64::from(most)));
        hosts.heard_of(ip(most), ip(1), (50, 50), Duration::from_secs(u64::from(most)));
        assert_eq!(hosts.lock().hosts.len(), MOST);
        assert!(host(&hosts, 0).is_some() && host(&hosts, most).is_some());
        assert!(host(&hosts, 1).is_none(), "of nobody else nothing was heard for longer");
    }
}
