//! The reference, second half: what runs callbacks, phase by phase.

use crate::ops::Until;
use crate::probe::{Call, Deed, first_content};
use crate::reference::{Doomed, Life, Model, State};
use crate::rules::{self, Return};
use crate::script::{Reached, Res};
use pernet::{Grace, Origin};

/// What the model says about a creation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Created {
    Yes(usize),
    Refused {
        level: u32,
    },
    /// The init of this registration failed.
    Failed(u32),
}

impl Model {
    /// One init; whether it succeeds. `known`: what it makes can be read from now on.
    fn init(&mut self, tag: u32, n: usize, known: bool) -> Res<bool> {
        let nth = self.orders.inits;
        self.orders.inits += 1;
        if nth == self.orders.at {
            self.deed(n)?;
        }
        let net = self.cookie(n);
        if self.orders.fail == Some(nth) {
            self.expect(Call::Failed { tag, net })?;
            return Ok(false);
        }
        self.expect(Call::Init { tag, net, seen: self.seen(n), listed: self.order.len() })?;
        self.nets[n].states.push(State { tag, content: first_content(tag, net), readable: known });
        Ok(true)
    }

    fn deed(&mut self, n: usize) -> Res {
        match self.orders.deed {
            Deed::Nothing | Deed::KeepHandle => {}
            Deed::KeepRef => {
                let dead = !self.alive(n);
                self.reach_if(dead, Reached::ZombieKept);
                self.add_ref(n);
            }
            Deed::DropRef => {
                if let Some(victim) = self.orders.victim.take() {
                    let last = self.drop_ref(victim)?;
                    self.reach_if(last, Reached::DiedInAnInit);
                }
            }
            Deed::Name => {
                if let Some(other) = self.orders.other.take() {
                    let to = self.alloc(n, other)?;
                    let from = self.alloc(other, n)?;
                    let assigned = self.assign(n, other, None, Origin::KERNEL)?.err();
                    self.expect(Call::Tried { to, from, assigned })?;
                }
            }
        }
        Ok(())
    }

    /// Undoes a stretch of the list for some namespaces: phase by phase, within a phase the last
    /// registration first, within a registration namespace by namespace.
    ///
    /// `together`: for how many namespaces what `exit_rtnl` queues is done in one go.
    fn undo(&mut self, tags: &[u32], nets: &[usize], how: Grace, together: usize) -> Res {
        let pairs: Vec<(u32, usize)> = tags
            .iter()
            .rev()
            .flat_map(|tag| nets.iter().map(|n| (*tag, *n)))
            .filter(|(tag, n)| self.has(*n, *tag))
            .collect();
        for &(tag, n) in &pairs {
            self.expect(Call::PreExit { tag, net: self.cookie(n), seen: self.seen(n), alive: self.alive(n) })?;
            self.release(tag, n, Until::PreExit, Reached::DiedInPreExit)?;
        }
        self.expect(Call::Grace { how, charged: self.charged_at_the_top() })?;
        // This one namespace by namespace, and so are the kills that it queues.
        for nets in nets.chunks(together) {
            let by_net = || nets.iter().flat_map(|n| pairs.iter().filter(move |(_, of)| of == n));
            for &(tag, n) in by_net() {
                self.expect(Call::ExitRtnl { tag, net: self.cookie(n), seen: self.seen(n), alive: self.alive(n) })?;
            }
            for &(tag, n) in by_net() {
                self.expect(Call::Killed { tag, net: self.cookie(n) })?;
                self.release(tag, n, Until::Killed, Reached::DiedInAKill)?;
            }
        }
        for &tag in tags.iter().rev() {
            let members: Vec<usize> = nets.iter().copied().filter(|n| self.has(*n, tag)).collect();
            for &n in &members {
                self.expect(Call::Exit { tag, net: self.cookie(n), seen: self.seen(n), alive: self.alive(n) })?;
                self.release(tag, n, Until::Exit, Reached::DiedInAnExit)?;
            }
            if members.is_empty() {
                self.expect(Call::Batch { tag, len: 0, listed: 0 })?;
            }
            for members in members.chunks(rules::ROUND) {
                let listed = self.order.len();
                self.expect(Call::Batch { tag, len: members.len(), listed })?;
                for &n in members {
                    self.expect(Call::Member { tag, net: self.cookie(n), seen: self.seen(n) })?;
                }
                for &n in members {
                    self.release(tag, n, Until::Batch, Reached::DiedInABatch)?;
                }
            }
        }
        Ok(())
    }

