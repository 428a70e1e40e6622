//! What packets learnt of single destinations: how large a packet may be on the way there, and that another router is
//! nearer (`struct fib_nh_exception`, `struct rt6_exception`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::state::Leaf;
use crate::state::NetState;

/// Destinations that something is remembered of at once.
const MOST: usize = 4096;
/// How long another router is used.
const REDIRECT_TIMEOUT: Duration = Duration::from_secs(300);

/// A destination, and the way there that something was learnt of: of another way nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Path {
    pub(crate) dst: IpAddr,
    pub(crate) oif: u32,
    pub(crate) gateway: Option<IpAddr>,
}

/// What is known of a path, for messages and for packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The largest packet, if that was told.
    pub mtu: Option<u32>,
    /// Too small to be believed, and never smaller than this.
    pub locked: bool,
    /// The router to use instead.
    pub gateway: Option<IpAddr>,
    /// How long it holds.
    pub expires: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    mtu: Option<(u32, bool)>,
    gateway: Option<IpAddr>,
    until: Duration,
}

/// All of it, for a namespace.
#[derive(Debug, Default)]
pub(crate) struct Exceptions {
    /// Something was learnt since the namespace began: most learn nothing, and do not look.
    any: AtomicBool,
    known: Leaf<HashMap<Path, Known>>,
}

impl Exceptions {
    fn change(&self, path: Path, now: Duration, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.lock();
        if known.len() >= MOST && !known.contains_key(&path) {
            known.retain(|_, known| known.until > now);
            // Whoever makes this host learn more than that means no good.
            if known.len() >= MOST {
                return;
            }
        }
        let entry = known.entry(path).or_default();
        if entry.until <= now {
            *entry = Known::default();
        }
        change(entry);
        // Released by the lock as well; who does not see it yet sends one more packet that is too large.
        self.any.store(true, Ordering::Relaxed);
    }

    /// Packets to `path` may be as large as `mtu`, for so long.
    pub(super) fn learn_mtu(&self, path: Path, now: Duration, (mtu, locked): (u32, bool), lasts: Duration) {
        self.change(path, now, |known| {
            known.mtu = Some((mtu, locked));
            known.until = now + lasts;
        });
    }

    /// Packets to `path` are to go by `gateway`.
    pub(super) fn learn_gateway(&self, path: Path, now: Duration, gateway: IpAddr) {
        self.change(path, now, |known| {
            known.gateway = Some(gateway);
            known.until = known.until.max(now + REDIRECT_TIMEOUT);
        });
    }

    /// All is forgotten (`ip route flush cache`).
    fn flush(&self, v4: bool) {
        self.known.lock().retain(|path, _| path.dst.is_ipv4() != v4);
    }

    fn find(&self, path: &Path, now: Duration) -> Option<Learned> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let known = self.known.lock().get(path).copied().filter(|known| known.until > now)?;
        Some(Learned {
            mtu: known.mtu.map(|(mtu, _)| mtu),
            locked: known.mtu.is_some_and(|(_, locked)| locked),
            gateway: known.gateway,
            expires: known.until - now,
        })
    }
}

/// Whether anything was ever learnt in the namespace.
pub(crate) fn learned_any(state: &NetState) -> bool {
    state.l3.peek().is_some_and(|l3| l3.exceptions.any.load(Ordering::Relaxed))
}

/// What was learnt of a path in the namespace.
pub(crate) fn learned(state: &NetState, path: &Path, now: Duration) -> Option<Learned> {
    state.l3.peek()?.exceptions.find(path, now)
}

/// What was learnt of paths of a family is forgotten.
pub(crate) fn flush(state: &NetState, v4: bool) {
    if let Some(l3) = state.l3.peek() {
        l3.exceptions.flush(v4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_is_forgotten_in_time() {
        let all = Exceptions::default();
        let path = Path { dst: [10, 0, 0, 1].into(), oif: 2, gateway: None };
        let at = Duration::from_secs;
        assert_eq!(all.find(&path, at(1)), None);
        all.learn_mtu(path, at(1), (1300, false), at(600));
        all.learn_gateway(path, at(2), [10, 0, 0, 9].into());
        let known = all.find(&path, at(301)).unwrap();
        assert_eq!((known.mtu, known.gateway, known.expires), (Some(1300), Some([10, 0, 0, 9].into()), at(300)));
        assert_eq!(all.find(&path, at(601)), None);
        assert_eq!(all.find(&Path { oif: 3, ..path }, at(5)), None);
        // What begins anew begins with nothing.
        all.learn_gateway(path, at(700), [10, 0, 0, 9].into());
        assert_eq!(all.find(&path, at(701)).unwrap().mtu, None);
        all.flush(true);
        assert_eq!(all.find(&path, at(701)), None);
    }

    #[test]
    fn there_is_a_limit() {
        let all = Exceptions::default();
        for n in 0..5000_u32 {
            let path = Path { dst: IpAddr::from(n.to_be_bytes()), oif: 2, gateway: None };
            all.learn_mtu(path, Duration::from_secs(1), (1300, false), Duration::from_secs(600));
        }
        assert_eq!(all.known.lock().len(), MOST);
    }
}
