//! A listing while others come and go: no living entry is lost or shown twice, and the disturbance is told
//! (`NLM_F_DUMP_INTR`). Linux resumes by counting entries, so that deletions hide living ones, and never tells (W12).

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use common::*;
use pernet::{NetRef, Nsid, Origin};
use pernet_rtnl::{Datagram, Socket};
use pernet_wire::Messages;
use pernet_wire::uapi::*;

fn name(observer: &NetRef, peer: &NetRef, id: i32) {
    observer.assign_nsid(peer, Nsid::new(id), Origin::KERNEL).expect("free");
}

fn settle(world: &World) {
    while world.system.step().more {}
}

fn begin(socket: &Socket, world: &World, seq: u32) {
    socket.send(&req(RTM_GETNSID, DUMP, seq).done(), None, &world.client()).expect("sent");
}

fn interrupted(datagram: &Datagram) -> bool {
    Messages::new(&datagram.bytes).any(|msg| msg.header.flags & NLM_F_DUMP_INTR != 0)
}

/// Every tenth id lasts; between any two datagrams some of the others die, before the cursor and behind it, and new
/// ones come, before it and behind it.
#[test]
fn whoever_lasts_is_listed_once_whatever_happens_between_datagrams() {
    const IDS: i32 = 6000;
    let world = World::new();
    let mut peers: Vec<Option<NetRef>> = (0..IDS).map(|_| Some(world.net())).collect();
    for (id, peer) in (0..).zip(&peers) {
        name(&world.obs, peer.as_ref().unwrap(), id);
    }
    let ever: BTreeSet<i32> = (0..IDS + 1000).collect();
    let lasting: BTreeSet<i32> = (0..IDS).step_by(10).collect();
    let socket = world.route();
    begin(&socket, &world, 1);
    let (mut shown, mut flags, mut turn, mut fresh) = (Vec::new(), Vec::new(), 0, Vec::new());
    while let Some(datagram) = socket.recv(4096).expect("no overrun") {
        flags.push(interrupted(&datagram));
        shown.extend(ids(&got(std::slice::from_ref(&datagram))));
        turn += 1;
        for (id, peer) in (0..).zip(&mut peers) {
            if id % 10 != 0 && (id * 7 + turn) % 5 == 0 {
                *peer = None;
            }
        }
        settle(&world);
        // The lowest free numbers: most of them are behind the cursor, some before it.
        for _ in 0..60 {
            let peer = world.net();
            meet(&world.obs, &peer);
            fresh.push(peer);
        }
        let peer = world.net();
        name(&world.obs, &peer, IDS + turn);
        fresh.push(peer);
    }
    assert!(shown.is_sorted() && shown.windows(2).all(|pair| pair[0] != pair[1]), "each once, ascending");
    let shown: BTreeSet<i32> = shown.into_iter().collect();
    assert!(lasting.is_subset(&shown), "lost: {:?}", lasting.difference(&shown).collect::<Vec<_>>());
    assert!(shown.is_subset(&ever));
    assert!(flags.len() > 5, "{} datagrams", flags.len());
    // A receive makes the next datagram, as in Linux: the second was made before the first change.
    assert_eq!(flags[..2], [false; 2]);
    assert!(flags[2..].iter().all(|flag| *flag), "told from the first change on: {flags:?}");
}

/// Naming elsewhere, failed requests, and deaths of those that have no id here disturb nobody.
#[test]
fn what_does_not_change_the_table_is_no_interruption() {
    let world = World::new();
    let peers: Vec<NetRef> = (0..500).map(|_| world.net()).collect();
    peers.iter().for_each(|peer| meet(&world.obs, peer));
    let (socket, other) = (world.route(), world.net());
    begin(&socket, &world, 1);
    let mut count = 0;
    while let Some(datagram) = socket.recv(4096).expect("no overrun") {
        assert!(!interrupted(&datagram));
        count += ids(&got(std::slice::from_ref(&datagram))).len();
        meet(&other, &peers[count % 500]);
        let refused = world.obs.assign_nsid(&other, Nsid::new(3), Origin::KERNEL);
        assert!(refused.is_err() && world.obs.peernet2id_alloc(&peers[7]).is_some());
        drop(world.net());
        settle(&world);
    }
    assert_eq!(count, 500);
}

/// The same among threads: two make names and let them die, a third tears down, and one lists.
#[test]
fn whoever_lasts_is_listed_once_beside_threads() {
    const LISTINGS: u32 = 40;
    let world = World::new();
    let lasting: Vec<NetRef> = (0..400).map(|_| world.net()).collect();
    // Far apart, so that automatic numbers fall between them.
    for (at, peer) in (0..).zip(&lasting) {
        name(&world.obs, peer, at * 3);
    }
    let wanted: BTreeSet<i32> = (0..400).map(|at| at * 3).collect();
    let (stop, made, mut told) = (AtomicBool::new(false), AtomicUsize::new(0), 0);
    let (stop, made, all) = (&stop, &made, &world);
    let mut wrong = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                while !stop.load(SeqCst) {
                    let some: Vec<NetRef> = (0..9).map(|_| all.net()).collect();
                    some.iter().for_each(|peer| meet(&all.obs, peer));
                    made.fetch_add(some.len(), SeqCst);
                    std::thread::yield_now();
                }
            });
        }
        scope.spawn(move || {
            while !stop.load(SeqCst) {
                all.system.step();
                std::thread::yield_now();
            }
        });
        let socket = all.route();
        for seq in 0..LISTINGS {
            begin(&socket, all, seq);
            let (mut shown, mut done) = (Vec::new(), 0);
            let before = made.load(SeqCst);
            while let Some(datagram) = socket.recv(4096).expect("no overrun") {
                told += usize::from(interrupted(&datagram));
                let messages = got(std::slice::from_ref(&datagram));
                done += messages.iter().filter(|got| matches!(got, Got::Ack(NLMSG_DONE, _, Ok(()), ..))).count();
                shown.extend(ids(&messages));
                // The others have their turn between two datagrams of the first listing, whatever the machine.
                while seq == 0 && made.load(SeqCst) == before {
                    std::thread::yield_now();
                }
            }
            let once = shown.windows(2).all(|pair| pair[0] < pair[1]);
            let shown: BTreeSet<i32> = shown.into_iter().collect();
            if !once || done != 1 || !wanted.is_subset(&shown) {
                wrong.push((seq, once, done, wanted.difference(&shown).copied().collect::<Vec<_>>()));
            }
        }
        stop.store(true, SeqCst);
    });
    assert_eq!(wrong, []);
    assert!(told > 0, "at least the first listing was disturbed");
}
