//! Networks of tunnels that filter: what is listed and told is byte for byte what Linux 6.18 lists and tells.

mod common;

use common::*;
use pernet_rtnl::Socket;
use pernet_wire::uapi::*;
use pernet_wire::{Builder, Errno, Messages, MsgHeader, Reply};

const TUNNEL: u32 = 11;
const OTHER: u32 = 12;

fn new_link(index: u32, name: &str, lower: Option<u32>) -> Vec<u8> {
    let mut out = Builder::message(&MsgHeader::request(RTM_NEWLINK, ACKED | NLM_F_CREATE | NLM_F_EXCL, 1));
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    out.put_raw(&header).put_str(IFLA_IFNAME, name).nest(IFLA_LINKINFO, |info| {
        info.put_str(1, "vxlan").nest(2, |data| {
            data.put_u8(25, 1).put_u8(30, 1).put(15, &4789_u16.to_be_bytes());
            if let Some(lower) = lower {
                data.put_u32(3, lower);
            }
        });
    });
    out.finish()
}

/// An entry: first and last number, and an IPv4 host.
fn vni(out: &mut Builder, start: Option<u32>, end: Option<u32>, host: Option<[u8; 4]>) {
    out.nest_flagged(1, |entry| {
        start.map(|start| entry.put_u32(1, start));
        end.map(|end| entry.put_u32(2, end));
        host.map(|host| entry.put(3, &host));
    });
}

fn request(ty: u16, flags: u16, index: u32, fill: impl FnOnce(&mut Builder)) -> Vec<u8> {
    let mut out = Builder::message(&MsgHeader::request(ty, flags, 7));
    out.put_raw(&[7, 0, 0, 0]).put_raw(&index.to_ne_bytes());
    fill(&mut out);
    out.finish()
}

/// What is behind the headers of the messages that are no acks.
fn bodies(socket: &Socket, world: &World, bytes: &[u8]) -> Vec<String> {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let datagrams = talk(socket, bytes, &world.client());
    let messages = datagrams.iter().flat_map(|d| Messages::new(&d.bytes).map(|m| (m.header.ty, m.payload().to_vec())));
    messages.filter(|(ty, _)| *ty >= NLMSG_MIN_TYPE).map(|(_, payload)| hex(&payload)).collect()
}

fn result(socket: &Socket, world: &World, bytes: &[u8]) -> (Result<(), Errno>, Option<String>) {
    let datagrams = talk(socket, bytes, &world.client());
    let message = Messages::new(&datagrams[0].bytes).next().expect("an answer");
    let reply = Reply::read(&message).expect("an ack");
    (reply.result, reply.ext.msg.map(Into::into))
}

fn world() -> (World, Socket) {
    let world = World::new();
    let socket = world.route();
    for (index, name) in [(TUNNEL, "e0"), (OTHER, "e1")] {
        assert_eq!(result(&socket, &world, &new_link(index, name, None)).0, Ok(()));
    }
    (world, socket)
}

#[test]
fn neighbours_that_are_alike_are_listed_as_one() {
    let (world, socket) = world();
    let add = request(RTM_NEWTUNNEL, ACKED, TUNNEL, |out| {
        vni(out, Some(5), None, None);
        vni(out, None, Some(7), None);
        vni(out, Some(10), Some(12), None);
        vni(out, Some(20), Some(18), None);
        vni(out, Some(40), None, Some([10, 0, 0, 9]));
    });
    assert_eq!(result(&socket, &world, &add).0, Ok(()));
    let listed = bodies(&socket, &world, &request(RTM_GETTUNNEL, DUMP, 0, |_| {}));
    let expected = "070000000b000000\
        14000180080001000000000008000200070000001400018008000100\
        0a000000080002000c000000140001800800010028000000080003000a000009";
    assert_eq!(listed, [expected]);
}

#[test]
fn a_network_is_one_tunnels_and_a_refused_request_adds_none() {
    let (world, socket) = world();
    let add = |index, numbers: &[u32]| {
        request(RTM_NEWTUNNEL, ACKED, index, |out| numbers.iter().for_each(|&n| vni(out, Some(n), None, None)))
    };
    assert_eq!(result(&socket, &world, &add(TUNNEL, &[200])).0, Ok(()));
    let in_use = (Err(Errno::EEXIST), Some("VNI in use".to_owned()));
    assert_eq!(result(&socket, &world, &add(OTHER, &[300, 200])), in_use);
    assert_eq!(bodies(&socket, &world, &request(RTM_GETTUNNEL, DUMP, OTHER, |_| {})), Vec::<String>::new());
    let del = request(RTM_DELTUNNEL, ACKED, TUNNEL, |out| vni(out, Some(200), Some(201), None));
    assert_eq!(result(&socket, &world, &del).0, Err(Errno::ENOENT), "one of them is not there");
    assert_eq!(bodies(&socket, &world, &request(RTM_GETTUNNEL, DUMP, TUNNEL, |_| {})).len(), 1);
}

#[test]
fn a_range_costs_no_more_than_its_ends() {
    let (world, socket) = world();
    let range = |start, end, host| request(RTM_NEWTUNNEL, ACKED, TUNNEL, |out| vni(out, Some(start), Some(end), host));
    assert_eq!(result(&socket, &world, &range(1, 0x00ff_ffff, None)).0, Ok(()));
    assert_eq!(result(&socket, &world, &range(1, u32::MAX, None)).0, Err(Errno::E2BIG));
    assert_eq!(result(&socket, &world, &range(1, 1 << 20, Some([10, 0, 0, 9]))).0, Err(Errno::E2BIG));
    let listed = bodies(&socket, &world, &request(RTM_GETTUNNEL, DUMP, TUNNEL, |_| {}));
    assert_eq!(listed, ["070000000b000000140001800800010001000000080002 00ffffff00".replace(' ', "")]);
}

#[test]
fn listeners_hear_of_each_network() {
    let (world, socket) = world();
    let listener = world.route();
    bind_aside(&listener);
    set(&listener, NETLINK_ADD_MEMBERSHIP, RTNLGRP_TUNNEL, &world.client());
    let add = request(RTM_NEWTUNNEL, ACKED, TUNNEL, |out| vni(out, Some(1), Some(3), None));
    assert_eq!(result(&socket, &world, &add).0, Ok(()));
    let count = || drain(&listener).iter().map(|d| Messages::new(&d.bytes).count()).sum::<usize>();
    assert_eq!(count(), 3);
    assert_eq!(result(&socket, &world, &add).0, Ok(()));
    assert_eq!(count(), 0, "nothing changed");
}
