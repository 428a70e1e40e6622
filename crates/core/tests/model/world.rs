//! The system under test beside the model: carries out each operation on both, and compares.

use crate::ops::{Act, Case, Op, Until};
use crate::phases::Created;
use crate::probe::{AnyKey, Call, Deed, Hooks, NAMES, REFUSED, Shared, Stashed};
use crate::reference::{Life, Model, Orders, Stash, User};
use crate::rules;
use crate::script::{Reached, Res, Tally};
use pernet::{
    Cap, Caps, CreateError, Cred, LimitError, Namespaces, NetHandle, NetRef, Nsid, Origin, RegisterError, Uid, UserNs,
};
use std::sync::Arc;

/// As many as an assertion needs: a case is to be deep, not large.
const MAX_NETS: usize = 14;
const MAX_REFS: usize = 30;
const MAX_USERS: usize = 6;
/// Bits of `Call::…::seen`.
const MAX_KEYS: usize = 60;

/// An active reference in the test's hands.
pub(crate) struct Ref {
    pub(crate) real: NetRef,
    pub(crate) net: usize,
}

/// A dump in progress.
pub(crate) struct Dump {
    pub(crate) next: i32,
    pub(crate) delivered: Vec<(i32, usize)>,
    /// What has existed ever since it began.
    pub(crate) always: Vec<(i32, usize)>,
    pages: usize,
    changes: u64,
}

pub(crate) struct World<'f> {
    /// Of another system.
    pub(crate) foreign: &'f [AnyKey],
    pub(crate) ns: Namespaces,
    pub(crate) shared: Arc<Shared>,
    pub(crate) hooks: Arc<Hooks>,
    pub(crate) model: Model,
    /// The first is of the initial namespace and stays.
    pub(crate) pool: Vec<Ref>,
    pub(crate) users: Vec<UserNs>,
    /// By namespace; where a handle could be had.
    pub(crate) handles: Vec<Option<NetHandle>>,
    /// By registration; where it succeeded.
    pub(crate) keys: Vec<Option<AnyKey>>,
    pub(crate) dumps: Vec<Option<Dump>>,
    /// By observer: changes and generation when a page was cut last.
    pages: Vec<(u64, u64)>,
    seq: u32,
}

/// Compares, with words for the difference.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Res {
    if got == expected { Ok(()) } else { Err(format!("{what}: got {got:?}, expected {expected:?}")) }
}

/// Runs one case from birth to nothing left.
pub(crate) fn run(case: &Case, foreign: &[AnyKey]) -> Res<Tally> {
    let mut world = World::new(foreign)?;
    for (at, op) in case.ops.iter().enumerate() {
        world.apply(*op).and_then(|()| world.check()).map_err(|why| format!("operation {at}, {op:?}: {why}"))?;
    }
    world.finish(case.power_off).map_err(|why| format!("at the end: {why}"))
}

impl<'f> World<'f> {
    fn new(foreign: &'f [AnyKey]) -> Res<Self> {
        let shared = Arc::<Shared>::default();
        let hooks = Arc::new(Hooks { shared: Arc::clone(&shared), ..Hooks::default() });
        let alarm = Arc::clone(&shared);
        let on_work = Arc::new(move || alarm.log(Call::Alarm));
        let ns = Namespaces::builder().platform(hooks.clone()).on_work(on_work).build();
        ns.subscribe(shared.clone());
        let top = ns.init_user_ns().clone();
        hooks.top.set(top.clone()).expect("set once");
        let init = ns.init_net();
        let mut model = Model::default();
        let n = model.new_net(init.cookie().get(), 0, 0)?;
        model.nets[n].life = Life::Listed;
        model.nets[n].inum = Some(init.inum().get());
        model.order.push(n);
        model.users.push(User { parent: None, owner: 0, limit: i32::MAX as u32 });
        let mut world = Self {
            foreign,
            handles: vec![Some(init.downgrade())],
            pool: vec![Ref { real: init, net: n }],
            users: vec![top],
            keys: Vec::new(),
            dumps: vec![None],
            pages: vec![(0, 0)],
            seq: 0,
            ns,
            shared,
            hooks,
            model,
        };
        // A tree with three levels, and two branches that are charged to one user.
        world.new_user(0, 1);
        world.new_user(1, 2);
        world.new_user(0, 1);
        Ok(world)
    }

