//! The reference: namespaces as plain vectors and maps, every rule the long way.
//!
//! It runs each operation after the system has, against the lines that the system wrote meanwhile:
//! every callback must come when the model says, in the order of the specification.

use crate::ops::Until;
use crate::probe::{Call, Deed};
use crate::rules;
use crate::script::{Reached, Res, Script, Tally};
use pernet::{AssignError, Origin};
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Life {
    /// In its creator's hands.
    Building,
    Listed,
    /// Taken by a round.
    Unlisted,
    /// Its creation was undone.
    Undone,
}

/// A state, from its init until it is freed.
pub(crate) struct State {
    pub(crate) tag: u32,
    pub(crate) content: u32,
    /// Its registration is.
    pub(crate) readable: bool,
}

pub(crate) struct Net {
    pub(crate) cookie: u64,
    pub(crate) inum: Option<u32>,
    pub(crate) user: usize,
    uid: u32,
    /// Active references.
    pub(crate) active: usize,
    /// References that an init took of a namespace that was dead already: they hold memory only.
    pub(crate) pins: usize,
    pub(crate) life: Life,
    pub(crate) states: Vec<State>,
    pub(crate) table: BTreeMap<i32, usize>,
    /// Of the table.
    pub(crate) changes: u64,
    /// Somebody held its memory when it was to be freed: that happens at any later time.
    pub(crate) loose: bool,
}

pub(crate) struct Stash {
    pub(crate) tag: u32,
    pub(crate) net: usize,
    pub(crate) until: Until,
    pub(crate) owned: usize,
}

pub(crate) struct User {
    pub(crate) parent: Option<usize>,
    pub(crate) owner: u32,
    pub(crate) limit: u32,
}

/// What the inits of the operation at hand do besides.
#[derive(Default)]
pub(crate) struct Orders {
    pub(crate) fail: Option<usize>,
    pub(crate) at: usize,
    pub(crate) deed: Deed,
    pub(crate) victim: Option<usize>,
    pub(crate) other: Option<usize>,
    pub(crate) inits: usize,
}

/// A batch that waits.
pub(crate) struct Doomed {
    pub(crate) version: u64,
    /// The registrations when it was unlisted.
    pub(crate) list: Vec<u32>,
    pub(crate) nets: Vec<usize>,
}

#[derive(Default)]
pub(crate) struct Model {
    /// Every one there ever was; the numbers of namespaces in this file are places in it.
    pub(crate) nets: Vec<Net>,
    /// The listed ones in order.
    pub(crate) order: Vec<usize>,
    /// Registrations in order of inits.
    pub(crate) list: Vec<u32>,
    /// Whether each registration there ever was is a device.
    pub(crate) devices: Vec<bool>,
    /// The dead, oldest first.
    pub(crate) queue: Vec<usize>,
    /// Unlisted, in batches that wait for their round, oldest first.
    pub(crate) doomed: VecDeque<Doomed>,
    /// Of the list of registrations: changes with every attempt at one.
    pub(crate) version: u64,
    pub(crate) stash: Vec<Stash>,
    pub(crate) users: Vec<User>,
    pub(crate) charges: BTreeMap<(usize, u32), u32>,
    pub(crate) orders: Orders,
    pub(crate) script: Script,
    pub(crate) tally: Tally,
}

impl Model {
    pub(crate) fn reach(&mut self, what: Reached) {
        self.tally.0[what as usize] += 1;
    }

    pub(crate) fn reach_if(&mut self, condition: bool, what: Reached) {
        self.tally.0[what as usize] += u64::from(condition);
    }

    /// The system must have written this line next.
    pub(crate) fn expect(&mut self, want: Call) -> Res {
        self.pass_loose()?;
        if self.script.peek() == Some(want) {
            self.script.skip();
            return Ok(());
        }
        Err(self.script.error(&format!("{want:?}")))
    }

    /// The system must have written nothing more.
    pub(crate) fn end_of_lines(&mut self) -> Res {
        self.pass_loose()?;
        if self.script.peek().is_none() { Ok(()) } else { Err(self.script.error("the end")) }
    }

