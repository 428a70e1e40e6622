//! Section H of the checklist: RTM_GETNSID listings.

mod common;

use std::collections::BTreeSet;

use common::*;
use pernet::{NetRef, Nsid, Origin};
use pernet_rtnl::{LocalClient, Socket};
use pernet_wire::uapi::*;
use pernet_wire::{Errno, Messages};

const UNSUPPORTED: &str = "Unsupported attribute in dump request";
const BAD_TARGET: &str = "Invalid target network namespace id";

fn setting() -> (World, NetRef, LocalClient) {
    let world = World::new();
    let (a, t) = (world.net(), world.net());
    world.name(&t, 7);
    world.name(&a, 3);
    for (peer, id) in [(&a, 30), (&world.obs, 31)] {
        t.assign_nsid(peer, Nsid::new(id), Origin::KERNEL).unwrap();
    }
    let client = world.client().with_fd(12, &a).with_fd(13, &t);
    (world, a, client)
}

/// A namespace that names `count` peers, ids ascending from 0.
fn crowd(count: usize) -> (World, Vec<NetRef>) {
    let world = World::new();
    let peers: Vec<NetRef> = (0..count)
        .map(|_| {
            let peer = world.net();
            world.obs.peernet2id_alloc(&peer).expect("id");
            peer
        })
        .collect();
    (world, peers)
}

fn list(socket: &Socket, request: Req, client: &LocalClient) -> Vec<Got> {
    got(&talk(socket, &request.done(), client))
}

fn dump(seq: u32) -> Req {
    req(RTM_GETNSID, DUMP, seq)
}

#[test]
fn c118_ascending_then_done() {
    let (world, _a, client) = setting();
    assert_eq!(list(&world.route(), dump(5), &client), [entry(5, 3), entry(5, 7), done()]);
}

#[test]
fn c119_done_shares_the_last_datagram_when_it_fits() {
    // 134 entries of 28 bytes and 20 of DONE make 3772 of 3776; an entry more and DONE goes to the next.
    for (count, sizes) in [(133, vec![3744]), (134, vec![3772]), (135, vec![3752, 48])] {
        let (world, _peers) = crowd(count);
        let socket = world.route();
        let answer = talk_with(&socket, &dump(1).done(), &world.client(), 100);
        assert_eq!(answer.iter().map(|d| d.bytes.len()).collect::<Vec<_>>(), sizes, "{count} entries");
    }
    // 292 entries fill 8176 of 8192: DONE comes alone.
    let (world, _peers) = crowd(292);
    let socket = world.route();
    talk_with(&socket, &bare(RTM_GETNSID, ACKED, 1), &world.client(), 8192);
    let answer = talk_with(&socket, &dump(1).done(), &world.client(), 8192);
    assert_eq!(answer.iter().map(|d| d.bytes.len()).collect::<Vec<_>>(), [8176, 20]);
}

fn talk_with(socket: &Socket, bytes: &[u8], client: &LocalClient, max: usize) -> Vec<pernet_rtnl::Datagram> {
    socket.send(bytes, None, client).expect("sent");
    std::iter::from_fn(|| socket.recv(max).expect("no overrun")).collect()
}

#[test]
fn c120_an_empty_table() {
    let world = World::new();
    let answer = talk(&world.route(), &dump(1).done(), &world.client());
    assert_eq!((answer.len(), answer[0].bytes.len()), (1, 20));
    assert_eq!(got(&answer), [done()]);
}

#[test]
fn c121_one_flag_bit_suffices() {
    let (world, _a, client) = setting();
    for flag in [NLM_F_ROOT, NLM_F_MATCH] {
        let listed = list(&world.route(), req(RTM_GETNSID, REQUEST | flag, 1), &client);
        assert_eq!(ids(&listed), [3, 7]);
    }
}

#[test]
fn c122_legacy_reads_nothing() {
    let (world, _a, client) = setting();
    let socket = world.route();
    let expected = [entry(1, 3), entry(1, 7), done()];
    let mut family = dump(1).done();
    family[16] = 2;
    for bytes in [
        dump(1).target(7).done(),
        dump(1).bytes(NETNSA_NSID, b"x").done(),
        dump(1).bytes(99, b"").bytes(0, b"").done(),
        dump(1).leftover(),
        family,
    ] {
        assert_eq!(got(&talk(&socket, &bytes, &client)), expected);
    }
    let mut one = bare(RTM_GETNSID, DUMP, 1);
    one.push(0);
    one[0] = 17;
    assert_eq!(got(&talk(&socket, &one, &client)), expected);
    assert_eq!(got(&talk(&socket, &bare(RTM_GETNSID, DUMP, 1), &client)), [], "no body: nothing");
}

