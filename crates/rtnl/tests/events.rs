//! Section J of the checklist: events and multicast.

mod common;

use common::*;
use pernet::{Cred, NetRef, Nsid, Origin};
use pernet_rtnl::{Datagram, LocalClient, SockAddr, SockError, Socket};
use pernet_wire::uapi::*;
use pernet_wire::{Errno, MsgHeader};

fn setting() -> (World, Socket, LocalClient) {
    let world = World::new();
    let client = world.client().with_fd(12, &world.net()).with_fd(13, &world.net());
    let socket = world.route();
    (world, socket, client)
}

fn new(seq: u32, id: i32, fd: i32) -> Vec<u8> {
    req(RTM_NEWNSID, ACKED, seq).nsid(id).fd(fd).done()
}

fn settle(world: &World) {
    while world.system.step().more {}
}

/// Bytes on their way from the kernel: (port and seq of the header, source, ancillary id).
fn signs(datagram: &Datagram) -> (u32, u32, SockAddr, Option<i32>) {
    let header = MsgHeader::read(&datagram.bytes).unwrap();
    (header.portid, header.seq, datagram.from, datagram.origin_nsid)
}

const GROUP: SockAddr = SockAddr { portid: 0, groups: 0x0800_0000 };

#[test]
fn c142_whose_port_and_seq() {
    let (world, socket, client) = setting();
    let listener = world.listener(&world.obs);
    socket.send(&new(77, 4, 12), None, &client).unwrap();
    let peer = world.net();
    assert_eq!(world.obs.peernet2id_alloc(&peer), Some(Nsid::ZERO));
    drop(peer);
    settle(&world);
    let heard = drain(&listener);
    assert_eq!(got(&heard), [reply(77, 4), reply(0, 0), gone(0)]);
    let signs: Vec<_> = heard.iter().map(signs).collect();
    assert_eq!(signs, [(TGID, 77, GROUP, None), (0, 0, GROUP, None), (0, 0, GROUP, None)]);
}

#[test]
fn c142_one_event_per_change() {
    let (world, socket, client) = setting();
    let listener = world.listener(&world.obs);
    let peer = world.net();
    for _ in 0..3 {
        meet(&world.obs, &peer);
    }
    socket.send(&new(1, 9, 12), None, &client).unwrap();
    drop(peer);
    settle(&world);
    assert_eq!(got(&drain(&listener)), [reply(0, 0), reply(1, 9), gone(0)]);
}

#[test]
fn who_is_not_bound_is_a_member_and_hears_nothing() {
    let (world, socket, client) = setting();
    let open = || world.rtnl.open(&world.obs, pernet_rtnl::Protocol::Route, &world.root);
    let (here, everywhere) = (open(), open());
    set(&everywhere, NETLINK_LISTEN_ALL_NSID, 1, &client);
    for listener in [&here, &everywhere] {
        set(listener, NETLINK_ADD_MEMBERSHIP, RTNLGRP_NSID, &client);
        assert_eq!(listener.local_addr(), GROUP);
    }
    let peer = world.net();
    world.name(&peer, 40);
    meet(&peer, &world.net());
    assert_eq!((drain(&here).len(), drain(&everywhere).len()), (0, 0));
    // A request binds it, and keeps the membership; a bind by itself replaces it.
    socket.bind(SockAddr::new(0, 0), &client).unwrap();
    here.send(&new(1, 5, 12), None, &client).unwrap();
    assert_eq!(got(&drain(&here)), [reply(1, 5), ack()]);
    meet(&world.obs, &world.net());
    assert_eq!(drain(&here).len(), 1);
}

#[test]
fn c143_the_event_comes_before_the_ack() {
    let (world, socket, client) = setting();
    set(&socket, NETLINK_ADD_MEMBERSHIP, RTNLGRP_NSID, &client);
    assert_eq!(got(&talk(&socket, &new(5, 4, 12), &client)), [reply(5, 4), ack()]);
    drop(world);
}

#[test]
fn c144_failures_are_silent() {
    let (world, socket, client) = setting();
    let listener = world.listener(&world.obs);
    for bytes in [new(1, 4, 99), req(RTM_NEWNSID, ACKED, 2).fd(12).done(), req(RTM_DELNSID, ACKED, 3).nsid(1).done()] {
        socket.send(&bytes, None, &client).unwrap();
    }
    socket.send(&new(4, 4, 12), None, &client.clone().with_cred(world.nobody())).unwrap();
    assert_eq!(listener.recv(100), Ok(None));
    socket.send(&new(5, 4, 12), None, &client).unwrap();
    socket.send(&new(6, 5, 12), None, &client).unwrap();
    assert_eq!(got(&drain(&listener)), [reply(5, 4)], "named already: no second event");
}

/// A listener in the requester's namespace that hears all, and namespaces P (id 40 there) and Q (no id).
fn all_nsid(world: &World) -> (Socket, NetRef, NetRef) {
    let listener = world.listener(&world.obs);
    set(&listener, NETLINK_LISTEN_ALL_NSID, 1, &world.client());
    let (p, q) = (world.net(), world.net());
    world.name(&p, 40);
    drain(&listener);
    (listener, p, q)
}

