//! Section K of the checklist: who may what.

mod common;

use common::*;
use pernet::{Cap, Cred, NetRef, Nsid, Origin};
use pernet_rtnl::{LocalClient, Protocol, SockAddr, SockError, Socket};
use pernet_wire::Errno;
use pernet_wire::uapi::*;

/// A (fd 12) is 3 here, T (fd 13) is 7, X (fd 14) has no name.
fn setting() -> (World, LocalClient) {
    let world = World::new();
    let (a, t) = (world.net(), world.net());
    world.name(&a, 3);
    world.name(&t, 7);
    let client = world.client().with_fd(12, &a).with_fd(13, &t).with_fd(14, &world.net()).with_pid(1, &world.obs);
    (world, client)
}

fn open(world: &World, net: &NetRef, opener: &Cred) -> Socket {
    let socket = world.rtnl.open(net, Protocol::Route, opener);
    set(&socket, NETLINK_EXT_ACK, 1, &world.client());
    socket
}

fn new() -> Vec<u8> {
    req(RTM_NEWNSID, ACKED, 1).nsid(9).fd(14).done()
}

fn denied() -> Got {
    fails(Errno::EPERM, None, None)
}

fn no_target() -> Got {
    fails(Errno::EACCES, Some("Target netns reference is invalid"), Some(28))
}

#[test]
fn c152_changes_need_net_admin_before_any_parsing() {
    let (world, client) = setting();
    let nobody = client.clone().with_cred(world.nobody());
    let socket = open(&world, &world.obs, &world.nobody());
    for ty in (16..=RTM_MAX).filter(|ty| ty % 4 != 2) {
        assert_eq!(got(&talk(&socket, &req(ty, ACKED, 1).done(), &nobody)), [denied()], "{ty}");
    }
    assert_eq!(got(&talk(&socket, &req(RTM_NEWNSID, ACKED, 1).bytes(1, b"x").done(), &nobody)), [denied()]);
    // CAP_SYS_ADMIN is irrelevant, CAP_NET_ADMIN enough.
    let admin = world.root_without(&[Cap::SysAdmin]);
    let socket = open(&world, &world.obs, &admin);
    assert_eq!(got(&talk(&socket, &new(), &client.with_cred(admin.clone()))), [ack()]);
}

#[test]
fn c153_opener_and_sender() {
    let (world, client) = setting();
    let without = world.root_without(&[Cap::NetAdmin]);
    let weak = client.clone().with_cred(without.clone());
    let opened_with = open(&world, &world.obs, &world.root);
    assert_eq!(got(&talk(&opened_with, &new(), &weak)), [denied()]);
    let opened_without = open(&world, &world.obs, &without);
    assert_eq!(got(&talk(&opened_without, &new(), &client)), [denied()]);
    // Being connected to the kernel is no explicit destination; an address given with the send is.
    opened_without.connect(KERNEL, &client).unwrap();
    assert_eq!(got(&talk(&opened_without, &new(), &client)), [denied()]);
    opened_without.send(&new(), Some(KERNEL), &weak).unwrap();
    assert_eq!(got(&drain(&opened_without)), [denied()], "the sender still counts");
    opened_without.send(&new(), Some(KERNEL), &client).unwrap();
    assert_eq!(got(&drain(&opened_without)), [ack()]);
}

#[test]
fn c154_targets_have_no_waiver() {
    let (world, client) = setting();
    let without = world.root_without(&[Cap::NetAdmin]);
    let request = req(RTM_GETNSID, REQUEST, 1).fd(12).target(7).done();
    let opened_without = open(&world, &world.obs, &without);
    assert_eq!(got(&talk(&opened_without, &request, &client)), [no_target()]);
    opened_without.send(&request, Some(KERNEL), &client).unwrap();
    assert_eq!(got(&drain(&opened_without)), [no_target()]);
    let weak = client.clone().with_cred(without);
    assert_eq!(got(&talk(&open(&world, &world.obs, &world.root), &request, &weak)), [no_target()]);
}