#[test]
fn c123_strict_takes_only_a_target() {
    let (world, _a, client) = setting();
    let socket = world.strict();
    assert_eq!(ids(&list(&socket, dump(1), &client)), [3, 7]);
    let current = |id, current| Got::Nsid(RTM_NEWNSID, NLM_F_MULTI, 1, id, Some(current));
    assert_eq!(list(&socket, dump(1).target(7), &client), [current(30, 3), current(31, -1), done()]);
    let unsupported = |offset| [dump_fails(Errno::EINVAL, UNSUPPORTED, Some(offset))];
    assert_eq!(list(&socket, dump(1).nsid(3), &client), unsupported(20));
    assert_eq!(list(&socket, dump(1).fd(12), &client), unsupported(20));
    assert_eq!(list(&socket, dump(1).i32(NETNSA_CURRENT_NSID, 1), &client), unsupported(20));
    // The smallest type is complained about, wherever it stands.
    assert_eq!(list(&socket, dump(1).target(99).fd(12), &client), unsupported(28));
    let unknown = dump_fails(Errno::EINVAL, "Unknown attribute type", Some(20));
    assert_eq!(list(&socket, dump(1).bytes(99, b""), &client), [unknown]);
    let leftover = dump_fails(Errno::EINVAL, "bytes leftover after parsing attributes", None);
    assert_eq!(got(&talk(&socket, &dump(1).leftover(), &client)), [leftover]);
    let short = dump_fails(Errno::ERANGE, "Attribute failed policy validation", Some(20));
    let answer = talk(&socket, &dump(1).bytes(NETNSA_TARGET_NSID, b"ab").done(), &client);
    assert_eq!((answer[0].bytes.len(), got(&answer)), (104, vec![short]));
}

#[test]
fn c124_strict_bad_targets() {
    let (world, _a, client) = setting();
    for id in [99, -1] {
        let refused = list(&world.strict(), dump(1).target(id), &client);
        assert_eq!(refused, [dump_fails(Errno::EINVAL, BAD_TARGET, Some(20))]);
    }
    let refused = list(&world.strict(), dump(1).target(7), &client.with_cred(world.nobody()));
    assert_eq!(refused, [dump_fails(Errno::EACCES, BAD_TARGET, Some(20))]);
}

#[test]
fn c125_errors_travel_in_done() {
    let (world, _a, client) = setting();
    let socket = world.strict();
    set(&socket, NETLINK_EXT_ACK, 0, &client);
    let answer = talk(&socket, &req(RTM_GETNSID, DUMP | NLM_F_ACK, 1).fd(12).done(), &client);
    assert_eq!(answer[0].bytes.len(), 20);
    assert_eq!(got(&answer), [Got::Ack(NLMSG_DONE, NLM_F_MULTI, Err(Errno::EINVAL), None, None)]);
}

#[test]
fn c126_no_ack_after_a_dump() {
    let (world, _a, client) = setting();
    let listed = list(&world.route(), req(RTM_GETNSID, DUMP | NLM_F_ACK, 1), &client);
    assert_eq!(listed, [entry(1, 3), entry(1, 7), done()]);
}

#[test]
fn c127_a_second_dump_is_busy() {
    let (world, _peers) = crowd(200);
    let (socket, client) = (world.route(), world.client());
    socket.send(&dump(1).done(), None, &client).unwrap();
    assert!(socket.dump_running());
    socket.send(&dump(2).done(), None, &client).unwrap();
    socket.send(&req(RTM_GETNSID, REQUEST, 3).nsid(4).done(), None, &client).unwrap();
    let answer = got(&drain(&socket));
    assert_eq!(ids(&answer).len(), 201, "the first dump is unharmed and a single answer comes between");
    assert_eq!(answer.iter().filter(|got| **got == fails(Errno::EBUSY, None, None)).count(), 1);
    assert_eq!((answer.iter().filter(|got| **got == done()).count(), socket.dump_running()), (1, false));
}

#[test]
fn c128_every_entry_arrives_whatever_the_size() {
    for count in [3_000, 100_000] {
        let (world, _peers) = crowd(count);
        let (socket, client) = (world.route(), world.client());
        let answer = talk(&socket, &dump(1).done(), &client);
        let listed = got(&answer);
        assert!(ids(&listed).into_iter().eq(0..count as i32), "{count} ids in order");
        assert_eq!(listed.last(), Some(&done()));
        assert_eq!(listed.iter().filter(|got| **got == done()).count(), 1);
        assert_eq!(answer[0].bytes.len(), 134 * 28);
        assert!(answer[1..answer.len() - 1].iter().all(|d| d.bytes.len() == 1158 * 28));
    }
}

#[test]
fn c128_every_entry_of_a_target_arrives() {
    let (world, peers) = crowd(1000);
    let home = world.net();
    home.assign_nsid(&world.obs, Nsid::new(5), Origin::KERNEL).unwrap();
    for peer in peers.iter().step_by(2) {
        home.peernet2id_alloc(peer).unwrap();
    }
    let (socket, client) = (world.route_in(&home), world.client());
    set(&socket, NETLINK_GET_STRICT_CHK, 1, &client);
    let answer = talk(&socket, &dump(1).target(5).done(), &client);
    assert_eq!(answer[0].bytes.len(), 104 * 36);
    let expected: Vec<Got> = (0..1000)
        .map(|id| {
            let current = home.peernet2id(&peers[id as usize]).map_or(-1, Nsid::get);
            Got::Nsid(RTM_NEWNSID, NLM_F_MULTI, 1, id, Some(current))
        })
        .chain([done()])
        .collect();
    assert_eq!(got(&answer), expected);
}