#[test]
fn c145_who_hears_what() {
    let (world, _socket, _client) = setting();
    let (all, p, _q) = all_nsid(&world);
    let (plain, inside) = (world.listener(&world.obs), world.listener(&p));
    meet(&p, &world.net());
    assert_eq!(got(&drain(&inside)), [reply(0, 0)]);
    assert_eq!(plain.recv(100), Ok(None));
    assert_eq!(got(&drain(&all)), [reply(0, 0)]);
    set(&all, NETLINK_DROP_MEMBERSHIP, RTNLGRP_NSID, &world.client());
    meet(&p, &world.net());
    assert_eq!(all.recv(100), Ok(None), "not a member of the group");
}

#[test]
fn c146_foreign_events_need_a_name_and_carry_it() {
    let (world, _socket, client) = setting();
    let (all, p, q) = all_nsid(&world);
    let peer = world.net();
    meet(&p, &peer);
    meet(&q, &peer);
    let heard = drain(&all);
    assert_eq!(heard.iter().map(signs).collect::<Vec<_>>(), [(0, 0, GROUP, Some(40))], "Q has no name here");
    world.name(&q, 41);
    drain(&all);
    drop(peer);
    settle(&world);
    let mut origins: Vec<_> = drain(&all).iter().map(|d| d.origin_nsid).collect();
    origins.sort_unstable();
    assert_eq!(origins, [Some(40), Some(41)], "one death, two tables");
    set(&all, NETLINK_LISTEN_ALL_NSID, 0, &client);
    meet(&p, &world.net());
    assert_eq!(all.recv(100), Ok(None), "switched off");
}

#[test]
fn c146_the_death_of_the_origin() {
    let (world, _socket, _client) = setting();
    let (all, p, _q) = all_nsid(&world);
    meet(&p, &world.obs);
    drain(&all);
    drop(p);
    settle(&world);
    let heard = drain(&all);
    assert_eq!((got(&heard), heard[0].origin_nsid), (vec![gone(40)], None));
}

#[test]
fn c147_own_events_and_replies_carry_none() {
    let (world, _socket, client) = setting();
    let (all, _p, _q) = all_nsid(&world);
    let answer = talk(&all, &new(1, 4, 12), &client);
    assert_eq!(got(&answer), [reply(1, 4), ack()]);
    let by_nsid = talk(&all, &req(RTM_GETNSID, REQUEST, 2).nsid(40).done(), &client);
    assert!(answer.iter().chain(&by_nsid).all(|datagram| datagram.origin_nsid.is_none()));
}

#[test]
fn c148_the_port_is_the_socket_s() {
    let (world, socket, client) = setting();
    let listener = world.listener(&world.obs);
    let mut bytes = new(1, 4, 12);
    bytes[12..16].copy_from_slice(&4242u32.to_ne_bytes());
    socket.send(&bytes, None, &client).unwrap();
    assert_eq!(signs(&drain(&listener)[0]).0, socket.local_addr().portid);
}

#[test]
fn c149_overrun() {
    let (world, _socket, client) = setting();
    let listener = world.listener(&world.obs);
    listener.set_receive_buffer(2304);
    let mut peers = Vec::new();
    let mut name = |count: usize| {
        for _ in 0..count {
            let peer = world.net();
            meet(&world.obs, &peer);
            peers.push(peer);
        }
    };
    name(12);
    assert_eq!(listener.recv(100), Err(SockError::NoBufs));
    assert_eq!(ids(&got(&drain(&listener))), [0, 1]);
    name(1);
    assert_eq!(ids(&got(&drain(&listener))), [12], "drained, so it hears again");

    // Told once until it is drained, and deaf meanwhile even though there is room.
    name(5);
    assert_eq!(listener.recv(100), Err(SockError::NoBufs));
    assert!(listener.recv(100).unwrap().is_some());
    name(5);
    assert_eq!(ids(&got(&drain(&listener))), [14]);
    name(5);
    assert_eq!(listener.take_error(), Some(SockError::NoBufs), "SO_ERROR takes it too");
    assert_eq!(drain(&listener).len(), 2);

    set(&listener, NETLINK_NO_ENOBUFS, 1, &client);
    name(5);
    assert_eq!(drain(&listener).len(), 2, "and no error");
}

#[test]
fn c150_group_numbers() {
    let (_world, socket, client) = setting();
    for opt in [NETLINK_ADD_MEMBERSHIP, NETLINK_DROP_MEMBERSHIP] {
        for group in 1..=39u32 {
            socket.setsockopt(opt, &group.to_ne_bytes(), &client).unwrap();
        }
        for group in [0, 40, 64, 65, 1000, u32::MAX] {
            let refused = socket.setsockopt(opt, &group.to_ne_bytes(), &client).unwrap_err();
            assert_eq!((refused, refused.errno()), (SockError::NoSuchGroup, Errno::EINVAL));
        }
    }
}

