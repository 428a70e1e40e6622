//! Peer ids against a plain model: invariants I5–I9, I13, I14 for any sequence of operations.

mod common;

use common::{Call, Log, create, system};
use pernet::{AssignError, Cookie, Namespaces, NetRef, Nsid, Origin};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug)]
enum Op {
    Create,
    Drop(usize),
    Alloc(usize, usize),
    Assign(usize, usize, i32),
    Find(usize, usize),
    Lookup(usize, i32),
    List(usize, i32, usize),
    Step,
}

fn op() -> impl Strategy<Value = Op> {
    let net = 0..8usize;
    let id = prop_oneof![8 => -1..10i32, 1 => Just(i32::MAX), 1 => any::<i32>()];
    prop_oneof![
        3 => Just(Op::Create),
        2 => net.clone().prop_map(Op::Drop),
        4 => (net.clone(), net.clone()).prop_map(|(o, p)| Op::Alloc(o, p)),
        4 => (net.clone(), net.clone(), id.clone()).prop_map(|(o, p, id)| Op::Assign(o, p, id)),
        1 => (net.clone(), net.clone()).prop_map(|(o, p)| Op::Find(o, p)),
        2 => (net.clone(), id).prop_map(|(o, id)| Op::Lookup(o, id)),
        2 => (net, 0..12i32, 0..6usize).prop_map(|(o, from, max)| Op::List(o, from, max)),
        2 => Just(Op::Step),
    ]
}

/// What one namespace is to the model: a map, and whether it lives.
struct Model {
    real: Option<NetRef>,
    cookie: Cookie,
    table: BTreeMap<i32, Cookie>,
    changes: u64,
    last_page: (u64, u64),
}

struct World {
    ns: Namespaces,
    log: Log,
    /// In order of creation; the torn down are removed.
    nets: Vec<Model>,
    queue: Vec<Cookie>,
    expected: Vec<Call>,
}

impl World {
    fn new() -> Self {
        let (ns, log) = system();
        let init = ns.init_net();
        ns.subscribe(Arc::new(log.clone()));
        let mut world = Self { ns, log, nets: Vec::new(), queue: Vec::new(), expected: Vec::new() };
        world.add(init);
        world
    }

    fn add(&mut self, net: NetRef) {
        let cookie = net.cookie();
        self.nets.push(Model { real: Some(net), cookie, table: BTreeMap::new(), changes: 0, last_page: (0, 0) });
    }

    /// The nth living namespace, modulo their number.
    fn pick(&self, nth: usize) -> usize {
        let living: Vec<usize> = (0..self.nets.len()).filter(|at| self.nets[*at].real.is_some()).collect();
        living[nth % living.len()]
    }

    fn real(&self, at: usize) -> &NetRef {
        self.nets[at].real.as_ref().unwrap()
    }

    fn lives(&self, cookie: Cookie) -> bool {
        self.nets.iter().any(|net| net.cookie == cookie && net.real.is_some())
    }

    /// The model's answer to an assignment, carried out.
    fn name(&mut self, o: usize, p: usize, want: Option<i32>, origin: Origin) -> Result<i32, (AssignError, i32)> {
        let peer = self.nets[p].cookie;
        let table = &mut self.nets[o].table;
        if let Some((id, _)) = table.iter().find(|(_, named)| **named == peer) {
            return Err((AssignError::AlreadyNamed, *id));
        }
        let id = match want {
            Some(id) if table.contains_key(&id) => return Err((AssignError::IdTaken, id)),
            Some(id) => id,
            None => (0..).find(|id| !table.contains_key(id)).unwrap(),
        };
        table.insert(id, peer);
        self.nets[o].changes += 1;
        self.expected.push(Call::New(self.nets[o].cookie, peer, id, origin));
        Ok(id)
    }