#[test]
fn c129_capacities() {
    let (world, _peers) = crowd(2_000);
    let client = world.client();
    for (max, entries) in [(0, 134), (3000, 134), (8192, 292), (16_384, 585), (32_768, 1158), (1 << 20, 1158)] {
        let socket = world.route();
        let answer = talk_with(&socket, &dump(1).done(), &client, max);
        assert_eq!(answer[0].bytes.len(), 134 * 28, "nothing was received before");
        assert_eq!(answer[1].bytes.len(), entries * 28, "buffer {max}");
        let again = talk_with(&socket, &dump(2).done(), &client, 100);
        assert_eq!(again[0].bytes.len(), entries * 28, "the largest buffer is remembered");
    }
}

#[test]
fn a_change_between_datagrams_is_flagged_and_hides_nobody() {
    let (world, mut peers) = crowd(400);
    let (socket, client) = (world.route(), world.client());
    socket.send(&dump(1).done(), None, &client).unwrap();
    // Entries already sent vanish: a cursor that counts entries would skip as many living ones.
    let survivors: BTreeSet<i32> = (20..400).collect();
    peers.drain(..20);
    while world.system.step().more {}
    let answer = drain(&socket);
    let listed = got(&answer);
    assert!(survivors.is_subset(&ids(&listed).into_iter().collect()));
    let flags = |d: &pernet_rtnl::Datagram| Messages::new(&d.bytes).map(|m| m.header.flags).collect::<BTreeSet<_>>();
    assert_eq!(flags(&answer[0]), [NLM_F_MULTI].into());
    assert_eq!(flags(&answer[1]), [NLM_F_MULTI | NLM_F_DUMP_INTR].into(), "DONE included");
}

#[test]
fn an_undisturbed_dump_is_not_flagged() {
    let (world, _peers) = crowd(400);
    let answer = talk(&world.route(), &dump(1).done(), &world.client());
    assert!(answer.iter().flat_map(|d| Messages::new(&d.bytes)).all(|m| m.header.flags == NLM_F_MULTI));
}

#[test]
fn a_dump_that_finds_the_queue_full_starts_late() {
    let (world, _peers) = crowd(5);
    let (socket, client) = (world.route(), world.client());
    socket.set_receive_buffer(1700);
    for seq in 0..2 {
        socket.send(&req(RTM_GETNSID, REQUEST, seq).nsid(1).done(), None, &client).unwrap();
    }
    socket.set_receive_buffer(1600);
    socket.send(&dump(9).done(), None, &client).unwrap();
    assert!(socket.dump_running(), "not refused, only late");
    let mut all = Vec::new();
    let mut overruns = 0;
    loop {
        match socket.recv(8192) {
            Ok(Some(datagram)) => all.push(datagram),
            Ok(None) => break,
            Err(_) => overruns += 1,
        }
    }
    assert_eq!(overruns, 1, "the ENOBUFS acknowledgement itself was lost");
    assert_eq!(ids(&got(&all)), [1, 1, 0, 1, 2, 3, 4]);
}

#[test]
fn a_filtered_listing_says_so_in_done() {
    let world = World::new();
    let (socket, client) = (world.strict(), world.client());
    let ask = |ty: u16, body: &[u8]| {
        let mut bytes = bare(ty, DUMP, 1);
        bytes.extend_from_slice(body);
        let len = bytes.len() as u32;
        bytes[..4].copy_from_slice(&len.to_ne_bytes());
        let answer = got(&talk(&socket, &bytes, &client));
        let Some(Got::Ack(NLMSG_DONE, flags, result, ..)) = answer.last() else { panic!("{answer:?}") };
        (*flags, *result)
    };
    // Addresses of every device, of device 1, of one that is not there.
    assert_eq!(ask(RTM_GETADDR, &[0; 8]), (0x02, Ok(())));
    assert_eq!(ask(RTM_GETADDR, &[2, 0, 0, 0, 1, 0, 0, 0]), (0x22, Ok(())));
    assert_eq!(ask(RTM_GETADDR, &[2, 0, 0, 0, 5, 0, 0, 0]), (0x22, Err(Errno::ENODEV)));
    // Routes of all tables, of the main one (IPv4 has none before its first route), of one protocol.
    assert_eq!(ask(RTM_GETROUTE, &[0; 12]), (0x02, Ok(())));
    assert_eq!(ask(RTM_GETROUTE, &[2, 0, 0, 0, 254, 0, 0, 0, 0, 0, 0, 0]), (0x222, Err(Errno::ENOENT)));
    assert_eq!(ask(RTM_GETROUTE, &[2, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0]), (0x22, Ok(())));
}
