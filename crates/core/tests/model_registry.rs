//! Registration, creation and teardown against a plain model: every callback, in order, and every
//! state freed, for any sequence of operations (invariants I1–I4, I10, I12, I14).

mod common;

use common::{Call, Log, Probe, REFUSED, create, probe, root, split_freed, system, tags, undo};
use pernet::{Cookie, Key, Namespaces, NetRef, Uid};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug)]
enum Op {
    /// Device or not; in how many namespaces its init succeeds.
    Register(bool, usize),
    Unregister(usize),
    Create,
    /// The nth registered init fails.
    CreateFailing(usize),
    Drop(usize),
    Step,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (any::<bool>(), prop_oneof![4 => Just(usize::MAX), 1 => 0..5usize])
            .prop_map(|(device, alive)| Op::Register(device, alive)),
        2 => any::<usize>().prop_map(Op::Unregister),
        3 => Just(Op::Create),
        1 => any::<usize>().prop_map(Op::CreateFailing),
        2 => any::<usize>().prop_map(Op::Drop),
        2 => Just(Op::Step),
    ]
}

struct Net {
    real: Option<NetRef>,
    cookie: Cookie,
    /// Every state it ever got: memory goes with the namespace.
    states: BTreeSet<u32>,
}

struct World {
    ns: Namespaces,
    log: Log,
    /// The subsystem whose init is to fail for a namespace under construction.
    victim: Arc<Mutex<Option<u32>>>,
    /// In list order, with "is a device".
    ops: Vec<(u32, bool, Key<Probe>)>,
    retired: Vec<Key<Probe>>,
    nets: Vec<Net>,
    queue: Vec<Cookie>,
    next_tag: u32,
}

impl World {
    fn new() -> Self {
        let (ns, log) = system();
        let init = ns.init_net();
        let nets = vec![Net { cookie: init.cookie(), real: Some(init), states: BTreeSet::new() }];
        Self {
            ns,
            log,
            victim: Arc::default(),
            ops: Vec::new(),
            retired: Vec::new(),
            nets,
            queue: Vec::new(),
            next_tag: 0,
        }
    }

    fn tags(&self) -> Vec<u32> {
        self.ops.iter().map(|(tag, ..)| *tag).collect()
    }

    fn apply(&mut self, op: Op) {
        let (expected, expected_freed) = match op {
            Op::Register(device, alive) => self.register(device, alive),
            Op::Unregister(nth) => self.unregister(nth),
            Op::Create => self.create(),
            Op::CreateFailing(nth) => self.create_failing(nth),
            Op::Drop(nth) => self.drop(nth),
            Op::Step => self.step(),
        };
        let (calls, freed) = split_freed(self.log.take());
        assert_eq!(calls, expected);
        let mut expected_freed = expected_freed;
        expected_freed.sort_unstable();
        assert_eq!(freed, expected_freed);
        self.check_states();
    }

    fn register(&mut self, device: bool, alive: usize) -> (Vec<Call>, Vec<(u32, Cookie)>) {
        let tag = self.next_tag;
        self.next_tag += 1;
        let left = Arc::new(Mutex::new(alive));
        let (victim, budget) = (Arc::clone(&self.victim), Arc::clone(&left));
        let subsystem = probe(tag, &self.log).on_init(move |_| {
            let mut left = budget.lock().unwrap();
            if *left == 0 || *victim.lock().unwrap() == Some(tag) {
                return Err(REFUSED);
            }
            *left -= 1;
            Ok(())
        });
        let result = if device { self.ns.register_device(subsystem) } else { self.ns.register_subsys(subsystem) };
        let cookies: Vec<Cookie> = self.nets.iter().map(|net| net.cookie).collect();
        let done = &cookies[..alive.min(cookies.len())];
        let mut expected: Vec<Call> = done.iter().map(|cookie| Call::Init(tag, *cookie)).collect();
        if done.len() < cookies.len() {
            result.unwrap_err();
            expected.push(Call::Failed(tag, cookies[done.len()]));
            expected.extend(undo(&[tag], done));
            return (expected, done.iter().map(|cookie| (tag, *cookie)).collect());
        }
        for net in &mut self.nets {
            net.states.insert(tag);
        }
        let at = if device { self.ops.len() } else { self.ops.iter().take_while(|op| !op.1).count() };
        self.ops.insert(at, (tag, device, result.unwrap()));
        // The budget was for the registration only.
        *left.lock().unwrap() = usize::MAX;
        (expected, Vec::new())
    }

