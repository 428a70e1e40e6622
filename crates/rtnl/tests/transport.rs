//! Section I of the checklist: acks and transport, and the socket calls around them.

mod common;

use common::*;
use pernet_rtnl::{LocalClient, Protocol, SockAddr, SockError, Socket, SocketInfo};
use pernet_wire::uapi::*;
use pernet_wire::{Errno, Messages, MsgHeader};

const NAMED: &str = "Peer netns already has a nsid assigned";

fn setting() -> (World, Socket, LocalClient) {
    let world = World::new();
    let client = world.client().with_fd(12, &world.net()).with_fd(13, &world.net());
    let socket = world.route();
    (world, socket, client)
}

fn new(seq: u32, id: i32, fd: i32) -> Vec<u8> {
    req(RTM_NEWNSID, ACKED, seq).nsid(id).fd(fd).done()
}

#[test]
fn c130_a_good_ack() {
    let (_world, socket, client) = setting();
    let request = new(0x65, 5, 12);
    let answer = talk(&socket, &request, &client);
    let bytes = &answer[0].bytes;
    assert_eq!((bytes.len(), &bytes[16..20], &bytes[20..36]), (36, &[0; 4][..], &request[..16]));
    let header = MsgHeader::read(bytes).unwrap();
    assert_eq!(header, MsgHeader { len: 36, ty: NLMSG_ERROR, flags: 0x100, seq: 0x65, portid: TGID });
}

#[test]
fn c131_and_132_an_error_ack_in_four_moods() {
    let (_world, socket, client) = setting();
    talk(&socket, &new(1, 5, 12), &client);
    let request = new(2, 5, 12);
    for (ext, cap, len, flags) in [(1, 0, 108, 0x200), (0, 0, 56, 0), (1, 1, 88, 0x300), (0, 1, 36, 0x100)] {
        set(&socket, NETLINK_EXT_ACK, ext, &client);
        set(&socket, NETLINK_CAP_ACK, cap, &client);
        let answer = talk(&socket, &request, &client);
        let bytes = &answer[0].bytes;
        assert_eq!((bytes.len(), MsgHeader::read(bytes).unwrap().flags), (len, flags));
        let copied = if cap == 0 { request.len() } else { 16 };
        assert_eq!(bytes[20..20 + copied], request[..copied]);
        let said = if ext == 1 { (Some(NAMED.to_owned()), Some(28)) } else { (None, None) };
        assert_eq!(got(&answer), [Got::Ack(NLMSG_ERROR, flags, Err(Errno::EEXIST), said.0, said.1)]);
    }
}

#[test]
fn c132_order_of_tlvs() {
    let (_world, socket, client) = setting();
    let answer = talk(&socket, &req(RTM_NEWNSID, REQUEST, 1).bytes(NETNSA_NSID, b"ab").done(), &client);
    let tlvs: Vec<u16> = pernet_wire::Attrs::at(&answer[0].bytes[16 + 4 + 28..], 0).map(|attr| attr.raw_ty).collect();
    assert_eq!(tlvs, [NLMSGERR_ATTR_MSG, NLMSGERR_ATTR_OFFS, NLMSGERR_ATTR_POLICY | NLA_F_NESTED]);
}

#[test]
fn c133_offsets_count_from_the_request() {
    // Also when it is not the first message of its datagram.
    let (_world, socket, client) = setting();
    let mut datagram = new(1, 5, 12);
    datagram.extend_from_slice(&new(2, 5, 13));
    let text = "The specified nsid is already used";
    assert_eq!(got(&talk(&socket, &datagram, &client)), [ack(), fails(Errno::EEXIST, Some(text), Some(20))]);
}

#[test]
fn c134_without_the_request_flag() {
    let (world, socket, client) = setting();
    let quiet = req(RTM_NEWNSID, 0, 1).nsid(5).fd(12).done();
    assert_eq!(got(&talk(&socket, &quiet, &client)), []);
    let acked = req(RTM_NEWNSID, NLM_F_ACK, 1).nsid(5).fd(12).done();
    assert_eq!(got(&talk(&socket, &acked, &client)), [ack()]);
    assert!(world.obs.net_by_nsid(5).is_none());
}

#[test]
fn c135_control_types() {
    let (_world, socket, client) = setting();
    for ty in 0..16 {
        assert_eq!(got(&talk(&socket, &bare(ty, ACKED, 1), &client)), [ack()]);
        assert_eq!(got(&talk(&socket, &bare(ty, REQUEST, 1), &client)), []);
    }
}

