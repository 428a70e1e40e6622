//! Section G of the checklist: RTM_GETNSID, single answers.

mod common;

use common::*;
use pernet_rtnl::{LocalClient, Socket};
use pernet_wire::Errno;
use pernet_wire::uapi::*;

const BAD_PEER: &str = "Peer netns reference is invalid";
const BAD_TARGET: &str = "Target netns reference is invalid";

/// As recorded: A (fd 12) is 3, T (fd 13) is 7; in T, A is 30, the requester 31 and B (fd 14) 32. U (fd 15) has no name.
fn setting() -> (World, LocalClient) {
    let world = World::new();
    let (a, t, b) = (world.net(), world.net(), world.net());
    world.name(&a, 3);
    world.name(&t, 7);
    for (peer, id) in [(&a, 30), (&world.obs, 31), (&b, 32)] {
        t.assign_nsid(peer, pernet::Nsid::new(id), pernet::Origin::KERNEL).unwrap();
    }
    let client = world.client().with_fd(12, &a).with_fd(13, &t).with_fd(14, &b).with_fd(15, &world.net());
    let client = client.with_pid(8, &world.obs);
    (world, client)
}

fn get(seq: u32) -> Req {
    req(RTM_GETNSID, REQUEST, seq)
}

fn ask(socket: &Socket, request: Req, client: &LocalClient) -> Vec<Got> {
    got(&talk(socket, &request.done(), client))
}

fn with_target(id: i32, current: i32) -> Got {
    Got::Nsid(RTM_NEWNSID, 0, 1, id, Some(current))
}

#[test]
fn c104_the_reply() {
    let (world, client) = setting();
    let answer = talk(&world.route(), &get(0x1234).fd(12).done(), &client);
    assert_eq!(answer.len(), 1);
    let expected: Vec<u8> = [
        28u32.to_ne_bytes(),
        u32::from(RTM_NEWNSID).to_ne_bytes(),
        0x1234u32.to_ne_bytes(),
        TGID.to_ne_bytes(),
        [0; 4],
        [8, 0, 1, 0],
        3u32.to_ne_bytes(),
    ]
    .concat();
    if cfg!(target_endian = "little") {
        assert_eq!(answer[0].bytes, expected);
    }
    assert_eq!((answer[0].from, answer[0].origin_nsid, answer[0].pktinfo_group), (KERNEL, None, None));
}

#[test]
fn c105_no_name_is_a_good_answer() {
    let (world, client) = setting();
    assert_eq!(ask(&world.route(), get(1).fd(15), &client), [reply(1, -1)]);
    assert_eq!(ask(&world.route(), get(1).pid(8), &client), [reply(1, -1)]);
}

#[test]
fn c106_unknown_ids() {
    let (world, client) = setting();
    for id in [99, -1, i32::MIN, i32::MAX] {
        assert_eq!(ask(&world.route(), get(1).nsid(id), &client), [fails(Errno::ENOENT, Some(BAD_PEER), Some(20))]);
    }
}

#[test]
fn c107_pid_then_fd_then_nsid() {
    let (world, client) = setting();
    let socket = world.route();
    assert_eq!(ask(&socket, get(1).nsid(7).fd(12), &client), [reply(1, 3)]);
    assert_eq!(ask(&socket, get(1).nsid(7).fd(12).pid(8), &client), [reply(1, -1)]);
    let nothing = fails(Errno::EINVAL, Some("Peer netns reference is missing"), None);
    assert_eq!(ask(&socket, get(1), &client), std::slice::from_ref(&nothing));
    assert_eq!(ask(&socket, get(1).target(7), &client), [nothing]);
    assert_eq!(ask(&socket, get(1).fd(99), &client), [fails(Errno::EBADF, Some(BAD_PEER), Some(20))]);
    assert_eq!(ask(&socket, get(1).pid(99), &client), [fails(Errno::ESRCH, Some(BAD_PEER), Some(20))]);
}

#[test]
fn c108_with_a_target() {
    let (world, client) = setting();
    let socket = world.route();
    let answer = talk(&socket, &get(1).fd(12).target(7).done(), &client);
    assert_eq!(answer[0].bytes.len(), 36);
    assert_eq!(got(&answer), [with_target(30, 3)]);
    for (request, id, current) in [
        (get(1).fd(14), 32, -1),
        (get(1).fd(15), -1, -1),
        (get(1).nsid(3), 30, 3),
        (get(1).fd(13), -1, 7),
        (get(1).pid(8), 31, -1),
    ] {
        assert_eq!(ask(&socket, request.target(7), &client), [with_target(id, current)]);
    }
}

