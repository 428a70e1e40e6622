//! Section F of the checklist: RTM_NEWNSID. Each test is named by its statement.

mod common;

use common::*;
use pernet_rtnl::{LocalClient, Socket};
use pernet_wire::uapi::*;
use pernet_wire::{Errno, Messages, Reply};

const BAD_PEER: &str = "Peer netns reference is invalid";
const NAMED: &str = "Peer netns already has a nsid assigned";
const TAKEN: &str = "The specified nsid is already used";
const SHORT: &str = "Attribute failed policy validation";

/// Descriptor 12 is a namespace, 13 another, 20 something else; process 7 lives in a third, process 8 in the requester's.
fn setting() -> (World, Socket, LocalClient) {
    let world = World::new();
    let client = world
        .client()
        .with_fd(12, &world.net())
        .with_fd(13, &world.net())
        .with_other_fd(20)
        .with_pid(7, &world.net())
        .with_pid(8, &world.obs);
    let socket = world.route();
    (world, socket, client)
}

fn new(seq: u32) -> Req {
    req(RTM_NEWNSID, ACKED, seq)
}

#[test]
fn c084_attributes_start_at_20() {
    let (world, socket, client) = setting();
    // Family byte and padding of any value; the first attribute right behind.
    let mut bytes = new(1).nsid(6).fd(12).done();
    bytes[16..20].copy_from_slice(&[200, 1, 2, 3]);
    assert_eq!(got(&talk(&socket, &bytes, &client)), [ack()]);
    assert!(world.obs.net_by_nsid(6).is_some());
    let refused = got(&talk(&socket, &new(2).bytes(NETNSA_NSID, &[1, 2]).done(), &client));
    assert_eq!(refused, [fails(Errno::ERANGE, Some(SHORT), Some(20))]);
}

#[test]
fn c085_no_nsid() {
    let (_world, socket, client) = setting();
    for request in [new(1).done(), new(1).fd(12).done()] {
        assert_eq!(got(&talk(&socket, &request, &client)), [fails(Errno::EINVAL, Some("nsid is missing"), None)]);
    }
}

#[test]
fn c086_no_peer_and_nsid_first() {
    let (_world, socket, client) = setting();
    let missing = fails(Errno::EINVAL, Some("Peer netns reference is missing"), None);
    assert_eq!(got(&talk(&socket, &new(1).nsid(1).done(), &client)), [missing]);
    let nsid_first = got(&talk(&socket, &new(1).fd(999).done(), &client));
    assert_eq!(nsid_first, [fails(Errno::EINVAL, Some("nsid is missing"), None)]);
}

#[test]
fn c087_unknown_pids() {
    let (_world, socket, client) = setting();
    for pid in [0, -1, 999_999] {
        let refused = got(&talk(&socket, &new(1).nsid(1).pid(pid).done(), &client));
        assert_eq!(refused, [fails(Errno::ESRCH, Some(BAD_PEER), Some(28))], "{pid}");
    }
}

#[test]
fn c088_closed_descriptors() {
    let (_world, socket, client) = setting();
    for fd in [-1, 9999] {
        let refused = got(&talk(&socket, &new(1).nsid(1).fd(fd).done(), &client));
        assert_eq!(refused, [fails(Errno::EBADF, Some(BAD_PEER), Some(28))]);
    }
}

#[test]
fn c089_descriptors_of_other_things() {
    let (_world, socket, client) = setting();
    let refused = got(&talk(&socket, &new(1).fd(20).nsid(1).done(), &client));
    assert_eq!(refused, [fails(Errno::EINVAL, Some(BAD_PEER), Some(20))]);
}

#[test]
fn c090_pid_beats_fd() {
    let (world, socket, client) = setting();
    let refused = got(&talk(&socket, &new(1).nsid(1).fd(12).pid(0).done(), &client));
    assert_eq!(refused, [fails(Errno::ESRCH, Some(BAD_PEER), Some(36))]);
    assert_eq!(got(&talk(&socket, &new(2).nsid(1).fd(999).pid(8).done(), &client)), [ack()]);
    assert_eq!(world.obs.net_by_nsid(1), Some(world.obs.clone()));
}

#[test]
fn c091_named_already() {
    let (_world, socket, client) = setting();
    talk(&socket, &new(1).nsid(5).fd(12).done(), &client);
    for id in [5, 6, -1] {
        let refused = got(&talk(&socket, &new(2).nsid(id).fd(12).done(), &client));
        assert_eq!(refused, [fails(Errno::EEXIST, Some(NAMED), Some(28))]);
    }
    talk(&socket, &new(1).nsid(8).pid(7).done(), &client);
    let by_pid = got(&talk(&socket, &new(2).pid(7).nsid(9).done(), &client));
    assert_eq!(by_pid, [fails(Errno::EEXIST, Some(NAMED), Some(20))]);
}

#[test]
fn c092_id_taken() {
    let (_world, socket, client) = setting();
    talk(&socket, &new(1).nsid(5).fd(12).done(), &client);
    let taken = |offset| [fails(Errno::EEXIST, Some(TAKEN), Some(offset))];
    assert_eq!(got(&talk(&socket, &new(2).nsid(5).fd(13).done(), &client)), taken(20));
    assert_eq!(got(&talk(&socket, &new(3).fd(13).nsid(5).done(), &client)), taken(28));
}

#[test]
fn c093_named_beats_taken() {
    let (_world, socket, client) = setting();
    talk(&socket, &new(1).nsid(5).fd(12).done(), &client);
    talk(&socket, &new(1).nsid(7).fd(13).done(), &client);
    let refused = got(&talk(&socket, &new(2).nsid(7).fd(12).done(), &client));
    assert_eq!(refused, [fails(Errno::EEXIST, Some(NAMED), Some(28))]);
}