    /// These states, and no others, are freed now, in any order.
    fn freed(&mut self, n: usize, mut tags: Vec<u32>) -> Res {
        while !tags.is_empty() {
            self.pass_loose()?;
            let freed = match self.script.peek() {
                Some(Call::Freed { tag, net }) if net == self.cookie(n) => tags.iter().position(|of| *of == tag),
                _ => None,
            };
            let Some(at) = freed else {
                return Err(self.script.error(&format!("states {tags:?} of {} to be freed", self.cookie(n))));
            };
            let tag = tags.remove(at);
            self.nets[n].states.retain(|state| state.tag != tag);
            self.script.skip();
            self.release(tag, n, Until::Freed, Reached::DiedWhenAStateWasFreed)?;
        }
        Ok(())
    }

    /// The end of a namespace's memory, unless somebody holds it.
    fn free(&mut self, n: usize) -> Res {
        if self.nets[n].active + self.nets[n].pins > 0 {
            self.nets[n].loose = true;
            return Ok(());
        }
        self.freed(n, self.nets[n].states.iter().map(|state| state.tag).collect())
    }

    /// Whether it succeeds; if not, for which namespace it fails.
    pub(crate) fn register(&mut self, device: bool) -> Res<Result<(), usize>> {
        let tag = self.devices.len() as u32;
        self.devices.push(device);
        self.version += 1;
        let nets = self.order.clone();
        let dead = !self.queue.is_empty();
        self.reach_if(dead, Reached::RegistrationMetTheDead);
        for (at, &n) in nets.iter().enumerate() {
            if self.init(tag, n, false)? {
                continue;
            }
            self.reach(if at == 0 { Reached::RegistrationFailedAtOnce } else { Reached::RegistrationFailed });
            self.undo(&[tag], &nets[..at], Grace::Ordinary, rules::TOGETHER)?;
            self.expect(Call::Drained { charged: self.charged_at_the_top() })?;
            if rules::FAILED_REGISTRATION_FREES {
                for &n in &nets[..at] {
                    self.freed(n, vec![tag])?;
                }
            }
            return Ok(Err(n));
        }
        for n in nets {
            self.readable(n, tag, true);
        }
        let subsystems = self.list.iter().take_while(|tag| !self.devices[**tag as usize]).count();
        let at = if device { self.list.len() } else { subsystems };
        self.list.insert(at, tag);
        let many = self.list.len() >= 9;
        self.reach_if(many, Reached::NineRegistered);
        Ok(Ok(()))
    }

    fn readable(&mut self, n: usize, tag: u32, readable: bool) {
        self.nets[n].states.iter_mut().filter(|state| state.tag == tag).for_each(|state| state.readable = readable);
    }

    pub(crate) fn unregister(&mut self, tag: u32) -> Res {
        let Some(at) = self.list.iter().position(|listed| *listed == tag) else {
            return Ok(());
        };
        let dead = !self.queue.is_empty();
        self.reach_if(dead, Reached::UnregistrationMetTheDead);
        self.list.remove(at);
        self.version += 1;
        let nets = self.order.clone();
        self.undo(&[tag], &nets, Grace::Ordinary, rules::TOGETHER)?;
        while self.doomed.iter().any(|batch| batch.list.contains(&tag)) {
            self.run_waiting()?;
        }
        self.expect(Call::Drained { charged: self.charged_at_the_top() })?;
        // What was stashed in these states until they are freed stays there until then.
        nets.into_iter().for_each(|n| self.readable(n, tag, false));
        Ok(())
    }