#[test]
fn c109_unknown_target() {
    let (world, client) = setting();
    for id in [99, -1] {
        assert_eq!(
            ask(&world.route(), get(1).fd(12).target(id), &client),
            [fails(Errno::EINVAL, Some(BAD_TARGET), Some(28))]
        );
    }
}

#[test]
fn c110_target_not_permitted() {
    let (world, client) = setting();
    let refused = ask(&world.route(), get(1).fd(12).target(7), &client.with_cred(world.nobody()));
    assert_eq!(refused, [fails(Errno::EACCES, Some(BAD_TARGET), Some(28))]);
}

#[test]
fn c111_bad_peer_before_bad_target() {
    let (world, client) = setting();
    assert_eq!(ask(&world.route(), get(1).fd(99).target(99), &client), [fails(Errno::EBADF, Some(BAD_PEER), Some(20))]);
}

#[test]
fn c112_reply_before_ack() {
    let (world, client) = setting();
    assert_eq!(ask(&world.route(), req(RTM_GETNSID, ACKED, 5).fd(12), &client), [reply(5, 3), ack()]);
}

#[test]
fn c113_strict_unknown_types() {
    let (world, client) = setting();
    let unknown = fails(Errno::EINVAL, Some("Unknown attribute type"), Some(28));
    for ty in [0, 6, 100] {
        assert_eq!(ask(&world.strict(), get(1).fd(12).bytes(ty, b""), &client), std::slice::from_ref(&unknown));
        assert_eq!(ask(&world.route(), get(1).fd(12).bytes(ty, b""), &client), [reply(1, 3)], "legacy");
    }
}

#[test]
fn c114_strict_current() {
    let (world, client) = setting();
    let text = "Unsupported attribute in peer netns getid request";
    let request = || get(1).fd(12).i32(NETNSA_CURRENT_NSID, 0);
    assert_eq!(ask(&world.strict(), request(), &client), [fails(Errno::EINVAL, Some(text), None)]);
    assert_eq!(ask(&world.route(), request(), &client), [reply(1, 3)], "legacy");
}

#[test]
fn c115_strict_leftover() {
    let (world, client) = setting();
    let refused = got(&talk(&world.strict(), &get(1).fd(12).leftover(), &client));
    assert_eq!(refused, [fails(Errno::EINVAL, Some("bytes leftover after parsing attributes"), None)]);
    assert_eq!(got(&talk(&world.route(), &get(1).fd(12).leftover(), &client)), [reply(1, 3)], "legacy");
}

#[test]
fn c116_what_strict_does_not_check() {
    let (world, client) = setting();
    let mut bytes = get(1).bytes(NETNSA_FD | 0x8000, &[12, 0, 0, 0, 1, 2, 3, 4]).done();
    bytes[16..20].copy_from_slice(&[2, 7, 7, 7]);
    assert_eq!(got(&talk(&world.strict(), &bytes, &client)), [reply(1, 3)]);
    // A message that ends inside the family header has no attributes.
    for len in 17..20u32 {
        let mut bytes = bare(RTM_GETNSID, REQUEST, 1);
        bytes.resize(len as usize, 0);
        bytes[..4].copy_from_slice(&len.to_ne_bytes());
        let refused = got(&talk(&world.strict(), &bytes, &client));
        assert_eq!(refused, [fails(Errno::EINVAL, Some("Peer netns reference is missing"), None)]);
    }
}

#[test]
fn c117_never_allocates() {
    let (world, client) = setting();
    let (socket, listener) = (world.route(), world.listener(&world.obs));
    for request in [get(1).fd(15), get(1).fd(15).target(7), get(1).pid(8)] {
        ask(&socket, request, &client);
    }
    let listed = got(&talk(&socket, &req(RTM_GETNSID, DUMP, 2).done(), &client));
    assert_eq!(listed, [entry(2, 3), entry(2, 7), done()]);
    assert_eq!(listener.recv(100), Ok(None));
}
