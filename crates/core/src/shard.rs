//! Where creations do not meet: a system is split into shards, one for each processor.
//!
//! A creation takes everything it needs (the list of subsystems, numbers, a unit of quota) from the
//! shard it runs on, and publishes there. What is common to the system is touched once for many
//! creations, but for the counter that orders them.

use crate::account::Account;
use crate::list::NetList;
use crate::net::{Cookie, Net};
use crate::numbers::InumStock;
use crate::owner::Cred;
use crate::queue::{DeathQueue, END};
use crate::registry::OpsList;
use crate::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};
use crate::system::System;
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::ops::Range;

/// How many cookies a shard takes at a time.
const COOKIES: u64 = 128;
/// How many accounts a shard remembers.
const ACCOUNTS: usize = 8;
/// How many namespaces are taken from a list in one critical section.
pub(crate) const SECTION: usize = 32;

/// One part of a system. Padded, so that no two share a cache line.
#[repr(align(128))]
pub(crate) struct Shard {
    /// Third in the lock order, after the registration's and the rounds' lock. Two shards are never
    /// locked together.
    pub(crate) body: Mutex<Body>,
    pub(crate) deaths: DeathQueue,
    /// Namespaces that exist and have not lost their last reference. While there are any, the shard
    /// holds a unit of the initial namespace: that keeps the system running.
    pub(crate) living: AtomicUsize,
}

pub(crate) struct Body {
    /// This shard's own copy: its count is written by nobody else.
    pub(crate) ops: Arc<OpsList>,
    pub(crate) list: NetList,
    pub(crate) inums: InumStock,
    cookies: Range<u64>,
    accounts: Vec<Arc<Account>>,
    /// `None` once the system is off: this is the circle that keeps a running system in memory.
    pub(crate) home: Option<Arc<Home>>,
}

/// A namespace's way to its system, one for each shard. Padded, for its count.
#[repr(align(128))]
pub(crate) struct Home {
    pub(crate) sys: Arc<System>,
    pub(crate) shard: usize,
}

impl Home {
    pub(crate) fn shard(&self) -> &Shard {
        &self.sys.shards[self.shard]
    }
}

impl Shard {
    pub(crate) fn new() -> Self {
        let body = Body {
            ops: Arc::default(),
            list: NetList::default(),
            inums: InumStock::default(),
            cookies: 0..0,
            accounts: Vec::new(),
            home: None,
        };
        Self { body: Mutex::new(body), deaths: DeathQueue::new(), living: AtomicUsize::new(0) }
    }

    /// Takes what has died here off its queue, oldest first. All of it is still listed.
    pub(crate) fn dead(&self) -> Vec<Arc<Net>> {
        let mut dead = Vec::new();
        let mut at = self.deaths.take();
        while at != END {
            let body = self.body.lock();
            for _ in 0..SECTION {
                // A queued namespace is listed, unless the system is off: only its round unlists it.
                at = body.list.get(at).map_or(END, |net| {
                    dead.push(Arc::clone(net));
                    net.next_dead.load(Ordering::Relaxed)
                });
                if at == END {
                    break;
                }
            }
        }
        dead.reverse();
        dead
    }
}

impl Body {
    pub(crate) fn cookie(&mut self, ids: &AtomicU64) -> Cookie {
        let cookie = self.cookies.next().unwrap_or_else(|| {
            let first = ids.fetch_add(COOKIES, Ordering::Relaxed);
            self.cookies = first + 1..first + COOKIES;
            first
        });
        Cookie::new(cookie)
    }

    /// The account of whoever creates, opened if need be.
    pub(crate) fn account(&mut self, cred: &Cred) -> Arc<Account> {
        if let Some(account) = self.accounts.iter().find(|account| account.is_of(&cred.user_ns, cred.euid)) {
            return Arc::clone(account);
        }
        let account = Account::open(&cred.user_ns, cred.euid);
        if self.accounts.len() == ACCOUNTS {
            // It lives on in the namespaces charged to it. Emptied while it can be found: units of an account
            // whose last owner is just dropping it would refuse somebody.
            self.accounts.remove(0).close();
        }
        self.accounts.push(Arc::clone(&account));
        account
    }
}

/// All listed namespaces in order of publication, up to the last one when the walk began.
///
/// Not a snapshot: what is unlisted before the walk comes to it is not met. Each shard is locked
/// for a section at a time, so that a walk over many holds up nobody.
pub(crate) struct Walk<'a> {
    sys: &'a System,
    until: u64,
    shards: Vec<Strand>,
}

/// The walk through one shard.
struct Strand {
    next: u64,
    /// Weak: a walk that is held up holds no namespace but the one it came to.
    ahead: VecDeque<(u64, Weak<Net>)>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(sys: &'a System) -> Self {
        let shards = sys.shards.iter().map(|_| Strand { next: 1, ahead: VecDeque::new() }).collect();
        Self { sys, until: sys.places.load(Ordering::Acquire), shards }
    }
}

impl Strand {
    /// The place of the next one in this shard.
    fn peek(&mut self, shard: &Shard, until: u64) -> Option<u64> {
        if self.ahead.is_empty() && self.next != END {
            let body = shard.body.lock();
            let mut last = END;
            for (at, net) in body.list.from(self.next, SECTION) {
                last = at;
                let place = net.place.load(Ordering::Relaxed);
                if place > until {
                    break;
                }
                self.ahead.push_back((place, Arc::downgrade(net)));
            }
            // Nothing found, now or later: what is published from here on is beyond `until`.
            self.next = if self.ahead.is_empty() { END } else { last + 1 };
        }
        self.ahead.front().map(|(place, _)| *place)
    }
}

impl Iterator for Walk<'_> {
    type Item = Arc<Net>;

    fn next(&mut self) -> Option<Arc<Net>> {
        let Self { sys, until, shards } = self;
        loop {
            let places = shards.iter_mut().zip(&sys.shards).enumerate();
            let (_, nearest) =
                places.filter_map(|(at, (strand, shard))| Some((strand.peek(shard, *until)?, at))).min()?;
            // Else it has gone since we looked.
            if let Some(net) = shards[nearest].ahead.pop_front()?.1.upgrade() {
                return Some(net);
            }
        }
    }
}
