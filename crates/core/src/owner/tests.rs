//! Of `owner.rs`, and not in it: `tests/loom_*.rs` compile that file once more.

use crate::account::{Account, PLENTY};
use crate::owner::*;

fn init(limit: u32) -> UserNs {
    UserNs::initial(3, Uid::ROOT, limit, Shared::new(9))
}

#[test]
fn a_refused_charge_leaves_no_trace() {
    let top = init(1);
    let maker = Cred::user(&top, Uid(7));
    let low = top.child(&maker);
    let (nine, ten) = (Account::open(&low, Uid(9)), Account::open(&low, Uid(10)));
    assert_eq!(nine.take(), Ok(()));
    assert_eq!((top.net_namespaces(Uid(7)), low.net_namespaces(Uid(9))), (1, 1));
    assert_eq!(ten.take(), Err(0), "the ancestor's limit binds");
    assert_eq!(low.net_namespaces(Uid(10)), 0);
    nine.put();
    assert_eq!((top.net_namespaces(Uid(7)), low.net_namespaces(Uid(9))), (0, 0));
    assert_eq!(ten.take(), Ok(()), "what nobody uses refuses nobody");
    ten.put();
    drop((nine, ten));
    assert_eq!((top.net_namespaces(Uid(7)), low.net_namespaces(Uid(10))), (0, 0));
}

#[test]
fn units_drawn_in_advance_are_nobodys_loss() {
    let top = init(10_000);
    let (one, other) = (Account::open(&top, Uid(7)), Account::open(&top, Uid(7)));
    assert_eq!((one.take(), other.take()), (Ok(()), Ok(())));
    assert!(one.unused() > 0 && other.unused() > 0);
    assert_eq!(top.net_namespaces(Uid(7)), 2);
    top.set_max_net_namespaces(3).unwrap();
    assert_eq!((one.take(), one.take(), other.take()), (Ok(()), Err(0), Err(0)), "a limit binds at once");
    other.put();
    assert_eq!(one.take(), Ok(()));
    drop(other);
    for _ in 0..3 {
        one.put();
    }
    assert_eq!(top.net_namespaces(Uid(7)), 0);
    drop(one);
    assert_eq!(top.net_namespaces(Uid(7)), 0);
}

#[test]
fn an_account_that_grows_gives_back() {
    let top = init(1_000_000);
    let account = Account::open(&top, Uid(7));
    (0..1000).for_each(|_| account.take().unwrap());
    (0..1000).for_each(|_| account.put());
    assert!(account.unused() <= PLENTY + 1);
    assert_eq!(top.net_namespaces(Uid(7)), 0);
}

#[test]
fn capable_walks_down_never_up_nor_sideways() {
    let top = init(9);
    let maker = Cred::user(&top, Uid(7));
    let low = top.child(&maker);
    let side = top.child(&Cred::user(&top, Uid(8)));
    let deep = low.child(&Cred::root(&low));
    assert!(Cred::root(&top).capable(&deep, Cap::NetAdmin), "capability in an ancestor");
    assert!(!Cred::user(&top, Uid(8)).capable(&low, Cap::NetAdmin), "not the creator");
    assert!(maker.capable(&low, Cap::NetAdmin) && maker.capable(&deep, Cap::NetAdmin), "creator");
    assert!(!maker.capable(&top, Cap::NetAdmin));
    assert!(!Cred::root(&low).capable(&top, Cap::NetAdmin), "upwards");
    assert!(!Cred::root(&low).capable(&side, Cap::NetAdmin), "sideways");
    assert!(!Cred::root(&deep).capable(&low, Cap::NetAdmin));
    let no_admin = Cred { caps: Caps::FULL.without(Cap::NetAdmin), ..Cred::root(&top) };
    assert!(no_admin.capable(&top, Cap::NetRaw) && !no_admin.capable(&top, Cap::NetAdmin));
}

#[test]
fn a_deep_tree_drops_without_deep_recursion() {
    let mut ns = init(9);
    let cred = Cred::root(&ns);
    for _ in 0..100_000 {
        ns = ns.child(&cred);
    }
    assert_eq!(ns.level(), 100_000);
    drop(ns);
}
