//! Every interleaving of two shards' accounts with each other and with a limit that changes, by loom: never
//! more in use than charged or than the limit in force, nobody refused what is free, and everything comes
//! back.
#![allow(dead_code, unreachable_pub, reason = "the test needs a part of the file")]

extern crate alloc;

#[path = "../src/account.rs"]
mod account;
#[path = "../src/owner.rs"]
mod owner;
#[path = "loom/sync.rs"]
mod sync;

/// All that owner.rs needs of it.
mod error {
    #[derive(Debug)]
    pub enum LimitError {
        OutOfRange,
    }
}

use account::Account;
use loom::thread;
use owner::{Shared, Uid, UserNs};
use std::sync::Arc;
use sync::model;

const USER: Uid = Uid(7);
/// Far enough for units to be drawn in advance.
const FAR: u32 = 10_000;

fn user_ns(limit: u32) -> UserNs {
    UserNs::initial(3, Uid::ROOT, limit, Shared::new(9))
}

fn come_back(ns: &UserNs, accounts: [Arc<Account>; 2]) {
    assert_eq!(ns.net_namespaces(USER), 0);
    drop(accounts);
    assert_eq!(ns.net_namespaces(USER), 0);
    // Not only hidden: all of a limit of one can be had.
    ns.set_max_net_namespaces(1).unwrap();
    let account = Account::open(ns, USER);
    assert_eq!((account.take(), account.take()), (Ok(()), Err(0)));
    account.put();
}

/// A unit is taken from what was drawn in advance, while another shard needs what lies there.
#[test]
fn what_nobody_uses_refuses_nobody() {
    model(3, || {
        let ns = user_ns(FAR);
        let accounts = [Account::open(&ns, USER), Account::open(&ns, USER)];
        accounts[0].take().unwrap();
        accounts[0].put();
        assert!(accounts[0].unused() > 0);
        ns.set_max_net_namespaces(2).unwrap();
        let other = thread::spawn({
            let account = Arc::clone(&accounts[0]);
            move || {
                account.take().expect("there are two");
                account.put();
            }
        });
        accounts[1].take().expect("there are two");
        accounts[1].put();
        other.join().unwrap();
        come_back(&ns, accounts);
    });
}

/// A limit that is lowered while units are taken: whoever asks after it was set is bound by it.
#[test]
fn a_limit_binds_at_once() {
    model(3, || {
        let ns = user_ns(FAR);
        let accounts = [Account::open(&ns, USER), Account::open(&ns, USER)];
        accounts[0].take().unwrap();
        let other = thread::spawn({
            let account = Arc::clone(&accounts[1]);
            move || {
                let taken = account.take().is_ok();
                if taken {
                    account.put();
                }
            }
        });
        ns.set_max_net_namespaces(1).unwrap();
        // One is in use.
        assert_eq!(accounts[0].take(), Err(0));
        other.join().unwrap();
        assert_eq!(ns.net_namespaces(USER), 1);
        accounts[0].put();
        come_back(&ns, accounts);
    });
}

/// Both take and put beside a limit that falls below what is in use.
#[test]
fn everything_comes_back() {
    model(2, || {
        let ns = user_ns(FAR);
        let accounts = [Account::open(&ns, USER), Account::open(&ns, USER)];
        let others = accounts.each_ref().map(|account| {
            let account = Arc::clone(account);
            thread::spawn(move || {
                if account.take().is_ok() {
                    account.put();
                }
            })
        });
        ns.set_max_net_namespaces(0).unwrap();
        assert_eq!(accounts[0].take(), Err(0), "none, and at once");
        for other in others {
            other.join().unwrap();
        }
        come_back(&ns, accounts);
    });
}