    fn new_user(&mut self, parent: usize, uid: u32) {
        let user = self.users[parent].child(&Cred::user(&self.users[parent], Uid(uid)));
        self.users.push(user);
        self.model.users.push(User { parent: Some(parent), owner: uid, limit: i32::MAX as u32 });
    }

    fn pick(&self, nth: u8) -> usize {
        nth as usize % self.pool.len()
    }

    /// A reference that may be dropped.
    fn take(&mut self, nth: u8) -> Option<Ref> {
        let len = self.pool.len();
        if len > 1 { Some(self.pool.remove(1 + nth as usize % (len - 1))) } else { None }
    }

    pub(crate) fn keep(&mut self, real: NetRef, net: usize) -> Res {
        if self.pool.len() < MAX_REFS {
            self.pool.push(Ref { real, net });
            return Ok(());
        }
        self.model.end_of_lines()?;
        drop(real);
        self.read_log();
        self.model.drop_ref(net).map(drop)
    }

    /// The model goes on where the system has stopped.
    pub(crate) fn read_log(&mut self) {
        self.shared.swap_log(self.model.script.lines());
    }

    fn apply(&mut self, op: Op) -> Res {
        self.seq += 1;
        match op {
            Op::Upgrade(n) => self.upgrade(n),
            Op::Clone(n) => {
                let (at, net) = (self.pick(n), self.pool[self.pick(n)].net);
                let real = self.pool[at].real.clone();
                self.model.add_ref(net);
                self.keep(real, net)
            }
            Op::Drop(n) => match self.take(n) {
                Some(Ref { real, net }) => {
                    drop(real);
                    self.read_log();
                    self.model.drop_ref(net).map(drop)
                }
                None => Ok(()),
            },
            Op::Create(cred, fail, act) => self.create(cred, fail, act),
            Op::Register(device, kind, fail, act) => self.register(device, kind, fail, act),
            Op::Unregister(nth) => self.unregister(nth as usize),
            Op::Stash(holder, key, whom, until) => self.stash(holder, key as usize, whom, until),
            Op::Poke(n, key, value) => self.poke(n, key as usize, u32::from(value)),
            Op::Alloc(o, p) => {
                let (o, p) = (&self.pool[self.pick(o)], &self.pool[self.pick(p)]);
                let (got, o, p) = (o.real.peernet2id_alloc(&p.real).map(Nsid::get), o.net, p.net);
                self.read_log();
                same("peernet2id_alloc", got, self.model.alloc(o, p)?)
            }
            Op::Assign(o, p, want) => {
                let origin = Origin { portid: 7, seq: self.seq, echo: self.seq.is_multiple_of(2) };
                let (o, p) = (&self.pool[self.pick(o)], &self.pool[self.pick(p)]);
                let got = o.real.assign_nsid(&p.real, want.and_then(Nsid::new), origin).map(Nsid::get);
                let (o, p) = (o.net, p.net);
                self.read_log();
                same("assign_nsid", got, self.model.assign(o, p, want, origin)?)
            }
            Op::Lookup(o, id) => self.lookup(o, id),
            Op::Page(o, max) => self.page(o, 1 + max as usize),
            Op::ForEach(at, victim) => self.for_each(at as usize, victim),
            Op::NewUser(parent, uid) => {
                if self.users.len() < MAX_USERS {
                    self.new_user(parent as usize % self.users.len(), u32::from(uid) % crate::probe::UIDS);
                }
                Ok(())
            }
            Op::Limit(user, limit) => {
                let user = user as usize % self.users.len();
                let legal = u32::try_from(limit).ok().filter(|limit| *limit <= i32::MAX as u32);
                let got = self.users[user].set_max_net_namespaces(limit);
                same("set_max_net_namespaces", got, legal.map(drop).ok_or(LimitError::OutOfRange))?;
                self.model.users[user].limit = legal.unwrap_or(self.model.users[user].limit);
                same("max_net_namespaces", self.users[user].max_net_namespaces(), self.model.users[user].limit)
            }
            Op::Step => self.step(),
            Op::Barrier => {
                self.ns.barrier();
                self.read_log();
                self.model.barrier()
            }
        }?;
        self.model.end_of_lines()
    }

