//! Statements 18–43: the registry.

mod common;

use common::{Call, Log, REFUSED, create, probe, root, split_freed, system, tags, undo};
use pernet::{CreateError, Errno, InitError, Inum, Key, Namespaces, Net, RegisterError, Subsystem};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

/// The order in which the inits of a new namespace run.
fn order(ns: &Namespaces, log: &Log) -> Vec<u32> {
    log.take();
    let net = create(ns);
    let order = log
        .take()
        .iter()
        .filter_map(|call| match call {
            Call::Init(tag, _) => Some(*tag),
            _ => None,
        })
        .collect();
    drop(net);
    ns.step();
    order
}

#[test]
fn c018_subsys_before_device() {
    let (ns, log) = system();
    ns.register_device(probe(10, &log)).unwrap();
    ns.register_subsys(probe(1, &log)).unwrap();
    ns.register_device(probe(11, &log)).unwrap();
    ns.register_subsys(probe(2, &log)).unwrap();
    assert_eq!(order(&ns, &log), [1, 2, 10, 11]);
}

#[test]
fn c019_devices_append() {
    let (ns, log) = system();
    for tag in [10, 11, 12] {
        ns.register_device(probe(tag, &log)).unwrap();
    }
    assert_eq!(order(&ns, &log), [10, 11, 12]);
}

#[test]
fn c020_a_failed_device_leaves_the_marker() {
    let (ns, log) = system();
    assert!(ns.register_device(probe(10, &log).failing_after(0)).is_err());
    ns.register_subsys(probe(1, &log)).unwrap();
    ns.register_device(probe(11, &log)).unwrap();
    assert!(ns.register_device(probe(12, &log).failing_after(0)).is_err());
    ns.register_subsys(probe(2, &log)).unwrap();
    assert_eq!(order(&ns, &log), [1, 2, 11]);
}

#[test]
fn c021_unregistering_the_first_device_advances_the_marker() {
    let (ns, log) = system();
    ns.register_subsys(probe(1, &log)).unwrap();
    let first = ns.register_device(probe(10, &log)).unwrap();
    let second = ns.register_device(probe(11, &log)).unwrap();
    ns.unregister(first);
    ns.register_subsys(probe(2, &log)).unwrap();
    assert_eq!(order(&ns, &log), [1, 2, 11]);
    ns.unregister(second);
    ns.register_subsys(probe(3, &log)).unwrap();
    ns.register_device(probe(12, &log)).unwrap();
    ns.register_subsys(probe(4, &log)).unwrap();
    assert_eq!(order(&ns, &log), [1, 2, 3, 4, 12]);
}

#[test]
fn c022_c023_c024_inits_forward_exits_backward_devices_first() {
    let (ns, log) = system();
    ns.register_device(probe(10, &log)).unwrap();
    ns.register_subsys(probe(1, &log)).unwrap();
    ns.register_subsys(probe(2, &log)).unwrap();
    log.take();
    let net = create(&ns);
    let cookie = net.cookie();
    assert_eq!(log.take(), [Call::Init(1, cookie), Call::Init(2, cookie), Call::Init(10, cookie)]);
    drop(net);
    ns.step();
    let (calls, freed) = split_freed(log.take());
    assert_eq!(calls, undo(&[1, 2, 10], &[cookie]));
    assert_eq!(freed, [(1, cookie), (2, cookie), (10, cookie)]);
}

#[test]
fn c026_slot_numbers_are_lowest_first_and_reused() {
    let (ns, log) = system();
    let keys: Vec<Key<_>> = (0..3).map(|tag| ns.register_subsys(probe(tag, &log)).unwrap()).collect();
    let number = |key: &Key<_>| format!("{key:?}").split(['(', ',']).nth(1).unwrap().parse::<u32>().unwrap();
    assert_eq!(keys.iter().map(number).collect::<Vec<_>>(), [0, 1, 2]);
    ns.unregister(keys[1]);
    assert_eq!(number(&ns.register_subsys(probe(7, &log)).unwrap()), 1);
    assert_eq!(number(&ns.register_subsys(probe(8, &log)).unwrap()), 3);
}

/// A subsystem with another state type, to take over a number.
struct Text;

impl Subsystem for Text {
    const NAME: &'static str = "text";
    type State = String;

    fn init(&self, net: &Net) -> Result<String, InitError> {
        Ok(format!("text of {}", net.cookie().get()))
    }
}

#[test]
fn c026_a_reused_number_shows_nothing_of_its_former_owner() {
    let (ns, log) = system();
    let before = create(&ns);
    let old = ns.register_subsys(probe(1, &log)).unwrap();
    let borrow = before.get(old).unwrap();
    ns.unregister(old);
    assert!(before.get(old).is_none());
    let text = ns.register_subsys(Text).unwrap();
    let after = create(&ns);
    for net in [&before, &after, &ns.init_net()] {
        assert_eq!(net.get(text), Some(&format!("text of {}", net.cookie().get())));
        assert!(net.get(old).is_none());
    }
    ns.unregister(text);
    let new = ns.register_subsys(probe(2, &log)).unwrap();
    assert_eq!(before.get(new).map(|state| state.tag), Some(2), "same type and number, other registration");
    assert!(before.get(old).is_none() && before.get(text).is_none());
    assert_eq!(borrow.tag, 1, "a borrow taken before stays valid");
}