#[test]
fn c136_no_body_no_effect() {
    let (world, socket, client) = setting();
    let client = client.with_cred(world.nobody());
    for ty in 16..=RTM_MAX {
        assert_eq!(got(&talk(&socket, &bare(ty, ACKED, 1), &client)), [ack()], "{ty}");
        assert_eq!(got(&talk(&socket, &bare(ty, ACKED | NLM_F_DUMP, 1), &client)), [ack()], "{ty}");
    }
}

#[test]
fn c137_types_beyond_the_last() {
    let (world, socket, client) = setting();
    for client in [client.clone(), client.with_cred(world.nobody())] {
        for ty in [RTM_MAX + 1, 1000, u16::MAX] {
            assert_eq!(got(&talk(&socket, &bare(ty, REQUEST, 1), &client)), [fails(Errno::EOPNOTSUPP, None, None)]);
        }
    }
}

#[test]
fn c137_types_without_a_handler() {
    let (_world, socket, client) = setting();
    for (ty, flags) in [(RTM_GETNSID + 1, 0), (RTM_GETNSID + 2, 0), (RTM_GETNSID + 8, NLM_F_DUMP), (122, 0)] {
        let refused = got(&talk(&socket, &req(ty, ACKED | flags, 1).done(), &client));
        assert_eq!(refused, [fails(Errno::EOPNOTSUPP, None, None)]);
    }
}