    pub(crate) fn step(&mut self) -> Res {
        let round = self.ns.step();
        self.read_log();
        same("step", (round.destroyed, round.more), self.model.step()?)
    }

    fn upgrade(&mut self, nth: u8) -> Res {
        let n = nth as usize % self.handles.len();
        let Some(handle) = &self.handles[n] else { return Ok(()) };
        let got = handle.upgrade();
        same("upgrade", got.is_some(), self.model.alive(n))?;
        let Some(real) = got else { return Ok(()) };
        same("cookie", real.cookie().get(), self.model.cookie(n))?;
        self.model.add_ref(n);
        self.keep(real, n)
    }

    fn lookup(&mut self, o: u8, id: i32) -> Res {
        let o = &self.pool[self.pick(o)];
        let (got, o) = (o.real.net_by_nsid(id), o.net);
        let named = self.model.nets[o].table.get(&id).copied();
        let dead = named.is_some_and(|n| !self.model.alive(n));
        self.model.reach_if(dead, Reached::LookupOfTheDead);
        let expected = named.filter(|n| self.model.alive(*n));
        same("net_by_nsid", got.as_ref().map(|net| net.cookie().get()), expected.map(|n| self.model.cookie(n)))?;
        let (Some(real), Some(n)) = (got, expected) else { return Ok(()) };
        self.model.add_ref(n);
        self.keep(real, n)
    }

    /// A page is cut right, and the dump as a whole is too, whatever came between its pages.
    fn page(&mut self, o: u8, max: usize) -> Res {
        let o = self.pick(o);
        let (real, o) = (&self.pool[o].real, self.pool[o].net);
        let changes = self.model.nets[o].changes;
        let mut dump = self.dumps[o].take().unwrap_or_else(|| Dump {
            next: 0,
            delivered: Vec::new(),
            always: self.model.living(o, 0),
            pages: 0,
            changes,
        });
        let page = real.nsids_from(Nsid::new(dump.next).expect("not negative"), max);
        let got: Vec<(i32, u64)> = page.entries.iter().map(|(id, peer)| (id.get(), peer.cookie().get())).collect();
        let expected: Vec<(i32, usize)> = self.model.living(o, dump.next).into_iter().take(max).collect();
        same("page", got, expected.iter().map(|(id, n)| (*id, self.model.cookie(*n))).collect())?;
        let (before, generation) = std::mem::replace(&mut self.pages[o], (changes, page.generation));
        if self.model.nets[o].life == Life::Listed {
            same("the generation stays", page.generation == generation, changes == before)?;
        }
        dump.delivered.extend(&expected);
        dump.pages += 1;
        let last = expected.last().map_or(dump.next, |(id, _)| *id);
        if expected.len() == max && last < i32::MAX {
            dump.next = last + 1;
            self.dumps[o] = Some(dump);
            return Ok(());
        }
        self.model.reach_if(dump.pages > 1, Reached::DumpOfSeveralPages);
        self.model.reach_if(dump.pages > 1 && dump.changes != changes, Reached::DumpDisturbed);
        same("a dump ascends", dump.delivered.is_sorted_by(|a, b| a.0 < b.0), true)?;
        same("a dump tells of everything", dump.always.iter().all(|entry| dump.delivered.contains(entry)), true)
    }

