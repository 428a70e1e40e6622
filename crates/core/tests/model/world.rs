//! The system under test beside the model: carries out each operation on both, and compares.

use crate::ops::{Case, Op, Until};
use crate::probe::{AnyKey, Call, Hooks, Shared, Stashed, UIDS};
use crate::reference::{Life, Model, Stash, User};
use crate::script::{Res, Tally};
use pernet::{Cred, LimitError, Namespaces, NetHandle, NetRef, Nsid, Origin, Uid, UserNs};
use std::sync::Arc;

/// A case is to be deep, not large.
const MAX_NETS: usize = 14;
const MAX_REFS: usize = 30;
const MAX_USERS: usize = 6;
/// Bits of `Call::…::seen`.
pub(crate) const MAX_KEYS: usize = 60;

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
    pub(crate) pages: usize,
    pub(crate) changes: u64,
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
    pub(crate) pages: Vec<(u64, u64)>,
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

    pub(crate) fn pick(&self, nth: u8) -> usize {
        nth as usize % self.pool.len()
    }

    /// A reference that may be dropped.
    pub(crate) fn take(&mut self, nth: u8) -> Option<Ref> {
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
            Op::Create(cred, fail, act) if self.has_room() => self.create(cred, fail, act),
            Op::Burst(count) if self.has_room() => self.burst(count),
            Op::Create(..) | Op::Burst(_) => Ok(()),
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
                    self.new_user(parent as usize % self.users.len(), u32::from(uid) % UIDS);
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

    fn has_room(&self) -> bool {
        self.model.order.len() < MAX_NETS && self.model.nets.len() < 5 * MAX_NETS
    }

    pub(crate) fn step(&mut self) -> Res {
        let round = self.ns.step();
        self.read_log();
        same("step", (round.destroyed, round.more), self.model.step()?)
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