#[test]
fn c138_several_requests_in_a_datagram() {
    let (world, socket, client) = setting();
    let mut datagram = new(1, 5, 12);
    datagram.extend_from_slice(&new(2, 6, 12));
    datagram.extend_from_slice(&new(3, 6, 13));
    datagram.extend_from_slice(&req(RTM_GETNSID, REQUEST, 4).fd(13).done());
    let answers = talk(&socket, &datagram, &client);
    assert_eq!(got(&answers), [ack(), fails(Errno::EEXIST, Some(NAMED), Some(28)), ack(), reply(4, 6)]);
    let seqs: Vec<u32> = answers.iter().map(|d| MsgHeader::read(&d.bytes).unwrap().seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
    assert!(world.obs.net_by_nsid(6).is_some());
}

#[test]
fn c139_bad_lengths_are_silent() {
    let (world, socket, client) = setting();
    for len in [0u32, 15, 37, u32::MAX] {
        let mut bytes = new(1, 5, 12);
        bytes[..4].copy_from_slice(&len.to_ne_bytes());
        assert_eq!(socket.send(&bytes, None, &client), Ok(36));
        assert_eq!(socket.recv(100), Ok(None));
    }
    assert_eq!(socket.send(b"short", None, &client), Ok(5));
    assert_eq!(socket.recv(100), Ok(None));
    assert!(world.obs.net_by_nsid(5).is_none());
}

#[test]
fn c140_empty_sends() {
    let (_world, socket, client) = setting();
    assert_eq!(socket.send(b"", None, &client), Err(SockError::Empty));
    assert_eq!(socket.send(b"", Some(SockAddr::new(0, 1)), &client).unwrap_err().errno(), Errno::ENODATA);
}

#[test]
fn c141_ids_cannot_be_deleted() {
    let (world, socket, client) = setting();
    talk(&socket, &new(1, 3, 12), &client);
    for flags in [REQUEST, ACKED, ACKED | NLM_F_BULK, ACKED | NLM_F_DUMP] {
        for family in [0, 2] {
            let mut bytes = req(RTM_DELNSID, flags, 1).nsid(3).done();
            bytes[16] = family;
            assert_eq!(got(&talk(&socket, &bytes, &client)), [fails(Errno::EOPNOTSUPP, None, None)]);
            let nobody = client.clone().with_cred(world.nobody());
            assert_eq!(got(&talk(&socket, &bytes, &nobody)), [fails(Errno::EPERM, None, None)]);
        }
    }
    assert!(world.obs.net_by_nsid(3).is_some());
}

#[test]
fn a_datagram_larger_than_the_send_buffer() {
    let (_world, socket, client) = setting();
    assert_eq!(socket.send(&vec![0; 212_992 - 32], None, &client), Ok(212_960));
    assert_eq!(socket.send(&vec![0; 212_992 - 31], None, &client), Err(SockError::TooLarge));
}

#[test]
fn ports_are_unique_per_namespace_and_protocol() {
    let (world, socket, client) = setting();
    assert_eq!(socket.local_addr(), SockAddr::default());
    socket.bind(SockAddr::new(0, 1), &client).unwrap();
    assert_eq!(socket.local_addr(), SockAddr::new(TGID, 1));
    let other = world.route();
    assert_eq!(other.bind(SockAddr::new(TGID, 0), &client), Err(SockError::PortTaken));
    other.bind(SockAddr::default(), &client).unwrap();
    assert!((0x8000_0000..=0xffff_efff).contains(&other.local_addr().portid));
    let elsewhere = world.route_in(&world.net());
    elsewhere.bind(SockAddr::new(TGID, 0), &client).unwrap();
    let diag = world.rtnl.open(&world.obs, Protocol::SockDiag, &world.root);
    diag.bind(SockAddr::default(), &client).unwrap();
    assert_eq!(diag.local_addr().portid, TGID);
    // A closed socket frees its port.
    drop(socket);
    let next = world.route();
    next.send(&bare(16, REQUEST, 1), None, &client).unwrap();
    assert_eq!(next.local_addr().portid, TGID);
}

#[test]
fn a_bound_socket_changes_groups_but_not_its_port() {
    let (world, socket, client) = setting();
    set(&socket, NETLINK_ADD_MEMBERSHIP, 39, &client);
    set(&socket, NETLINK_ADD_MEMBERSHIP, 5, &client);
    assert_eq!(socket.local_addr(), SockAddr::new(0, 16));
    socket.bind(SockAddr::new(0, 1), &client).unwrap();
    let list = |socket: &Socket| socket.getsockopt(NETLINK_LIST_MEMBERSHIPS, 64).unwrap();
    assert_eq!(list(&socket), [1u32, 0x40].map(u32::to_ne_bytes).concat(), "bind leaves the higher groups");
    for portid in [0, 77_777] {
        assert_eq!(socket.bind(SockAddr::new(portid, 2), &client), Err(SockError::AlreadyBound));
    }
    socket.bind(SockAddr::new(TGID, 0), &client).unwrap();
    assert_eq!(list(&socket), [0u32, 0x40].map(u32::to_ne_bytes).concat());
    assert_eq!(list(&world.rtnl.open(&world.obs, Protocol::Route, &world.root)), b"");
}

#[test]
fn options() {
    let (_world, socket, client) = setting();
    for opt in [
        NETLINK_PKTINFO,
        NETLINK_BROADCAST_ERROR,
        NETLINK_NO_ENOBUFS,
        NETLINK_LISTEN_ALL_NSID,
        NETLINK_CAP_ACK,
        NETLINK_EXT_ACK,
        NETLINK_GET_STRICT_CHK,
    ] {
        for (value, read) in [(&[7u8, 0, 0, 0, 9][..], 1u32), (&[1, 0], 0), (&[0xff; 4], 1), (&[], 0)] {
            socket.setsockopt(opt, value, &client).unwrap();
            assert_eq!(socket.getsockopt(opt, 8).unwrap(), read.to_ne_bytes(), "{opt} {value:?}");
        }
        assert_eq!(socket.getsockopt(opt, 3), Err(SockError::OptionTooShort));
    }
    for opt in [0, 6, 7, 9, 13, 100] {
        assert_eq!(socket.setsockopt(opt, &[1, 0, 0, 0], &client), Err(SockError::NoSuchOption));
    }
    for opt in [0, 1, 2, 6, 7, 13] {
        assert_eq!(socket.getsockopt(opt, 4).unwrap_err().errno(), Errno::ENOPROTOOPT);
    }
}

#[test]
fn programs_among_themselves() {
    let (world, socket, client) = setting();
    let other = world.route();
    other.bind(SockAddr::new(900, 0), &client).unwrap();
    assert_eq!(socket.send(b"hello", Some(SockAddr::new(900, 0)), &client), Ok(5));
    let heard = other.recv(100).unwrap().unwrap();
    assert_eq!((heard.bytes, heard.from), (b"hello".to_vec(), SockAddr::new(TGID, 0)));
    assert_eq!(socket.send(b"hello", Some(SockAddr::new(901, 0)), &client), Err(SockError::NoListener));
    socket.send(b"me", Some(SockAddr::new(TGID, 0)), &client).unwrap();
    assert_eq!(socket.recv(100).unwrap().unwrap().bytes, b"me");

    // To the lowest group named, not to oneself; then to the port.
    for listener in [&socket, &other] {
        set(listener, NETLINK_ADD_MEMBERSHIP, 5, &client);
        set(listener, NETLINK_ADD_MEMBERSHIP, 28, &client);
    }
    set(&other, NETLINK_PKTINFO, 1, &client);
    socket.send(b"xx", Some(SockAddr::new(0, 0x0800_0010)), &client).unwrap();
    socket.send(b"yy", Some(SockAddr::new(900, 0x0800_0000)), &client).unwrap();
    let heard: Vec<_> = drain(&other).into_iter().map(|d| (d.bytes, d.from.groups, d.pktinfo_group)).collect();
    assert_eq!(heard, [(b"xx".to_vec(), 0x10, Some(5)), (b"yy".to_vec(), 0x0800_0000, Some(28))]);
    assert_eq!(socket.recv(100), Ok(None));
    assert_eq!(socket.send(b"xx", Some(SockAddr::new(901, 0x0800_0000)), &client), Err(SockError::NoListener));
}

#[test]
fn a_full_queue_is_the_problem_of_the_program_that_sends() {
    let (world, socket, client) = setting();
    let other = world.route();
    other.bind(SockAddr::new(900, 0), &client).unwrap();
    other.set_receive_buffer(4000);
    let sent = (0..10).filter(|_| socket.send(b"x", Some(SockAddr::new(900, 0)), &client).is_ok()).count();
    assert_eq!(sent, 4);
    let refused = socket.send(b"x", Some(SockAddr::new(900, 0)), &client);
    assert_eq!(refused.unwrap_err().errno(), Errno::EAGAIN);
    assert_eq!(drain(&other).len(), 4, "and no ENOBUFS");
}

#[test]
fn connecting() {
    let (world, socket, client) = setting();
    assert_eq!(socket.peer_addr(), KERNEL);
    socket.connect(SockAddr::new(5, 0x18), &client).unwrap();
    assert_eq!((socket.peer_addr(), socket.local_addr().portid), (SockAddr::new(5, 8), TGID));
    assert_eq!(socket.send(&bare(16, REQUEST, 1), None, &client), Err(SockError::NoListener));
    socket.connect(KERNEL, &client).unwrap();
    assert_eq!(got(&talk(&socket, &bare(16, ACKED, 1), &client)), [ack()]);
    let nobody = client.with_cred(world.nobody());
    assert_eq!(socket.connect(SockAddr::new(0, 1), &nobody), Err(SockError::NotPermitted));
}

#[test]
fn replies_that_find_no_room_are_dropped_and_told_once() {
    let (_world, socket, client) = setting();
    socket.set_receive_buffer(2304);
    for seq in 0..8 {
        socket.send(&req(RTM_GETNSID, ACKED, seq).nsid(99).done(), None, &client).unwrap();
    }
    assert!(socket.readable());
    assert_eq!(socket.recv(100), Err(SockError::NoBufs));
    let seqs: Vec<u32> = drain(&socket).iter().map(|d| MsgHeader::read(&d.bytes).unwrap().seq).collect();
    assert_eq!(seqs, [0, 1]);
}

#[test]
fn readiness() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    let (world, socket, client) = setting();
    let (listener, calls) = (world.listener(&world.obs), Arc::new(AtomicUsize::new(0)));
    for socket in [&socket, &listener] {
        let calls = calls.clone();
        socket.on_ready(Some(Arc::new(move || {
            calls.fetch_add(1, SeqCst);
        })));
    }
    assert!(!socket.readable());
    socket.send(&new(1, 5, 12), None, &client).unwrap();
    assert_eq!(calls.load(SeqCst), 2, "one ack, one event");
    assert!(socket.readable() && listener.readable());
    assert_eq!((drain(&socket).len(), drain(&listener).len()), (1, 1));
    assert!(!socket.readable());
    listener.on_ready(None);
    socket.send(&new(2, 6, 13), None, &client).unwrap();
    assert_eq!(calls.load(SeqCst), 3);
}

