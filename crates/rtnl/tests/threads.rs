//! Many threads at once: no deadlock, and what each socket sees stays in order.

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use common::*;
use pernet_rtnl::Protocol;
use pernet_wire::uapi::*;

/// Namespaces are named, asked for, listed and dropped while a worker tears them down and listeners come and go. The
/// test ends only if no thread waits for another in a circle.
#[test]
fn everything_at_once() {
    let world = World::new();
    let lasting = world.net();
    world.name(&lasting, 1_000_000);
    let history = world.listener(&world.obs);
    history.set_receive_buffer(usize::MAX);
    let worker = world.system.spawn_worker();
    let stop = AtomicBool::new(false);
    let stop = &stop;
    let world = &world;
    std::thread::scope(|scope| {
        for port in [11, 12] {
            scope.spawn(move || {
                let socket = world.route();
                while !stop.load(Relaxed) {
                    let client = world.client().with_fd(5, &world.net());
                    for flags in [ACKED | NLM_F_ECHO, ACKED] {
                        let answer = talk(&socket, &req(RTM_NEWNSID, flags, port).nsid(-1).fd(5).done(), &client);
                        assert!(!answer.is_empty());
                    }
                    assert_eq!(got(&talk(&socket, &req(RTM_GETNSID, REQUEST, 1).fd(5).done(), &client)).len(), 1);
                }
            });
        }
        scope.spawn(|| {
            let (socket, client) = (world.route(), world.client());
            while !stop.load(Relaxed) {
                let listed = ids(&got(&talk(&socket, &req(RTM_GETNSID, DUMP, 1).done(), &client)));
                assert!(listed.is_sorted() && listed.contains(&1_000_000), "{listed:?}");
            }
        });
        scope.spawn(|| {
            let client = world.client();
            while !stop.load(Relaxed) {
                let listener = world.rtnl.open(&lasting, Protocol::Route, &world.root);
                bind_aside(&listener);
                set(&listener, NETLINK_LISTEN_ALL_NSID, 1, &client);
                set(&listener, NETLINK_ADD_MEMBERSHIP, RTNLGRP_NSID, &client);
                meet(&lasting, &world.obs);
                std::thread::yield_now();
                let _ = listener.recv(100);
                assert_eq!(world.rtnl.sockets(&lasting).len(), 1, "those before are gone");
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(400));
        stop.store(true, Relaxed);
    });
    drop(worker);
    while world.system.step().more {}
    let mut living = BTreeSet::new();
    for event in got(&drain(&history)) {
        match event {
            Got::Nsid(RTM_NEWNSID, _, _, id, _) => assert!(living.insert(id), "NEW of a living id"),
            Got::Nsid(RTM_DELNSID, _, _, id, _) => assert!(living.remove(&id), "DEL of a dead id"),
            other => panic!("{other:?}"),
        }
    }
    assert!(living.is_empty(), "{living:?}");
}

#[test]
fn two_receivers_share_a_dump() {
    let world = World::new();
    let peers: Vec<_> = (0..3000).map(|_| world.net()).collect();
    peers.iter().for_each(|peer| meet(&world.obs, peer));
    let (socket, client) = (world.route(), world.client());
    socket.send(&req(RTM_GETNSID, DUMP, 1).done(), None, &client).unwrap();
    let take = || {
        let mut mine = Vec::new();
        // Another receiver may hold the only datagram while it produces the next.
        while socket.dump_running() || socket.readable() {
            mine.extend(socket.recv(100).unwrap());
        }
        got(&mine)
    };
    let (one, two) = std::thread::scope(|scope| {
        let other = scope.spawn(take);
        (take(), other.join().unwrap())
    });
    let mut all: Vec<i32> = ids(&one).into_iter().chain(ids(&two)).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..3000), "each entry once");
    assert_eq!(one.iter().chain(&two).filter(|got| **got == done()).count(), 1);
}
