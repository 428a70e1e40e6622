//! What is compared after every operation, and the end of a case.

use crate::probe::{AnyKey, Call, UIDS};
use crate::reference::Life;
use crate::script::{Reached, Res, Tally};
use crate::world::{World, same};
use pernet::{NetRef, Nsid, Uid};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl World<'_> {
    /// Everything that can be asked without changing anything.
    pub(crate) fn check(&mut self) -> Res {
        same("listed", self.ns.listed(), self.model.order.len())?;
        self.check_counts()?;
        let mut nets: Vec<Option<&NetRef>> = vec![None; self.model.nets.len()];
        for held in &self.pool {
            nets[held.net] = Some(&held.real);
        }
        for (n, real) in nets.iter().enumerate() {
            if let Some(real) = real {
                self.check_identity(n, real)?;
                self.check_states(n, real)?;
                self.check_names(n, real, &nets)?;
            }
        }
        let listed = |n: &usize| self.model.nets[*n].life == Life::Listed;
        let retired = |n: usize| self.model.nets[n].states.iter().any(|state| !state.readable);
        let asked = self.pool.iter().map(|held| held.net).filter(listed).any(retired);
        self.model.reach_if(asked, Reached::RetiredKeyAsked);
        for (n, handle) in self.handles.iter().enumerate() {
            if let Some(handle) = handle {
                same("is_alive", handle.is_alive(), self.model.alive(n))?;
                same("cookie of a handle", handle.cookie().get(), self.model.cookie(n))?;
            }
        }
        for (o, dump) in self.dumps.iter_mut().enumerate() {
            if let Some(dump) = dump {
                let living = self.model.living(o, 0);
                dump.always.retain(|entry| living.contains(entry));
            }
        }
        let states: usize = self.model.nets.iter().map(|net| net.states.len()).sum();
        same("states in memory", self.shared.states.load(Ordering::Relaxed), states)
    }

    fn check_counts(&self) -> Res {
        for (user, real) in self.users.iter().enumerate() {
            for uid in 0..UIDS {
                let (got, expected) = (real.net_namespaces(Uid(uid)), self.model.charged(user, uid));
                if got != expected {
                    return Err(format!("user {uid} in user namespace {user} has {got}, expected {expected}"));
                }
            }
        }
        Ok(())
    }

    fn check_identity(&self, n: usize, real: &NetRef) -> Res {
        let net = &self.model.nets[n];
        same("cookie", real.cookie().get(), net.cookie)?;
        same("owner", real.owner(), &self.users[net.user])?;
        net.inum.map_or(Ok(()), |inum| same("inum", real.inum().get(), inum))
    }

    fn check_states(&self, n: usize, real: &NetRef) -> Res {
        let net = &self.model.nets[n];
        // Nothing is promised to who keeps a reference from an init that failed.
        if net.life != Life::Listed {
            return Ok(());
        }
        for (tag, key) in self.keys.iter().enumerate() {
            let Some(key) = key else { continue };
            let state = net.states.iter().find(|state| state.tag as usize == tag && state.readable);
            let expected = state.map(|state| (state.tag, net.cookie, state.content));
            let got = key.read(&**real);
            if got != expected {
                return Err(format!(
                    "state of registration {tag} in {}: got {got:?}, expected {expected:?}",
                    net.cookie
                ));
            }
        }
        let foreign = |key: &AnyKey| key.read(&**real).is_some();
        same("a key of another system finds something", self.foreign.iter().any(foreign), false)
    }

    /// The whole table, from both sides.
    fn check_names(&self, o: usize, real: &NetRef, nets: &[Option<&NetRef>]) -> Res {
        let living = self.model.living(o, 0);
        let page = real.nsids_from(Nsid::ZERO, usize::MAX);
        let got = page.entries.iter().map(|(id, peer)| (id.get(), peer.cookie().get()));
        if !got.eq(living.iter().map(|(id, p)| (*id, self.model.cookie(*p)))) {
            return Err(format!("table of {}: got {:?}, expected {living:?}", self.model.cookie(o), page.entries));
        }
        for (p, peer) in nets.iter().enumerate() {
            let Some(peer) = peer else { continue };
            let (got, expected) = (real.peernet2id(peer).map(Nsid::get), self.model.id_of(o, p));
            if got != expected {
                let (o, p) = (self.model.cookie(o), self.model.cookie(p));
                return Err(format!("what {o} calls {p}: got {got:?}, expected {expected:?}"));
            }
        }
        Ok(())
    }

    /// Takes everything apart; nothing may be left.
    pub(crate) fn finish(mut self, power_off: bool) -> Res<Tally> {
        let stash = std::mem::take(&mut self.shared.lock().stash);
        drop(stash);
        self.read_log();
        for it in std::mem::take(&mut self.model.stash) {
            self.model.drop_ref(it.owned)?;
        }
        while self.pool.len() > 1
            && let Some(held) = self.pool.pop()
        {
            self.model.end_of_lines()?;
            drop(held.real);
            self.read_log();
            self.model.drop_ref(held.net)?;
        }
        self.model.end_of_lines()?;
        if power_off {
            let dead = !self.model.queue.is_empty();
            self.model.reach_if(dead, Reached::PoweredOffWithTheDead);
        } else {
            self.drain()?;
        }
        self.switch_off()
    }

    fn drain(&mut self) -> Res {
        while !self.model.queue.is_empty() || !self.model.doomed.is_empty() {
            self.step()?;
            self.model.end_of_lines()?;
        }
        // Once more, for what somebody held in an earlier round.
        self.step()?;
        self.model.end_of_lines()?;
        self.check()?;
        same("nobody but the initial namespace", self.ns.listed(), 1)?;
        let left: usize = self.model.nets[1..].iter().map(|net| net.states.len()).sum();
        same("states of namespaces that are gone", left, 0)?;
        let charged = (0..self.users.len()).flat_map(|user| (0..UIDS).map(move |uid| (user, uid)));
        same("charged", charged.map(|(user, uid)| self.model.charged(user, uid)).sum(), 0)
    }

    fn switch_off(self) -> Res<Tally> {
        let Self { ns, hooks, shared, pool, users, handles, mut model, .. } = self;
        drop((ns, pool));
        shared.swap_log(model.script.lines());
        let freed = std::iter::from_fn(|| {
            let call = model.script.peek();
            model.script.skip();
            call
        });
        let others: Vec<Call> = freed.filter(|call| !matches!(call, Call::Freed { .. })).collect();
        same("callbacks of a system that is switched off", others, Vec::new())?;
        same("states of a system that is switched off", shared.states.load(Ordering::Relaxed), 0)?;
        for handle in handles.into_iter().flatten() {
            same("upgrade after all", handle.upgrade().is_some(), false)?;
        }
        let charged = |user: &pernet::UserNs| (0..UIDS).map(|uid| user.net_namespaces(Uid(uid))).sum::<u32>();
        same("charged to a system that is switched off", users.iter().map(charged).sum(), 0)?;
        // The subsystems, the sink, the hooks: the system has let go of all.
        same("holders of the hooks", Arc::strong_count(&hooks), 1)?;
        drop(hooks);
        same("holders of the log", Arc::strong_count(&shared), 1)?;
        Ok(model.tally)
    }
}