#[test]
fn c094_negative_means_automatic() {
    for id in [-1, -2, i32::MIN] {
        let (world, socket, client) = setting();
        assert_eq!(got(&talk(&socket, &new(1).nsid(id).fd(12).done(), &client)), [ack()]);
        assert!(world.obs.net_by_nsid(0).is_some());
    }
}

#[test]
fn c095_short_attributes() {
    let (_world, socket, client) = setting();
    let signed = Some((i64::from(i32::MIN), i64::from(i32::MAX)));
    let unsigned = Some((0, u64::from(u32::MAX)));
    for (ty, tag, signed, unsigned) in [
        (NETNSA_NSID, 8, signed, None),
        (NETNSA_PID, 4, None, unsigned),
        (NETNSA_FD, 4, None, unsigned),
        (NETNSA_TARGET_NSID, 8, signed, None),
    ] {
        for len in 0..4 {
            let answer = talk(&socket, &new(1).bytes(ty, &[0; 4][..len]).done(), &client);
            let read = Reply::read(&Messages::new(&answer[0].bytes).next().unwrap()).unwrap();
            let policy = read.ext.policy.expect("a policy");
            assert_eq!((read.result, read.ext.msg.as_deref()), (Err(Errno::ERANGE), Some(SHORT)));
            assert_eq!((policy.ty, policy.signed, policy.unsigned), (tag, signed, unsigned));
        }
    }
}

#[test]
fn c096_what_legacy_reading_accepts() {
    let (world, socket, client) = setting();
    let long = new(1).bytes(NETNSA_NSID, &[4, 0, 0, 0, 9, 9, 9, 9, 9]).fd(12).bytes(NETNSA_CURRENT_NSID, b"").done();
    assert_eq!(got(&talk(&socket, &long, &client)), [ack()]);
    assert!(world.obs.net_by_nsid(4).is_some());
    let odd = new(2).bytes(0, b"x").bytes(100, b"y").i32(NETNSA_NSID | 0x8000, 5).i32(NETNSA_FD | 0x4000, 13).done();
    assert_eq!(got(&talk(&socket, &odd, &client)), [ack()]);
    assert!(world.obs.net_by_nsid(5).is_some());
}

#[test]
fn c097_the_last_of_a_type_counts() {
    let (world, socket, client) = setting();
    let twice = new(1).nsid(5).fd(999).fd(12).nsid(6).done();
    assert_eq!(got(&talk(&socket, &twice, &client)), [ack()]);
    assert!(world.obs.net_by_nsid(6).is_some() && world.obs.net_by_nsid(5).is_none());
}

#[test]
fn c098_leftover_bytes_warn() {
    let (_world, socket, client) = setting();
    let text = "bytes leftover after parsing attributes";
    let answer = talk(&socket, &new(1).nsid(5).fd(12).leftover(), &client);
    assert_eq!(got(&answer), [Got::Ack(NLMSG_ERROR, 0x300, Ok(()), Some(text.into()), None)]);
    assert_eq!(answer[0].bytes.len(), 80);
    set(&socket, NETLINK_EXT_ACK, 0, &client);
    assert_eq!(got(&talk(&socket, &new(1).nsid(6).fd(13).leftover(), &client)), [ack()]);
}

#[test]
fn c099_strict_sockets_are_read_leniently_here() {
    let (world, _, client) = setting();
    let socket = world.strict();
    let odd = new(1).bytes(0, b"").bytes(77, b"").nsid(5).fd(12).leftover();
    let answer = got(&talk(&socket, &odd, &client));
    assert!(matches!(answer[..], [Got::Ack(_, 0x300, Ok(()), Some(_), None)]), "{answer:?}");
}

#[test]
fn c100_family_padding_and_flags_are_ignored() {
    let (world, socket, client) = setting();
    let flags = NLM_F_REPLACE | NLM_F_EXCL | NLM_F_CREATE | NLM_F_APPEND | NLM_F_DUMP;
    let mut bytes = req(RTM_NEWNSID, ACKED | flags, 1).nsid(5).fd(12).done();
    bytes[16..20].copy_from_slice(&[2, 0xff, 0xff, 0xff]);
    assert_eq!(got(&talk(&socket, &bytes, &client)), [ack()]);
    assert!(world.obs.net_by_nsid(5).is_some());
}

#[test]
fn c101_echo_comes_once_before_the_ack() {
    let (world, socket, client) = setting();
    set(&socket, NETLINK_PKTINFO, 1, &client);
    for (id, fd, joined) in [(5, 12, false), (6, 13, true)] {
        if joined {
            set(&socket, NETLINK_ADD_MEMBERSHIP, RTNLGRP_NSID, &client);
        }
        let answer = talk(&socket, &req(RTM_NEWNSID, ACKED | NLM_F_ECHO, 9).nsid(id).fd(fd).done(), &client);
        assert_eq!(got(&answer), [reply(9, id), ack()], "joined: {joined}");
        assert_eq!((answer[0].from.portid, answer[0].from.groups, answer[0].pktinfo_group), (0, 0x0800_0000, Some(28)));
        assert_eq!((answer[1].from, answer[1].pktinfo_group), (KERNEL, Some(0)));
    }
    drop(world);
}

#[test]
fn c102_target_and_current_are_ignored() {
    let (_world, socket, client) = setting();
    let request = new(1).nsid(5).fd(12).target(99).i32(NETNSA_CURRENT_NSID, 3).done();
    assert_eq!(got(&talk(&socket, &request, &client)), [ack()]);
}