    fn apply(&mut self, op: Op, seq: u32) {
        match op {
            Op::Create => {
                let net = create(&self.ns);
                self.expected.push(Call::NetNew(net.cookie()));
                self.add(net);
            }
            Op::Drop(nth) => {
                let at = self.pick(nth);
                if at != 0 {
                    self.nets[at].real = None;
                    self.queue.push(self.nets[at].cookie);
                }
            }
            Op::Alloc(o, p) => {
                let (o, p) = (self.pick(o), self.pick(p));
                let got = self.real(o).peernet2id_alloc(self.real(p)).map(Nsid::get);
                let expected = match self.name(o, p, None, Origin::KERNEL) {
                    Ok(id) | Err((_, id)) => id,
                };
                assert_eq!(got, Some(expected));
            }
            Op::Assign(o, p, want) => {
                let (o, p) = (self.pick(o), self.pick(p));
                let origin = Origin { portid: 7, seq, echo: seq.is_multiple_of(2) };
                let want = Nsid::new(want);
                let got = self.real(o).assign_nsid(self.real(p), want, origin).map(Nsid::get);
                let expected = self.name(o, p, want.map(Nsid::get), origin).map_err(|(error, _)| error);
                assert_eq!(got, expected);
            }
            Op::Find(o, p) => {
                let (o, p) = (self.pick(o), self.pick(p));
                let peer = self.nets[p].cookie;
                let expected = self.nets[o].table.iter().find(|(_, named)| **named == peer);
                let got = self.real(o).peernet2id(self.real(p)).map(Nsid::get);
                assert_eq!(got, expected.map(|(id, _)| *id));
            }
            Op::Lookup(o, id) => {
                let o = self.pick(o);
                let expected = self.nets[o].table.get(&id).copied().filter(|peer| self.lives(*peer));
                assert_eq!(self.real(o).net_by_nsid(id).map(|net| net.cookie()), expected);
            }
            Op::List(o, from, max) => self.list(o, from, max),
            Op::Step => self.step(),
        }
        assert_eq!(self.log_without_grace(), std::mem::take(&mut self.expected));
    }

    fn list(&mut self, o: usize, from: i32, max: usize) {
        let o = self.pick(o);
        let page = self.real(o).nsids_from(Nsid::new(from).unwrap(), max);
        let living = self.nets[o].table.range(from..).filter(|(_, peer)| self.lives(**peer));
        let expected: Vec<(i32, Cookie)> = living.take(max).map(|(id, peer)| (*id, *peer)).collect();
        let got: Vec<_> = page.entries.iter().map(|(id, peer)| (id.get(), peer.cookie())).collect();
        assert_eq!(got, expected);
        let model = &mut self.nets[o];
        let (changes, generation) = model.last_page;
        assert_eq!(generation == page.generation, changes == model.changes, "generation tells of every change");
        model.last_page = (model.changes, page.generation);
    }

    fn step(&mut self) {
        let batch = std::mem::take(&mut self.queue);
        assert_eq!(self.ns.step().destroyed, batch.len());
        self.expected.extend(batch.iter().map(|dead| Call::NetDead(*dead)));
        for dead in &batch {
            for observer in &mut self.nets {
                let Some((id, _)) = observer.table.iter().find(|(_, peer)| *peer == dead) else {
                    continue;
                };
                let id = *id;
                observer.table.remove(&id);
                observer.changes += 1;
                if observer.real.is_some() {
                    self.expected.push(Call::Del(observer.cookie, id));
                }
            }
        }
        self.nets.retain(|net| !batch.contains(&net.cookie));
    }

    fn log_without_grace(&self) -> Vec<Call> {
        self.log.take().into_iter().filter(|call| *call != Call::Grace).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn peer_ids_behave_as_the_model(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        for (seq, op) in (1..).zip(ops) {
            world.apply(op, seq);
        }
        // Whatever was built, it comes apart: nothing is left over.
        for at in 1..world.nets.len() {
            world.nets[at].real = None;
        }
        world.ns.barrier();
        prop_assert_eq!(world.ns.listed(), 1);
        let own = world.real(0).nsids_from(Nsid::ZERO, usize::MAX).entries;
        prop_assert!(own.iter().all(|(_, peer)| peer.cookie() == world.nets[0].cookie));
    }
}
