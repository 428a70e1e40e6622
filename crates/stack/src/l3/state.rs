//! What the network layer of a namespace remembers of packets, made with the first of them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::exception::Exceptions;
use super::flows::Flows;
use super::frag::{Fragments, Key};
use super::limit::{IcmpLimit, RedirectLimit};
use super::report::AllReports;
use super::{v4, v6};
use crate::multipath::Spread;

/// All of it. Its locks are leaves: nothing is called while one is held.
#[derive(Debug, Default)]
pub(crate) struct L3 {
    /// Counts the packets that may be cut: their parts are told from others' by it.
    ident: AtomicU32,
    pub(super) icmp: Leaf<IcmpLimit>,
    pub(super) icmp6: Leaf<IcmpLimit>,
    pub(super) redirects: Leaf<RedirectLimit>,
    pub(super) exceptions: Exceptions,
    /// Where packets of IPv4 and of IPv6 went lately.
    pub(super) flows4: Leaf<Flows<v4::Key>>,
    pub(super) flows6: Leaf<Flows<v6::Key>>,
    pub(super) reports: Leaf<AllReports>,
    /// How packets of IPv4 and of IPv6 spread over several ways.
    pub(crate) spread: [Spread; 2],
    /// Packets of IPv4 and of IPv6 that are not whole yet: each has its own limit.
    fragments: [Leaf<Fragments>; 2],
}

impl L3 {
    /// An identification for the next packet (RFC 6864).
    pub(super) fn next_ident(&self) -> u32 {
        self.ident.fetch_add(1, Ordering::Relaxed)
    }

    /// Where packets of the same protocol wait for their other parts.
    pub(super) fn fragments(&self, key: &Key) -> &Leaf<Fragments> {
        let [four, six] = &self.fragments;
        if key.dst.is_ipv4() { four } else { six }
    }
}

/// Something under a lock that is a leaf.
#[derive(Debug, Default)]
pub(super) struct Leaf<T>(Mutex<T>);

impl<T> Leaf<T> {
    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        // Every change under these locks is one assignment or one call of a collection's.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
