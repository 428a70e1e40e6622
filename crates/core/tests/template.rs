//! A configured namespace is copied, subsystem by subsystem.

mod common;

use common::{Call, probe, root, system};
use pernet::{InitError, Net, Subsystem};
use std::sync::{Arc, Mutex};

/// A table that can be shared until it is written: copying it costs a count.
struct Table;

impl Subsystem for Table {
    const NAME: &'static str = "table";
    type State = Mutex<Arc<Vec<u32>>>;

    fn init(&self, _: &Net) -> Result<Self::State, InitError> {
        Ok(Mutex::default())
    }

    fn init_from(&self, _: &Net, template: &Self::State) -> Result<Self::State, InitError> {
        let table = Arc::clone(&template.lock().unwrap());
        if table.contains(&13) {
            return Err(InitError::Exhausted);
        }
        Ok(Mutex::new(table))
    }
}

#[test]
fn a_copy_has_what_the_template_had_and_goes_its_own_way() {
    let (ns, log) = system();
    let table = ns.register_subsys(Table).unwrap();
    ns.register_device(probe(10, &log)).unwrap();
    let template = ns.create(&root(&ns)).unwrap();
    Arc::make_mut(&mut template.get(table).unwrap().lock().unwrap()).extend([1, 2]);
    let peer = template.peernet2id_alloc(&ns.init_net());
    assert!(peer.is_some());
    log.take();
    let copy = ns.create_from(&template, &root(&ns)).unwrap();
    assert_eq!(log.take(), [Call::Init(10, copy.cookie())], "without init_from: an ordinary init");
    let of = |net: &Net| Arc::clone(&net.get(table).unwrap().lock().unwrap());
    assert!(Arc::ptr_eq(&of(&template), &of(&copy)), "shared until written");
    Arc::make_mut(&mut copy.get(table).unwrap().lock().unwrap()).push(3);
    assert_eq!((of(&template).to_vec(), of(&copy).to_vec()), (vec![1, 2], vec![1, 2, 3]));
    assert_eq!(copy.peernet2id(&ns.init_net()), None, "ids are their observer's");
    assert_ne!((copy.cookie(), copy.inum()), (template.cookie(), template.inum()));
}

#[test]
fn a_copy_that_fails_leaves_nothing() {
    let (ns, log) = system();
    ns.register_subsys(probe(1, &log)).unwrap();
    let table = ns.register_subsys(Table).unwrap();
    let template = ns.create(&root(&ns)).unwrap();
    Arc::make_mut(&mut template.get(table).unwrap().lock().unwrap()).push(13);
    log.take();
    let error = ns.create_from(&template, &root(&ns)).unwrap_err();
    assert_eq!(error.errno(), pernet::Errno::ENOSPC);
    assert!(matches!(log.take().last(), Some(Call::Freed(1, _))));
    assert_eq!((ns.listed(), ns.init_user_ns().net_namespaces(pernet::Uid::ROOT)), (2, 1));
}