#[test]
fn every_message_of_an_answer_is_whole() {
    let (_world, socket, client) = setting();
    let answer = talk(&socket, &req(RTM_GETNSID, ACKED, 1).fd(12).done(), &client);
    for datagram in &answer {
        let total: usize = Messages::new(&datagram.bytes).map(|m| m.raw.len().next_multiple_of(4)).sum();
        assert_eq!(total, datagram.bytes.len());
    }
}

#[test]
fn the_bound_sockets_of_a_namespace() {
    let (world, socket, client) = setting();
    assert_eq!(world.rtnl.sockets(&world.obs), []);
    socket.bind(SockAddr::new(0, 5), &client).unwrap();
    socket.set_receive_buffer(1000);
    for _ in 0..3 {
        socket.send(&bare(RTM_GETNSID, ACKED, 1), None, &client).unwrap();
    }
    let diag = world.rtnl.open(&world.obs, Protocol::SockDiag, &world.root);
    diag.bind(SockAddr::new(3, 0), &client).unwrap();
    let info = |protocol, addr, receive_queue, drops| SocketInfo {
        protocol,
        addr,
        receive_queue,
        drops,
        dumping: false,
        inode: 0,
    };
    assert_eq!(
        world.rtnl.sockets(&world.obs),
        [info(Protocol::Route, SockAddr::new(TGID, 5), 832, 2), info(Protocol::SockDiag, SockAddr::new(3, 0), 0, 0)]
    );
    assert_eq!(world.rtnl.sockets(&world.net()), []);
}