    fn unregister(&mut self, nth: usize) -> (Vec<Call>, Vec<(u32, Cookie)>) {
        if self.ops.is_empty() {
            return Default::default();
        }
        let (tag, _, key) = self.ops.remove(nth % self.ops.len());
        self.ns.unregister(key);
        self.retired.push(key);
        let listed: Vec<Cookie> = self.nets.iter().map(|net| net.cookie).collect();
        (undo(&[tag], &listed), Vec::new())
    }

    fn create(&mut self) -> (Vec<Call>, Vec<(u32, Cookie)>) {
        let net = create(&self.ns);
        let cookie = net.cookie();
        self.nets.push(Net { real: Some(net), cookie, states: self.tags().into_iter().collect() });
        (self.tags().into_iter().map(|tag| Call::Init(tag, cookie)).collect(), Vec::new())
    }

    fn create_failing(&mut self, nth: usize) -> (Vec<Call>, Vec<(u32, Cookie)>) {
        if self.ops.is_empty() {
            return Default::default();
        }
        let at = nth % self.ops.len();
        *self.victim.lock().unwrap() = Some(self.ops[at].0);
        self.ns.create(&root(&self.ns)).unwrap_err();
        *self.victim.lock().unwrap() = None;
        let log = self.log.take();
        let cookie = log.iter().find_map(|call| match call {
            Call::Failed(_, cookie) => Some(*cookie),
            _ => None,
        });
        log.into_iter().for_each(|call| self.log.push(call));
        let cookie = cookie.expect("the victim was asked");
        let done = &self.tags()[..at];
        let mut expected: Vec<Call> = done.iter().map(|tag| Call::Init(*tag, cookie)).collect();
        expected.push(Call::Failed(self.ops[at].0, cookie));
        expected.extend(undo(done, &[cookie]));
        (expected, done.iter().map(|tag| (*tag, cookie)).collect())
    }

    fn drop(&mut self, nth: usize) -> (Vec<Call>, Vec<(u32, Cookie)>) {
        let net = nth % self.nets.len();
        if net != 0 && self.nets[net].real.take().is_some() {
            self.queue.push(self.nets[net].cookie);
        }
        Default::default()
    }

    fn step(&mut self) -> (Vec<Call>, Vec<(u32, Cookie)>) {
        let batch = std::mem::take(&mut self.queue);
        assert_eq!(self.ns.step().destroyed, batch.len());
        if batch.is_empty() {
            return Default::default();
        }
        let mut freed = Vec::new();
        self.nets.retain(|net| {
            let gone = batch.contains(&net.cookie);
            if gone {
                freed.extend(net.states.iter().map(|tag| (*tag, net.cookie)));
            }
            !gone
        });
        (undo(&self.tags(), &batch), freed)
    }

    /// Every living namespace has exactly the registered states; retired keys find nothing.
    fn check_states(&self) {
        let keys: Vec<Key<Probe>> = self.ops.iter().map(|(_, _, key)| *key).collect();
        let expected: Vec<Option<u32>> = self.tags().into_iter().map(Some).collect();
        for net in self.nets.iter().filter_map(|net| net.real.as_ref()) {
            assert_eq!(tags(net, &keys), expected);
            assert!(tags(net, &self.retired).iter().all(Option::is_none));
        }
        let charged = self.ns.init_user_ns().net_namespaces(Uid::ROOT);
        assert_eq!(charged as usize + 1, self.nets.len(), "quota is what is listed");
        assert_eq!(self.ns.listed(), self.nets.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn callbacks_run_as_the_model(ops in prop::collection::vec(op(), 1..80)) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
        }
    }
}