#[test]
fn c155_reading_needs_nothing() {
    let (world, client) = setting();
    let nobody = client.with_cred(world.nobody());
    let socket = open(&world, &world.obs, &world.nobody());
    let get = || req(RTM_GETNSID, REQUEST, 1);
    assert_eq!(got(&talk(&socket, &get().fd(12).done(), &nobody)), [reply(1, 3)]);
    assert_eq!(got(&talk(&socket, &get().pid(1).done(), &nobody)), [reply(1, -1)]);
    assert_eq!(got(&talk(&socket, &get().nsid(3).done(), &nobody)), [reply(1, 3)]);
    let listed = got(&talk(&socket, &req(RTM_GETNSID, DUMP, 1).done(), &nobody));
    assert_eq!(listed, [entry(1, 3), entry(1, 7), done()]);
    set(&socket, NETLINK_ADD_MEMBERSHIP, RTNLGRP_NSID, &nobody);
}

#[test]
fn c156_listening_to_all_needs_net_broadcast() {
    let (world, client) = setting();
    let without = client.clone().with_cred(world.root_without(&[Cap::NetBroadcast]));
    let socket = open(&world, &world.obs, &world.root);
    for value in [1u32, 0] {
        let refused = socket.setsockopt(NETLINK_LISTEN_ALL_NSID, &value.to_ne_bytes(), &without);
        assert_eq!(refused, Err(SockError::NotPermitted), "setting and clearing");
    }
    // The opener does not count here.
    let opened_without = open(&world, &world.obs, &without_cred(&world));
    set(&opened_without, NETLINK_LISTEN_ALL_NSID, 1, &client);
}

fn without_cred(world: &World) -> Cred {
    world.root_without(&[Cap::NetBroadcast])
}

#[test]
fn c157_hearing_others_needs_the_opener_s_net_broadcast() {
    let (world, client) = setting();
    let p = world.net();
    world.name(&p, 40);
    let mut heard = Vec::new();
    for opener in [world.root.clone(), without_cred(&world)] {
        let listener = open(&world, &world.obs, &opener);
        bind_aside(&listener);
        set(&listener, NETLINK_LISTEN_ALL_NSID, 1, &client);
        set(&listener, NETLINK_ADD_MEMBERSHIP, RTNLGRP_NSID, &client);
        meet(&p, &world.net());
        heard.push(drain(&listener).len());
    }
    assert_eq!(heard, [1, 0]);
}

#[test]
fn c158_pids_and_fds_are_the_sender_s() {
    let (world, client) = setting();
    let socket = open(&world, &world.obs, &world.root);
    // Another task: the same numbers mean other namespaces.
    let other = world.client().with_fd(12, &world.obs).with_pid(1, &client_net(&world, 7));
    let request = |request: Req| request.done();
    let by_fd = request(req(RTM_GETNSID, REQUEST, 1).fd(12));
    let by_pid = request(req(RTM_GETNSID, REQUEST, 1).pid(1));
    assert_eq!(got(&talk(&socket, &by_fd, &client)), [reply(1, 3)]);
    assert_eq!(got(&talk(&socket, &by_fd, &other)), [reply(1, -1)]);
    assert_eq!(got(&talk(&socket, &by_pid, &client)), [reply(1, -1)]);
    assert_eq!(got(&talk(&socket, &by_pid, &other)), [reply(1, 7)]);
}

fn client_net(world: &World, id: i32) -> NetRef {
    world.obs.net_by_nsid(id).expect("named")
}

#[test]
fn c159_the_socket_s_namespace_counts() {
    let (world, client) = setting();
    let a = client_net(&world, 3);
    let socket = open(&world, &a, &world.root);
    assert_eq!(got(&talk(&socket, &req(RTM_NEWNSID, ACKED, 1).nsid(5).fd(14).done(), &client)), [ack()]);
    assert!(a.net_by_nsid(5).is_some() && world.obs.net_by_nsid(5).is_none());
}