    /// States of namespaces that somebody held may be freed at any time once nobody does.
    pub(crate) fn pass_loose(&mut self) -> Res {
        while let Some(Call::Freed { tag, net }) = self.script.peek() {
            let Some(n) = self.find(net) else { break };
            let net = &mut self.nets[n];
            let state = net.states.iter().position(|state| state.tag == tag);
            let Some(at) = state.filter(|_| net.loose && net.active + net.pins == 0) else { break };
            net.states.remove(at);
            self.script.skip();
            self.release(tag, n, Until::Freed, Reached::DiedWhenAStateWasFreed)?;
        }
        Ok(())
    }

    pub(crate) fn find(&self, cookie: u64) -> Option<usize> {
        self.nets.iter().position(|net| net.cookie == cookie)
    }

    pub(crate) fn cookie(&self, n: usize) -> u64 {
        self.nets[n].cookie
    }

    pub(crate) fn new_net(&mut self, cookie: u64, user: usize, uid: u32) -> Res<usize> {
        if self.find(cookie).is_some() || cookie == 0 {
            return Err(format!("cookie {cookie} was given twice"));
        }
        self.nets.push(Net {
            cookie,
            inum: None,
            user,
            uid,
            active: 1,
            pins: 0,
            life: Life::Building,
            states: Vec::new(),
            table: BTreeMap::new(),
            changes: 0,
            loose: false,
        });
        Ok(self.nets.len() - 1)
    }

    /// Whether there is an active reference.
    pub(crate) fn alive(&self, n: usize) -> bool {
        self.nets[n].active > 0
    }

    /// Alive and published: may name and be named.
    fn nameable(&self, n: usize) -> bool {
        self.alive(n) && self.nets[n].life == Life::Listed
    }

    /// Registrations whose states the keys find, a bit for each.
    pub(crate) fn seen(&self, n: usize) -> u64 {
        let states = self.nets[n].states.iter().filter(|state| state.readable);
        states.fold(0, |seen, state| seen | 1 << state.tag)
    }

    pub(crate) fn has(&self, n: usize, tag: u32) -> bool {
        self.nets[n].states.iter().any(|state| state.tag == tag)
    }

    // References.

    pub(crate) fn add_ref(&mut self, n: usize) {
        if self.alive(n) {
            self.nets[n].active += 1;
        } else {
            self.nets[n].pins += 1;
        }
    }

    /// Whether this was the last.
    pub(crate) fn drop_ref(&mut self, n: usize) -> Res<bool> {
        if !self.alive(n) {
            self.nets[n].pins -= 1;
            return Ok(false);
        }
        self.nets[n].active -= 1;
        if self.alive(n) || self.nets[n].life == Life::Undone {
            return Ok(false);
        }
        let alarm = self.queue.is_empty();
        self.queue.push(n);
        if alarm {
            self.expect(Call::Alarm)?;
        }
        Ok(true)
    }

    /// A state lets go of what it owned until now.
    pub(crate) fn release(&mut self, tag: u32, net: usize, until: Until, reached: Reached) -> Res {
        let taken: Vec<Stash> =
            self.stash.extract_if(.., |it| (it.tag, it.net, it.until) == (tag, net, until)).collect();
        for it in taken {
            let last = self.drop_ref(it.owned)?;
            self.reach_if(last, reached);
        }
        Ok(())
    }

    // Peer ids.

    pub(crate) fn id_of(&self, o: usize, p: usize) -> Option<i32> {
        let found = self.nets[o].table.iter().find(|(_, peer)| **peer == p).map(|(id, _)| *id);
        found.filter(|_| self.alive(o) || rules::DEAD_OBSERVER_FINDS)
    }