#[test]
fn c151_the_legacy_bit() {
    let (world, _socket, client) = setting();
    let listener = world.rtnl.open(&world.obs, pernet_rtnl::Protocol::Route, &world.root);
    listener.bind(SockAddr::new(0, 0x0800_0000), &client).unwrap();
    meet(&world.obs, &world.net());
    assert_eq!(got(&drain(&listener)), [reply(0, 0)]);
    listener.bind(SockAddr::new(listener.local_addr().portid, 0), &client).unwrap();
    meet(&world.obs, &world.net());
    assert_eq!(listener.recv(100), Ok(None));
}

#[test]
fn echo_excludes_the_port_everywhere() {
    // Linux compares numbers only: a foreign listener that happens to have the requester's port misses the event.
    let world = World::new();
    let (a, client) = (world.net(), world.client().with_fd(12, &world.net()).with_fd(13, &world.net()));
    world.name(&a, 9);
    let listen = |port| {
        let listener = world.rtnl.open(&world.obs, pernet_rtnl::Protocol::Route, &world.root);
        listener.bind(SockAddr::new(port, 0x0800_0000), &client).unwrap();
        set(&listener, NETLINK_LISTEN_ALL_NSID, 1, &client);
        listener
    };
    let (same, other, requester) = (listen(4242), listen(4243), world.route_in(&a));
    requester.bind(SockAddr::new(4242, 0), &client).unwrap();
    for (flags, fd, heard_by_same) in [(ACKED | NLM_F_ECHO, 12, 0), (ACKED, 13, 1)] {
        requester.send(&req(RTM_NEWNSID, flags, 1).nsid(-1).fd(fd).done(), None, &client).unwrap();
        assert_eq!((drain(&same).len(), drain(&other).len()), (heard_by_same, 1));
    }
}

#[test]
fn a_message_to_the_group_by_a_program() {
    let (world, socket, client) = setting();
    let (all, p, _q) = all_nsid(&world);
    let listener = world.listener(&world.obs);
    let request = new(77, -1, 12);
    socket.send(&request, Some(SockAddr::new(0, 0x0800_0000)), &client).unwrap();
    let heard = drain(&listener);
    assert_eq!((&heard[0].bytes, heard[0].from.portid), (&request, TGID), "raw, and not from the kernel");
    assert_eq!(got(&heard[1..]), [reply(77, 0)]);
    assert_eq!(drain(&all).len(), 2);
    let inside = world.route_in(&p);
    inside.send(&[b'y'; 30], Some(SockAddr::new(0, 0x0800_0000)), &client).unwrap();
    let heard = drain(&all);
    assert_eq!((heard[0].bytes.as_slice(), heard[0].origin_nsid), (&[b'y'; 30][..], Some(40)));
}

#[test]
fn a_reused_id_is_announced_in_order() {
    // In the kernel NEW can overtake DEL; here the queue is the history of the table.
    let world = World::new();
    let listener = world.listener(&world.obs);
    listener.set_receive_buffer(1 << 20);
    let worker = world.system.spawn_worker();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let peer = world.net();
                    meet(&world.obs, &peer);
                }
            });
        }
    });
    drop(worker);
    settle(&world);
    let mut living = std::collections::BTreeSet::new();
    let events = got(&drain(&listener));
    for event in &events {
        match event {
            Got::Nsid(RTM_NEWNSID, _, _, id, _) => {
                assert!(living.insert(*id), "NEW of a living id")
            }
            Got::Nsid(RTM_DELNSID, _, _, id, _) => assert!(living.remove(id), "DEL of a dead id"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((events.len(), living.len()), (800, 0));
}

#[test]
fn a_closed_listener_is_forgotten() {
    let (world, _socket, _client) = setting();
    let (all, p, _q) = all_nsid(&world);
    let weak = p.handle();
    drop(all);
    meet(&p, &world.net());
    drop(p);
    settle(&world);
    assert!(weak.upgrade().is_none(), "no list keeps a namespace alive");
}

#[test]
fn an_opener_without_root_hears_its_own_namespaces() {
    let world = World::new();
    let child = world.system.init_user_ns().child(&world.root);
    let child_root = Cred::root(&child);
    let own = world.system.create(&child_root).unwrap();
    let client = LocalClient::new(child_root.clone(), 9);
    let all = world.rtnl.open(&own, pernet_rtnl::Protocol::Route, &child_root);
    bind_aside(&all);
    set(&all, NETLINK_LISTEN_ALL_NSID, 1, &client);
    set(&all, NETLINK_ADD_MEMBERSHIP, RTNLGRP_NSID, &client);
    let (foreign, mine) = (world.net(), world.system.create(&child_root).unwrap());
    for (peer, id) in [(&foreign, 9), (&mine, 20)] {
        own.assign_nsid(peer, Nsid::new(id), Origin::KERNEL).unwrap();
    }
    drain(&all);
    meet(&foreign, &own);
    assert_eq!(all.recv(100), Ok(None), "c157: no CAP_NET_BROADCAST in the origin's owner");
    meet(&mine, &own);
    assert_eq!(drain(&all).iter().map(|d| d.origin_nsid).collect::<Vec<_>>(), [Some(20)]);
}