#[test]
fn c159_a_user_namespace_s_root() {
    let (world, client) = setting();
    let child_root = Cred::root(&world.system.init_user_ns().child(&world.root));
    let as_child = client.clone().with_cred(child_root.clone());
    // In a namespace of the initial owner: nothing but reading.
    let socket = open(&world, &world.obs, &child_root);
    assert_eq!(got(&talk(&socket, &new(), &as_child)), [denied()]);
    let target = req(RTM_GETNSID, REQUEST, 1).fd(12).target(7).done();
    assert_eq!(got(&talk(&socket, &target, &as_child)), [no_target()]);
    assert_eq!(ids(&got(&talk(&socket, &req(RTM_GETNSID, DUMP, 1).done(), &as_child))), [3, 7]);
    // In its own: it may name anything it can point at.
    let own = world.system.create(&child_root).unwrap();
    let socket = open(&world, &own, &child_root);
    assert_eq!(got(&talk(&socket, &new(), &as_child)), [ack()]);
    assert_eq!(got(&talk(&socket, &req(RTM_NEWNSID, ACKED, 1).nsid(-1).pid(1).done(), &as_child)), [ack()]);
    let target = req(RTM_GETNSID, REQUEST, 1).fd(12).target(9).done();
    assert_eq!(got(&talk(&socket, &target, &as_child)), [no_target()], "owned by the initial user namespace");
    set(&socket, NETLINK_GET_STRICT_CHK, 1, &as_child);
    let listed = got(&talk(&socket, &req(RTM_GETNSID, DUMP, 1).target(9).done(), &as_child));
    assert_eq!(listed, [dump_fails(Errno::EACCES, "Invalid target network namespace id", Some(20))]);
    let own2 = world.system.create(&child_root).unwrap();
    own.assign_nsid(&own2, Nsid::new(20), Origin::KERNEL).unwrap();
    let target = req(RTM_GETNSID, REQUEST, 1).fd(12).target(20).done();
    assert_eq!(got(&talk(&socket, &target, &as_child)), [Got::Nsid(RTM_NEWNSID, 0, 1, -1, Some(-1))]);
}

#[test]
fn writing_to_others_needs_the_sender_s_net_admin() {
    let (world, client) = setting();
    let without = world.root_without(&[Cap::NetAdmin]);
    let weak = client.clone().with_cred(without.clone());
    for (opener, client, allowed) in [(&world.root, &weak, false), (&without, &client, true)] {
        let socket = open(&world, &world.obs, opener);
        let sent = socket.send(b"x", Some(SockAddr::new(0, 1)), client);
        assert_eq!(sent.is_ok(), allowed);
        assert_eq!(socket.connect(SockAddr::new(999, 0), client).is_ok(), allowed);
    }
    let socket = open(&world, &world.obs, &world.root);
    assert_eq!(socket.send(b"x", Some(SockAddr::new(1, 0)), &weak).unwrap_err().errno(), Errno::EPERM);
    assert_eq!(socket.send(b"x", Some(KERNEL), &weak), Ok(1));
}

#[test]
fn multicast_routing_groups_need_net_admin() {
    let (world, client) = setting();
    let weak = client.clone().with_cred(world.root_without(&[Cap::NetAdmin]));
    let socket = open(&world, &world.obs, &world.root);
    for group in 29..=34u32 {
        let joined = socket.setsockopt(NETLINK_ADD_MEMBERSHIP, &group.to_ne_bytes(), &weak);
        assert_eq!(joined.is_err(), matches!(group, 30 | 31), "{group}");
    }
    let bound = socket.bind(SockAddr::new(0, 1 << 29), &weak);
    assert_eq!((bound, socket.local_addr().portid), (Err(SockError::NotPermitted), 0));
    socket.bind(SockAddr::new(0, u32::MAX), &client).unwrap();
    assert_eq!(socket.local_addr().groups, u32::MAX);
}
