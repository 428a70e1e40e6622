//! What packets learnt of single destinations: how large a packet may be on the way there, and that another router is
//! nearer (`struct fib_nh_exception`, `struct rt6_exception`).

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::state::Leaf;
use crate::state::NetState;

/// Destinations that something is remembered of at once.
const MOST: usize = 4096;
/// How long another router is used.
const REDIRECT_TIMEOUT: Duration = Duration::from_secs(300);

/// Which route it is, of all that are ever made: what was learnt of one is not known of the next that says the same. What a
/// route says is something else: to that it is as if this was not there, any two are equal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteId(u64);

impl RouteId {
    /// That of a new one.
    pub(crate) fn new() -> Self {
        static MADE: AtomicU64 = AtomicU64::new(1);
        Self(MADE.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) const fn number(self) -> u64 {
        self.0
    }
}

impl PartialEq for RouteId {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for RouteId {}

impl Hash for RouteId {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// A destination, and the way there that something was learnt of: of another way nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Path {
    /// [`RouteId::number`].
    pub(crate) route: u64,
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
    /// How long it holds; `None` if that is nobody's to know: of IPv6, another router is used for a while.
    pub expires: Option<Duration>,
    /// How old it is. Of IPv4, where no packet has looked at it yet: `None`, and Linux has nothing that it could show.
    pub age: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    mtu: Option<(u32, bool)>,
    gateway: Option<IpAddr>,
    until: Duration,
    /// That is told.
    ends: bool,
    /// When it, or of IPv4 its first use, was.
    since: Option<Duration>,
}

impl Known {
    fn told(&self, now: Duration) -> Option<Learned> {
        (self.until > now).then(|| Learned {
            mtu: self.mtu.map(|(mtu, _)| mtu),
            locked: self.mtu.is_some_and(|(_, locked)| locked),
            gateway: self.gateway,
            expires: self.ends.then(|| self.until - now),
            age: self.since.map(|since| now.saturating_sub(since)),
        })
    }
}

/// Which a listing of routes shows: those that are in tables, or for single destinations what was learnt of the ways there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listing {
    /// The routes.
    #[default]
    Routes,
    /// What was learnt (`RTM_F_CLONED`).
    Exceptions,
    /// Both: what was learnt of a route behind it.
    Both,
}

impl Listing {
    pub(crate) const fn routes(self) -> bool {
        matches!(self, Self::Routes | Self::Both)
    }

    /// What was learnt of each path of a family, as far as that is shown.
    pub(crate) fn exceptions(self, state: &NetState, v4: bool, now: Duration) -> Listed {
        if self == Self::Routes { Listed::new() } else { listed(state, v4, now) }
    }
}

/// What was learnt of each path, by the number of its route.
pub(crate) type Listed = BTreeMap<u64, Vec<(Path, Learned)>>;

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
            *entry = Known { since: path.dst.is_ipv6().then_some(now), ..Known::default() };
        }
        change(entry);
        // Released by the lock as well; who does not see it yet sends one more packet that is too large.
        self.any.store(true, Ordering::Relaxed);
    }

    /// Packets to `path` may be as large as `mtu`, for so long.
    pub(super) fn learn_mtu(&self, path: Path, now: Duration, (mtu, locked): (u32, bool), lasts: Duration) {
        self.change(path, now, |known| {
            known.mtu = Some((mtu, locked));
            (known.until, known.ends) = (now + lasts, true);
        });
    }

    /// Packets to `path` are to go by `gateway`.
    pub(super) fn learn_gateway(&self, path: Path, now: Duration, gateway: IpAddr) {
        self.change(path, now, |known| {
            known.gateway = Some(gateway);
            known.until = known.until.max(now + REDIRECT_TIMEOUT);
            known.ends |= path.dst.is_ipv4();
        });
    }

    /// A device's MTU is another: what was larger is not any more, and what was as large as the device allowed grows with it
    /// (`nhc_update_mtu`, `rt6_exceptions_update_pmtu`).
    fn device_mtu(&self, oif: u32, (before, now): (u32, u32)) {
        for (path, known) in &mut *self.known.lock() {
            let Some((mtu, locked)) = known.mtu.as_mut().filter(|_| path.oif == oif) else { continue };
            if *mtu > now || *mtu == before && !*locked {
                (*mtu, *locked) = (now, false);
            }
        }
    }

    fn find(&self, path: &Path, now: Duration) -> Option<Learned> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let mut known = self.known.lock();
        let known = known.get_mut(path)?;
        known.since.get_or_insert(now);
        known.told(now)
    }
}