    fn for_each(&mut self, at: usize, victim: u8) -> Res {
        let at = at % self.model.order.len();
        let mut victim = self.take(victim);
        let (mut visits, shared) = (0, &self.shared);
        let dropped = victim.as_ref().map(|victim| victim.net);
        self.ns.for_each_net(|net| {
            shared.log(Call::Visit { net: net.cookie().get() });
            if visits == at {
                drop(victim.take());
            }
            visits += 1;
        });
        let late = victim.take().is_some();
        self.read_log();
        let (mut dropped, mut visits) = (dropped, 0);
        for n in self.model.order.clone() {
            if !self.model.alive(n) {
                continue;
            }
            self.model.add_ref(n);
            self.model.expect(Call::Visit { net: self.model.cookie(n) })?;
            if visits == at
                && let Some(n) = dropped.take()
            {
                let last = self.model.drop_ref(n)?;
                self.model.reach_if(last, Reached::DiedDuringAVisit);
            }
            let last = self.model.drop_ref(n)?;
            self.model.reach_if(last, Reached::DiedDuringAVisit);
            visits += 1;
        }
        same("a visit too few", late, dropped.is_some())?;
        dropped.map_or(Ok(()), |n| self.model.drop_ref(n).map(drop))
    }

    /// Tells the inits to come what to do.
    fn order(&mut self, fail: Option<u8>, inits: usize, act: Act) {
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
        *plan = crate::probe::Plan { fail, at, deed, victim, other, ..Default::default() };
        self.model.orders = Orders { fail, at, deed, victim: victim_net, other: other_net, ..Orders::default() };
    }

    /// Takes what inits have kept, and drops what they were to drop and did not come to.
    fn collect(&mut self) -> Res {
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

    fn known(&self, cookie: u64) -> Res<usize> {
        self.model.find(cookie).ok_or_else(|| format!("cookie {cookie} is nobody's"))
    }

    fn handle(&mut self, handle: NetHandle) -> Res {
        let n = self.known(handle.cookie().get())?;
        self.grow();
        self.handles[n] = Some(handle);
        Ok(())
    }

    fn grow(&mut self) {
        let nets = self.model.nets.len();
        self.handles.resize(nets, None);
        self.dumps.resize_with(nets, || None);
        self.pages.resize(nets, (0, 0));
    }

    fn create(&mut self, cred: u8, fail: Option<u8>, act: Act) -> Res {
        if self.model.order.len() >= MAX_NETS || self.model.nets.len() >= 4 * MAX_NETS {
            return Ok(());
        }
        let (user, uid) = (cred as usize % self.users.len(), u32::from(cred / 8) % crate::probe::UIDS);
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

    fn created(&mut self, n: usize, user: usize, real: NetRef) -> Res {
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

    fn register(&mut self, device: bool, kind: u8, fail: Option<u8>, act: Act) -> Res {
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
    fn key(&self, nth: usize) -> Option<(usize, AnyKey)> {
        let tag = nth % self.keys.len().max(1);
        self.keys.get(tag).copied().flatten().map(|key| (tag, key))
    }

    fn unregister(&mut self, nth: usize) -> Res {
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

    fn poke(&mut self, n: u8, nth: usize, value: u32) -> Res {
        let Some((tag, key)) = self.key(nth) else { return Ok(()) };
        let at = self.pick(n);
        let net = &mut self.model.nets[self.pool[at].net];
        if net.life != Life::Listed {
            return Ok(());
        }
        let state = net.states.iter_mut().find(|state| state.tag as usize == tag && state.readable);
        let expected = state.map(|state| state.content = value).is_some();
        same("a state to write", key.write(&self.pool[at].real, value), expected)
    }

    fn stash(&mut self, holder: u8, nth: usize, whom: u8, until: Until) -> Res {
        let Some((tag, _)) = self.key(nth) else { return Ok(()) };
        let Some(whom) = self.take(whom) else { return Ok(()) };
        let tag = tag as u32;
        let net = self.pool[self.pick(holder)].net;
        let owner = &self.model.nets[net];
        let fits = owner.life == Life::Listed
            && owner.active > 0
            && owner.states.iter().any(|state| state.tag == tag && state.readable)
            && self.model.nets[whom.net].life == Life::Listed
            && self.model.alive(whom.net);
        if !fits {
            self.pool.push(whom);
            return Ok(());
        }
        let cookie = self.model.cookie(net);
        self.model.stash.push(Stash { tag, net, until, owned: whom.net });
        self.shared.lock().stash.push(Stashed { tag, net: cookie, until, owned: whom.real });
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