    /// `cookie`: that of the namespace that the system has made, if it has.
    ///
    /// A copy of a template belongs here: the contents of the states are then the template's.
    pub(crate) fn create(&mut self, user: usize, uid: u32, cookie: Option<u64>) -> Res<Created> {
        let mut refused = self.refused(user, uid);
        if refused.is_some() && rules::REFUSAL_UNLISTS_THE_DEAD && self.doomed.len() < rules::BACKLOG {
            let dead = !self.queue.is_empty();
            self.reach_if(dead, Reached::RefusalUnlistedTheDead);
            self.unlist()?;
            refused = self.refused(user, uid);
        }
        if let Some(level) = refused {
            self.reach(match (level, self.users[user].parent) {
                (_, None) => Reached::RefusedAtTheOwner,
                (0, _) => Reached::RefusedAtTheTop,
                (level, _) if level as usize + 1 == self.levels(user, uid).len() => Reached::RefusedAtTheOwner,
                _ => Reached::RefusedAtAMiddleLevel,
            });
            return Ok(Created::Refused { level });
        }
        let Some(cookie) = cookie.or_else(|| self.script.next_init()) else {
            return Err(self.script.error("an init of the new namespace"));
        };
        let n = self.new_net(cookie, user, uid)?;
        self.charge(user, uid);
        let tags = self.list.clone();
        for (at, &tag) in tags.iter().enumerate() {
            if self.init(tag, n, true)? {
                continue;
            }
            self.reach(if at == 0 { Reached::CreationFailedAtOnce } else { Reached::CreationFailed });
            self.undo(&tags[..at], &[n], Grace::Ordinary, usize::MAX)?;
            self.expect(Call::Drained { charged: self.charged_at_the_top() })?;
            self.give_back(n);
            self.nets[n].life = Life::Undone;
            self.drop_ref(n)?;
            let ghost = self.alive(n);
            self.reach_if(ghost, Reached::GhostKept);
            self.free(n)?;
            return Ok(Created::Failed(tag));
        }
        self.order.push(n);
        self.nets[n].life = Life::Listed;
        self.expect(Call::NetNew { net: cookie, seen: self.seen(n) })?;
        Ok(Created::Yes(n))
    }

    /// Takes the dead off the list, oldest first: they wait for their rounds.
    fn unlist(&mut self) -> Res {
        for n in std::mem::take(&mut self.queue) {
            self.order.retain(|listed| *listed != n);
            self.nets[n].life = Life::Unlisted;
            self.expect(Call::NetDead { net: self.cookie(n), alive: false })?;
            if rules::CLAIMS_RETURN == Return::Unlisted {
                self.give_back(n);
            }
            match self.doomed.back_mut() {
                Some(batch) if batch.version == self.version && batch.nets.len() < rules::ROUND => batch.nets.push(n),
                _ => self.doomed.push_back(Doomed { version: self.version, list: self.list.clone(), nets: vec![n] }),
            }
        }
        Ok(())
    }

    /// One round: how many are gone, and whether more have died.
    pub(crate) fn step(&mut self) -> Res<(usize, bool)> {
        self.unlist()?;
        if self.doomed.is_empty() {
            self.pass_loose()?;
            return Ok((0, rules::EMPTY_ROUND_TELLS_MORE && !self.queue.is_empty()));
        }
        let gone = self.run_waiting()?;
        let more = !self.queue.is_empty() || !self.doomed.is_empty();
        self.reach_if(more, Reached::RoundLeftMore);
        Ok((gone, more))
    }

    /// The round of the batch that waits longest: how many are gone.
    fn run_waiting(&mut self) -> Res<usize> {
        let Some(Doomed { list, nets: batch, .. }) = self.doomed.pop_front() else { return Ok(0) };
        self.reach_if(batch.len() > 1, Reached::RoundOfSeveral);
        self.reach_if(list != self.list, Reached::ListChangedBeforeTheRound);
        self.unhash(&batch)?;
        self.undo(&list, &batch, Grace::Expedited, usize::MAX)?;
        self.expect(Call::Drained { charged: self.charged_at_the_top() })?;
        if rules::CLAIMS_RETURN == Return::Drained {
            batch.iter().for_each(|n| self.give_back(*n));
        }
        for &n in &batch {
            self.free(n)?;
        }
        self.pass_loose()?;
        Ok(batch.len())
    }

    /// Everything that was dead before is gone.
    pub(crate) fn barrier(&mut self) -> Res {
        self.unlist()?;
        for _ in 0..self.doomed.len() {
            self.run_waiting()?;
        }
        Ok(())
    }
}