#[test]
fn c027_earlier_states_are_readable_in_init() {
    let (ns, log) = system();
    let first = ns.register_subsys(probe(1, &log)).unwrap();
    let second = probe(2, &log).on_init(move |net| {
        assert_eq!(net.get(first).map(|state| (state.tag, state.net)), Some((1, net.cookie())));
        Ok(())
    });
    ns.register_subsys(second).unwrap();
    create(&ns);
}

#[test]
fn c028_states_never_move_while_the_table_grows() {
    let (ns, log) = system();
    let net = create(&ns);
    let mut keys = Vec::new();
    let mut places = Vec::new();
    for tag in 0..40 {
        let key = ns.register_subsys(probe(tag, &log)).unwrap();
        places.push(std::ptr::from_ref(net.get(key).unwrap()) as usize);
        keys.push(key);
    }
    assert_eq!(tags(&net, &keys), (0..40).map(Some).collect::<Vec<_>>());
    let now: Vec<usize> = keys.iter().map(|key| std::ptr::from_ref(net.get(*key).unwrap()) as usize).collect();
    assert_eq!(now, places);
}

#[test]
fn c029_readers_are_right_while_the_table_grows() {
    let (ns, log) = system();
    let net = create(&ns);
    let key = ns.register_subsys(probe(7, &log)).unwrap();
    let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let reader = std::thread::spawn({
        let (net, stop, reads) = (net.clone(), Arc::clone(&stop), Arc::clone(&reads));
        move || {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(net.get(key).unwrap().tag, 7);
                reads.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut tag = 100;
    while reads.load(Ordering::Relaxed) < 1000 || tag < 300 {
        let key = ns.register_subsys(probe(tag, &log)).unwrap();
        assert_eq!(net.get(key).unwrap().tag, tag);
        tag += 1;
    }
    stop.store(true, Ordering::Relaxed);
    reader.join().unwrap();
}

#[test]
fn c030_registration_runs_inits_in_list_order() {
    let (ns, log) = system();
    let nets = [create(&ns), create(&ns)];
    ns.register_subsys(probe(1, &log)).unwrap();
    let expected = [ns.init_net().cookie(), nets[0].cookie(), nets[1].cookie()];
    assert_eq!(log.take(), expected.map(|cookie| Call::Init(1, cookie)));
}

#[test]
fn c031_registration_includes_the_dead_that_are_still_listed() {
    let (ns, log) = system();
    let net = create(&ns);
    let cookie = net.cookie();
    drop(net);
    ns.register_subsys(probe(1, &log)).unwrap();
    assert_eq!(log.take(), [Call::Init(1, ns.init_net().cookie()), Call::Init(1, cookie)]);
    assert_eq!(ns.step().destroyed, 1);
    assert_eq!(split_freed(log.take()).0, undo(&[1], &[cookie]));
}

/// An init that grabs a reference of a dead namespace neither revives it nor kills it twice.
#[test]
fn c031_a_reference_taken_in_such_an_init_revives_nothing() {
    let (ns, log) = system();
    let net = create(&ns);
    let handle = net.downgrade();
    drop(net);
    let grabbed = Arc::new(std::sync::Mutex::new(Vec::new()));
    let hook = Arc::clone(&grabbed);
    ns.register_subsys(probe(1, &log).on_init(move |net| {
        hook.lock().unwrap().push(net.to_ref());
        Ok(())
    }))
    .unwrap();
    assert_eq!(handle.upgrade(), None);
    assert_eq!(ns.step().destroyed, 1);
    grabbed.lock().unwrap().clear();
    assert_eq!(handle.upgrade(), None);
    assert_eq!(ns.step().destroyed, 0);
}

#[test]
fn c032_a_failed_registration_is_undone_where_it_succeeded() {
    let (ns, log) = system();
    let nets = [create(&ns), create(&ns)];
    let error = ns.register_subsys(probe(1, &log).failing_after(2)).unwrap_err();
    assert_eq!(error, RegisterError::Init { inum: nets[1].inum(), error: REFUSED });
    assert_eq!(error.errno(), Errno::EBUSY);
    let done = [ns.init_net().cookie(), nets[0].cookie()];
    let (calls, freed) = split_freed(log.take());
    let mut expected: Vec<Call> = done.iter().map(|cookie| Call::Init(1, *cookie)).collect();
    expected.push(Call::Failed(1, nets[1].cookie()));
    expected.extend(undo(&[1], &done));
    assert_eq!(calls, expected);
    assert_eq!(freed, done.map(|cookie| (1, cookie)));
}

#[test]
fn c033_c034_nothing_of_a_failed_registration_remains() {
    let (ns, log) = system();
    let net = create(&ns);
    ns.register_subsys(probe(1, &log).failing_after(1)).unwrap_err();
    let (_, freed) = split_freed(log.take());
    assert_eq!(freed.len(), 1, "its memory is gone, though the namespace lives");
    let key = ns.register_subsys(probe(2, &log)).unwrap();
    assert!(format!("{key:?}").starts_with("Key(0,"), "its number is free again: {key:?}");
    assert_eq!(order(&ns, &log), [2]);
    assert_eq!(net.get(key).unwrap().tag, 2);
}

#[test]
fn c035_an_empty_batch_when_the_very_first_init_fails() {
    let (ns, log) = system();
    let error = ns.register_subsys(probe(1, &log).failing_after(0)).unwrap_err();
    assert_eq!(error, RegisterError::Init { inum: Inum::INIT, error: REFUSED });
    assert_eq!(log.take(), [Call::Failed(1, ns.init_net().cookie()), Call::Grace, Call::ExitBatch(1, Vec::new())]);
}

#[test]
fn c036_unregistration_runs_the_exits_of_every_listed_namespace() {
    let (ns, log) = system();
    let key = ns.register_subsys(probe(1, &log)).unwrap();
    let nets = [create(&ns), create(&ns)];
    let dead = create(&ns);
    let all = [ns.init_net().cookie(), nets[0].cookie(), nets[1].cookie(), dead.cookie()];
    drop(dead);
    log.take();
    ns.unregister(key);
    assert_eq!(split_freed(log.take()).0, undo(&[1], &all));
    assert_eq!(ns.step().destroyed, 1);
    drop(nets);
    ns.step();
    assert_eq!(split_freed(log.take()).0, [Call::Grace, Call::Grace], "never again after unregistration");
    ns.unregister(key);
    assert_eq!(log.take(), [], "a second time does nothing");
}

#[test]
fn c037_c038_c039_c040_phases_of_a_batch() {
    let (ns, log) = system();
    ns.register_subsys(probe(1, &log)).unwrap();
    ns.register_subsys(probe(2, &log)).unwrap();
    ns.register_device(probe(10, &log)).unwrap();
    let nets = [create(&ns), create(&ns), create(&ns)];
    let cookies = nets.each_ref().map(|net| net.cookie());
    log.take();
    drop(nets);
    assert_eq!(ns.step().destroyed, 3);
    let calls = log.take();
    let last_batch = calls.iter().rposition(|call| matches!(call, Call::ExitBatch(..))).unwrap();
    assert!(
        !calls[..last_batch].iter().any(|call| matches!(call, Call::Freed(..))),
        "no memory goes before the last exit_batch"
    );
    assert_eq!(split_freed(calls).0, undo(&[1, 2, 10], &cookies));
}

#[test]
fn c039_an_exit_may_read_the_states_of_all_others() {
    let (ns, log) = system();
    let later: Arc<std::sync::OnceLock<Key<common::Probe>>> = Arc::default();
    let hook = Arc::clone(&later);
    ns.register_subsys(probe(1, &log).on_exit(move |net| {
        assert_eq!(net.get(*hook.get().unwrap()).unwrap().tag, 2);
    }))
    .unwrap();
    later.set(ns.register_subsys(probe(2, &log)).unwrap()).unwrap();
    drop(create(&ns));
    assert_eq!(ns.step().destroyed, 1);
}

#[test]
fn c041_two_creations_run_one_init_at_the_same_time() {
    let (ns, log) = system();
    let both = Arc::new(Barrier::new(2));
    ns.register_subsys(probe(1, &log).on_init(move |net| {
        if !net.is_init() {
            both.wait(); // returns only if two inits are inside
        }
        Ok(())
    }))
    .unwrap();
    let other = std::thread::spawn({
        let ns = ns.clone();
        move || create(&ns).cookie()
    });
    assert_ne!(create(&ns).cookie(), other.join().unwrap());
}

#[test]
fn c043_a_failed_creation_undoes_exactly_what_was_done() {
    let (ns, log) = system();
    ns.register_subsys(probe(1, &log)).unwrap();
    ns.register_subsys(probe(2, &log)).unwrap();
    ns.register_device(probe(10, &log).failing_after(1)).unwrap();
    ns.register_device(probe(11, &log)).unwrap();
    log.take();
    let error = ns.create(&root(&ns)).unwrap_err();
    assert_eq!(error, CreateError::Init { subsystem: "probe", error: REFUSED });
    let (calls, freed) = split_freed(log.take());
    let Call::Init(_, cookie) = calls[0] else { panic!("{calls:?}") };
    let mut expected = vec![Call::Init(1, cookie), Call::Init(2, cookie), Call::Failed(10, cookie)];
    expected.extend(undo(&[1, 2], &[cookie]));
    assert_eq!(calls, expected);
    assert_eq!(freed, [(1, cookie), (2, cookie)]);
}