    pub(crate) fn assign(
        &mut self,
        o: usize,
        p: usize,
        want: Option<i32>,
        origin: Origin,
    ) -> Res<Result<i32, AssignError>> {
        let published = |n: usize| matches!(self.nets[n].life, Life::Listed | Life::Unlisted);
        let (unpublished, dead) =
            (!published(o) || !published(p), !self.alive(o) && published(o) || !self.alive(p) && published(p));
        self.reach_if(unpublished, Reached::NamedByAnUnpublished);
        self.reach_if(dead, Reached::NamedByADeadOne);
        if !self.nameable(o) {
            return Ok(Err(AssignError::Dying));
        }
        if self.id_of(o, p).is_some() {
            return Ok(Err(AssignError::AlreadyNamed));
        }
        if !self.nameable(p) {
            return Ok(Err(AssignError::Dying));
        }
        let table = &self.nets[o].table;
        let id = match want {
            Some(id) if table.contains_key(&id) => {
                let dead = !self.alive(table[&id]);
                self.reach_if(dead, Reached::IdOfTheDeadTaken);
                return Ok(Err(AssignError::IdTaken));
            }
            Some(id) => id,
            None => (0..).find(|id| !table.contains_key(id)).expect("a table of 2^31 entries"),
        };
        // More changes than entries: something was removed.
        let reused = self.nets[o].changes > table.len() as u64;
        self.reach_if(reused, Reached::IdReused);
        self.reach_if(o == p, Reached::SelfNamed);
        self.nets[o].table.insert(id, p);
        self.nets[o].changes += 1;
        let (observer, peer) = (self.cookie(o), self.cookie(p));
        self.expect(Call::NsidNew { observer, peer, id, origin, found: true })?;
        Ok(Ok(id))
    }

    pub(crate) fn alloc(&mut self, o: usize, p: usize) -> Res<Option<i32>> {
        match self.id_of(o, p) {
            Some(id) => Ok(Some(id)),
            None => Ok(self.assign(o, p, None, Origin::KERNEL)?.ok()),
        }
    }

    /// The living part of a table, from an id on.
    pub(crate) fn living(&self, o: usize, from: i32) -> Vec<(i32, usize)> {
        self.nets[o].table.range(from..).filter(|(_, p)| self.alive(**p)).map(|(id, p)| (*id, *p)).collect()
    }

    /// Takes back every number of a batch: by dying peer, then by observer in list order; then the
    /// tables of the batch, silently.
    pub(crate) fn unhash(&mut self, batch: &[usize]) -> Res {
        for &p in batch {
            // Members of the batch are off the list, but were in front of or behind others by age.
            let mut notified = 0;
            for o in 0..self.nets.len() {
                let named = self.nets[o].table.iter().find(|(_, peer)| **peer == p);
                let Some((&id, _)) = named else { continue };
                self.nets[o].table.remove(&id);
                self.nets[o].changes += 1;
                if self.nameable(o) {
                    notified += 1;
                    self.expect(Call::NsidDel { observer: self.cookie(o), id })?;
                } else {
                    self.reach(Reached::ObserverDiedWithItsPeer);
                }
            }
            self.reach_if(notified > 1, Reached::ObserversNotified);
        }
        batch.iter().for_each(|n| self.nets[*n].table.clear());
        Ok(())
    }

    // Quota.

    /// Who is charged where.
    pub(crate) fn levels(&self, user: usize, uid: u32) -> Vec<(usize, u32)> {
        let mut levels = vec![(user, uid)];
        let mut user = user;
        while let Some(parent) = self.users[user].parent {
            levels.push((parent, self.users[user].owner));
            user = parent;
        }
        levels
    }

    pub(crate) fn charged(&self, user: usize, uid: u32) -> u32 {
        self.charges.get(&(user, uid)).copied().unwrap_or(0)
    }

    /// The level that refuses, if one does.
    pub(crate) fn refused(&self, user: usize, uid: u32) -> Option<u32> {
        let levels = self.levels(user, uid);
        let full = levels.iter().position(|(user, uid)| self.charged(*user, *uid) >= self.users[*user].limit)?;
        Some((levels.len() - 1 - full) as u32)
    }

    pub(crate) fn charge(&mut self, user: usize, uid: u32) {
        for at in self.levels(user, uid) {
            *self.charges.entry(at).or_default() += 1;
        }
    }

    pub(crate) fn give_back(&mut self, n: usize) {
        self.nets[n].inum = None;
        for at in self.levels(self.nets[n].user, self.nets[n].uid) {
            *self.charges.get_mut(&at).expect("charged once") -= 1;
        }
    }

    /// What the hooks of the platform write down.
    pub(crate) fn charged_at_the_top(&self) -> u32 {
        (0..crate::probe::UIDS).map(|uid| self.charged(0, uid)).sum()
    }
}
