//! Whatever is sent, the answer is an errno; nothing panics, nothing hangs, nothing grows by a number in a message.

mod common;

use common::*;
use pernet_rtnl::{Protocol, SockAddr};
use pernet_wire::uapi::*;
use pernet_wire::{Builder, Errno, Messages, MsgHeader};
use proptest::prelude::*;

#[test]
fn nested_a_thousand_times() {
    fn deeper(out: &mut Builder, left: u32) {
        out.nest(NETNSA_NSID, |nest| {
            if left > 0 {
                deeper(nest, left - 1)
            }
        });
    }
    let (world, mut out) = (World::new(), Builder::message(&MsgHeader::request(RTM_NEWNSID, ACKED, 1)));
    out.put_raw(&[0; 4]);
    deeper(&mut out, 1000);
    let answer = got(&talk(&world.route(), &out.finish(), &world.client()));
    assert_eq!(answer, [fails(Errno::EINVAL, Some("Peer netns reference is missing"), None)]);
}

#[test]
fn thousands_of_attributes_and_messages() {
    let world = World::new();
    let (socket, client) = (world.route(), world.client());
    let mut request = req(RTM_GETNSID, ACKED, 1);
    for n in 0..20_000u16 {
        request = request.bytes(n & 0xff | 0x100, b"");
    }
    let answer = got(&talk(&socket, &request.done(), &client));
    assert_eq!(answer, [fails(Errno::EINVAL, Some("Peer netns reference is missing"), None)]);
    let many: Vec<u8> = (0..13_000).flat_map(|seq| bare(RTM_GETNSID, REQUEST, seq)).collect();
    assert_eq!(socket.send(&many, None, &client), Ok(many.len()));
    // So many acks that the queue overflows: told once, bounded memory.
    let acked: Vec<u8> = (0..13_000).flat_map(|seq| bare(RTM_GETNSID, ACKED, seq)).collect();
    socket.send(&acked, None, &client).unwrap();
    assert!(socket.recv(100).is_err());
    assert_eq!(drain(&socket).len(), 212_992 / 832);
}

#[test]
fn every_prefix_of_a_request() {
    let world = World::new();
    let client = world.client().with_fd(12, &world.net());
    let whole = req(RTM_GETNSID, ACKED, 1).fd(12).target(3).bytes(9, b"xyz").done();
    for len in 0..=whole.len() {
        for declared in [whole.len(), len] {
            let mut bytes = whole[..len].to_vec();
            if len >= 4 {
                bytes[..4].copy_from_slice(&(declared as u32).to_ne_bytes());
            }
            let (socket, strict) = (world.route(), world.strict());
            let _ = socket.send(&bytes, None, &client);
            let _ = strict.send(&bytes, None, &client);
            // A whole message is answered, by an error or by the reply and its ack; anything else by silence.
            let whole = len >= 16 && declared == len;
            assert_eq!(drain(&socket).is_empty(), !whole, "{len} of {declared}");
            assert_eq!(drain(&strict).is_empty(), !whole, "{len} of {declared}, strict");
        }
    }
}

fn datagram() -> impl Strategy<Value = Vec<u8>> {
    let attr = (0u16..7, 0u16..12, prop::collection::vec(any::<u8>(), 0..12));
    let ty = prop_oneof![Just(RTM_NEWNSID), Just(RTM_GETNSID), Just(RTM_GETLINK), 0u16..130, any::<u16>()];
    let message = (ty, any::<u16>(), 0u32..80, prop::collection::vec(attr, 0..6), any::<bool>());
    let shaped = prop::collection::vec(message, 1..4).prop_map(|messages| {
        let mut out = Vec::new();
        for (ty, flags, len, attrs, honest) in messages {
            let mut body = vec![0; 4];
            for (ty, len, payload) in attrs {
                body.extend_from_slice(&len.to_ne_bytes());
                body.extend_from_slice(&ty.to_ne_bytes());
                body.extend_from_slice(&payload);
            }
            let len = if honest { 16 + body.len() as u32 } else { len };
            out.extend_from_slice(&MsgHeader { len, ..MsgHeader::request(ty, flags | 1, 1) }.to_bytes());
            out.extend_from_slice(&body);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    });
    prop_oneof![shaped, prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #[test]
    fn any_datagram_is_answered_in_whole_messages(
        datagrams in prop::collection::vec(datagram(), 1..6), protocol in 0usize..5, strict: bool, buffer in 0usize..9000,
    ) {
        let world = World::new();
        world.name(&world.net(), 1);
        let client = world.client().with_fd(1, &world.net()).with_pid(1, &world.obs);
        let protocol = [0, 2, 4, 15, 16].map(Protocol::from_number)[protocol].unwrap();
        let socket = world.rtnl.open(&world.obs, protocol, &world.root);
        set(&socket, NETLINK_EXT_ACK, 1, &client);
        set(&socket, NETLINK_GET_STRICT_CHK, u32::from(strict), &client);
        for bytes in datagrams {
            let _ = socket.send(&bytes, Some(SockAddr::KERNEL), &client);
            while let Some(answer) = socket.recv(buffer).unwrap() {
                let mut walk = Messages::new(&answer.bytes);
                for msg in walk.by_ref() {
                    prop_assert_eq!(msg.header.portid, socket.local_addr().portid);
                }
                prop_assert!(walk.rest().is_empty());
            }
            prop_assert!(!socket.dump_running(), "a drained socket has no dump left");
        }
    }
}