/// Whether anything was ever learnt in the namespace.
pub(crate) fn learned_any(state: &NetState) -> bool {
    exceptions(state).is_some_and(|all| all.any.load(Ordering::Relaxed))
}

/// What was learnt of a path in the namespace.
pub(crate) fn learned(state: &NetState, path: &Path, now: Duration) -> Option<Learned> {
    exceptions(state)?.find(path, now)
}

/// All that was learnt of paths of a family and holds, in the order of their ends.
fn listed(state: &NetState, v4: bool, now: Duration) -> Listed {
    let mut out = Listed::new();
    let Some(all) = exceptions(state) else { return out };
    for (path, known) in &*all.known.lock() {
        if path.dst.is_ipv4() == v4
            && let Some(told) = known.told(now)
        {
            out.entry(path.route).or_default().push((*path, told));
        }
    }
    for of_one in out.values_mut() {
        of_one.sort_unstable_by_key(|(path, _)| *path);
    }
    out
}

/// What was learnt of a path is forgotten.
pub(crate) fn forget(state: &NetState, path: &Path) {
    if let Some(all) = exceptions(state) {
        all.known.lock().remove(path);
    }
}

/// What was learnt of paths of IPv4 is forgotten (`ip route flush cache`).
pub(crate) fn flush4(state: &NetState) {
    if let Some(all) = exceptions(state) {
        all.known.lock().retain(|path, _| !path.dst.is_ipv4());
    }
}

/// A device's MTU was `before` and is `now`.
pub(crate) fn device_mtu(state: &NetState, oif: u32, before: u32, now: u32) {
    if let Some(all) = exceptions(state) {
        all.device_mtu(oif, (before, now));
    }
}

fn exceptions(state: &NetState) -> Option<&Exceptions> {
    Some(&state.l3.peek()?.exceptions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_is_forgotten_in_time() {
        let all = Exceptions::default();
        let path = Path { route: 1, dst: [10, 0, 0, 1].into(), oif: 2, gateway: None };
        let at = Duration::from_secs;
        assert_eq!(all.find(&path, at(1)), None);
        all.learn_mtu(path, at(1), (1300, false), at(600));
        all.learn_gateway(path, at(2), [10, 0, 0, 9].into());
        let known = all.find(&path, at(301)).unwrap();
        assert_eq!((known.mtu, known.gateway, known.expires), (Some(1300), Some([10, 0, 0, 9].into()), Some(at(300))));
        assert_eq!(all.find(&path, at(601)), None);
        assert_eq!(all.find(&Path { oif: 3, ..path }, at(5)), None);
        assert_eq!(all.find(&Path { route: 2, ..path }, at(5)), None);
        // What begins anew begins with nothing.
        all.learn_gateway(path, at(700), [10, 0, 0, 9].into());
        assert_eq!(all.find(&path, at(701)).unwrap().mtu, None);
    }

    #[test]
    fn it_follows_the_device() {
        let all = Exceptions::default();
        let at = Duration::from_secs;
        let path = |last| Path { route: 1, dst: [10, 0, 0, last].into(), oif: 2, gateway: None };
        let mtu = |last| all.find(&path(last), at(2)).unwrap().mtu.unwrap();
        for (last, said) in [(1, 1400), (2, 1300)] {
            all.learn_mtu(path(last), at(1), (said, false), at(600));
        }
        all.device_mtu(3, (1500, 1000));
        for (before, now, told) in [(1500, 1450, (1400, 1300)), (1450, 1350, (1350, 1300)), (1350, 1500, (1500, 1300))]
        {
            all.device_mtu(2, (before, now));
            assert_eq!((mtu(1), mtu(2)), told);
        }
    }

    #[test]
    fn there_is_a_limit() {
        let all = Exceptions::default();
        for n in 0..5000_u32 {
            let path = Path { route: 1, dst: IpAddr::from(n.to_be_bytes()), oif: 2, gateway: None };
            all.learn_mtu(path, Duration::from_secs(1), (1300, false), Duration::from_secs(600));
        }
        assert_eq!(all.known.lock().len(), MOST);
    }
}
