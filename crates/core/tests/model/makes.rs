//! Operations whose callbacks run inits, or undo them.

use crate::ops::Act;
use crate::phases::Created;
use crate::probe::{AnyKey, Deed, NAMES, Plan, REFUSED, UIDS};
use crate::reference::Orders;
use crate::rules;
use crate::script::{Reached, Res};
use crate::world::{MAX_KEYS, World, same};
use pernet::{Cap, Caps, CreateError, Cred, NetHandle, NetRef, RegisterError, Uid};

impl World<'_> {
    /// Tells the inits to come what to do.
    pub(crate) fn order(&mut self, fail: Option<u8>, inits: usize, act: Act) {
        let modulo = |n: u8| n as usize % inits.max(1);
        let (at, deed) = match act {
            Act::Nothing => (0, Deed::Nothing),
            Act::KeepHandle(at) => (modulo(at), Deed::KeepHandle),
            Act::KeepRef(at) => (modulo(at), Deed::KeepRef),
            Act::DropRef(at, _) => (modulo(at), Deed::DropRef),
            Act::Name(at, _) => (modulo(at), Deed::Name),
        };
        let fail = fail.map(modulo).filter(|_| inits > 0);
        let victim = if let Act::DropRef(_, n) = act { self.take(n) } else { None };
        let other = if let Act::Name(_, n) = act { Some(self.pick(n)) } else { None };
        let (victim, victim_net) = victim.map(|it| (it.real, it.net)).unzip();
        let (other, other_net) = other.map(|at| (self.pool[at].real.clone(), self.pool[at].net)).unzip();
        let plan = &mut self.shared.lock().plan;
        *plan = Plan { fail, at, deed, victim, other, ..Default::default() };
        self.model.orders = Orders { fail, at, deed, victim: victim_net, other: other_net, ..Orders::default() };
    }

    /// Takes what inits have kept, and drops what they were to drop and did not come to.
    pub(crate) fn collect(&mut self) -> Res {
        let plan = std::mem::take(&mut self.shared.lock().plan);
        let left = plan.victim.is_some();
        drop((plan.victim, plan.other));
        for handle in plan.handles {
            self.handle(handle)?;
        }
        let left_by_model = self.model.orders.victim.take();
        same("an init too few", left, left_by_model.is_some())?;
        if let Some(n) = left_by_model {
            self.model.end_of_lines()?;
            self.read_log();
            self.model.drop_ref(n)?;
        }
        self.model.end_of_lines()?;
        for real in plan.refs {
            self.handle(real.downgrade())?;
            let n = self.known(real.cookie().get())?;
            self.keep(real, n)?;
        }
        Ok(())
    }

    pub(crate) fn known(&self, cookie: u64) -> Res<usize> {
        self.model.find(cookie).ok_or_else(|| format!("cookie {cookie} is nobody's"))
    }

    pub(crate) fn handle(&mut self, handle: NetHandle) -> Res {
        let n = self.known(handle.cookie().get())?;
        self.grow();
        self.handles[n] = Some(handle);
        Ok(())
    }

    pub(crate) fn grow(&mut self) {
        let nets = self.model.nets.len();
        self.handles.resize(nets, None);
        self.dumps.resize_with(nets, || None);
        self.pages.resize(nets, (0, 0));
    }

    pub(crate) fn create(&mut self, cred: u8, fail: Option<u8>, act: Act) -> Res {
        let (user, uid) = (cred as usize % self.users.len(), u32::from(cred / 8) % UIDS);
        let caps = if cred >= 250 { Caps::FULL.without(Cap::SysAdmin) } else { Caps::EMPTY.with(Cap::SysAdmin) };
        let cred = Cred { user_ns: self.users[user].clone(), euid: Uid(uid), caps };
        self.order(fail, self.model.list.len(), act);
        let made = self.ns.create(&cred);
        self.read_log();
        if caps.contains(Cap::SysAdmin) {
            let cookie = made.as_ref().ok().map(|net| net.cookie().get());
            let expected = self.model.create(user, uid, cookie)?;
            self.grow();
            match (expected, made) {
                (Created::Yes(n), Ok(real)) => self.created(n, user, real)?,
                (Created::Refused { level }, Err(CreateError::QuotaExceeded { level: got })) => {
                    same("refused by level", got, level)?;
                }
                (Created::Failed(tag), Err(CreateError::Init { subsystem, error })) => {
                    let kind = self.keys[tag as usize].map(kind_of).unwrap_or_default();
                    same("failed init", (subsystem, error), (NAMES[kind], REFUSED))?;
                }
                (expected, made) => return Err(format!("creation: got {made:?}, expected {expected:?}")),
            }
        } else {
            same("creation without the right to", made.map(drop), Err(CreateError::NotPermitted))?;
            self.model.reach(Reached::NotPermitted);
        }
        self.collect()
    }

    pub(crate) fn created(&mut self, n: usize, user: usize, real: NetRef) -> Res {
        let inum = real.inum().get();
        let taken = |inum: u32| self.model.nets.iter().any(|net| net.inum == Some(inum));
        same("inum in range and free", inum >= 0xF000_0000 && !taken(inum), true)?;
        if rules::LOWEST_INUM {
            same("inum", Some(inum), (0xF000_0000..).find(|inum| !taken(*inum)))?;
        }
        same("owner", real.owner(), &self.users[user])?;
        self.model.nets[n].inum = Some(inum);
        self.handles[n] = Some(real.downgrade());
        self.keep(real, n)
    }

    pub(crate) fn register(&mut self, device: bool, kind: u8, fail: Option<u8>, act: Act) -> Res {
        let tag = self.keys.len();
        if tag >= MAX_KEYS {
            return Ok(());
        }
        self.order(fail, self.model.order.len(), act);
        let got = AnyKey::register(&self.ns, device, kind, tag as u32, &self.shared);
        self.read_log();
        let expected = self.model.register(device)?;
        match (got, expected) {
            (Ok(key), Ok(())) => {
                self.keys.push(Some(key));
            }
            (Err(RegisterError::Init { inum, error }), Err(n)) => {
                same("failed init", (Some(inum.get()), error), (self.model.nets[n].inum, REFUSED))?;
                self.keys.push(None);
            }
            (got, expected) => return Err(format!("registration: got {:?}, expected {expected:?}", got.map(drop))),
        }
        self.shared.lock().keys.push(self.keys[tag]);
        self.collect()
    }

    /// A key of a failed registration does not exist.
    pub(crate) fn key(&self, nth: usize) -> Option<(usize, AnyKey)> {
        let tag = nth % self.keys.len().max(1);
        self.keys.get(tag).copied().flatten().map(|key| (tag, key))
    }

    pub(crate) fn unregister(&mut self, nth: usize) -> Res {
        if nth >= 240 {
            self.foreign[nth % self.foreign.len()].unregister(&self.ns);
            self.read_log();
            return Ok(());
        }
        let Some((tag, key)) = self.key(nth) else { return Ok(()) };
        key.unregister(&self.ns);
        self.read_log();
        self.model.unregister(tag as u32)
    }

    /// Namespaces that die as soon as they exist.
    pub(crate) fn burst(&mut self, count: u16) -> Res {
        for _ in 0..count {
            let before = self.pool.len();
            self.create(0, None, Act::Nothing)?;
            self.model.end_of_lines()?;
            if self.pool.len() > before
                && let Some(held) = self.pool.pop()
            {
                drop(held.real);
                self.read_log();
                self.model.drop_ref(held.net)?;
                self.model.end_of_lines()?;
            }
        }
        Ok(())
    }
}

fn kind_of(key: AnyKey) -> usize {
    match key {
        AnyKey::Zero(_) => 0,
        AnyKey::One(_) => 1,
        AnyKey::Two(_) => 2,
    }
}
