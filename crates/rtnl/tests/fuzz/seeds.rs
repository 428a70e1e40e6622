//! Requests that a program would send: what mutations start from. Names, indices, prefixes and ids come from small sets, so
//! that one request often meets what another one made.

use pernet_wire::uapi::*;

use crate::message::{Attr, Message, Value};
use crate::rng::Rng;

const ACKED: u16 = NLM_F_REQUEST | NLM_F_ACK;
const NAMES: [&str; 12] =
    ["lo", "a", "b", "c", "d", "e", "br0", "br1", "v10", "vx0", "a-name-of-15-ch", "alternative-name-that-is-long"];

/// Makes a request of one family.
type Seed = fn(&mut Rng) -> Message;

/// Requests that make a namespace one in which most others can succeed: a cable of which both ends are up, addresses, a
/// route and nexthop objects.
pub(crate) fn prelude() -> Vec<Vec<u8>> {
    const NEW: u16 = ACKED | NLM_F_CREATE | NLM_F_EXCL;
    let up = |index: u32| {
        let words = [0, index, 1, 1];
        words.into_iter().flat_map(u32::to_ne_bytes).collect::<Vec<u8>>()
    };
    let peer = Value::Nest(vec![0; 16], vec![Attr::str(IFLA_IFNAME, "b")]);
    let cable = vec![Attr::str(1, "veth"), Attr::nest(2, vec![Attr { ty: 1, value: peer }])];
    let cable = vec![Attr::str(IFLA_IFNAME, "a"), Attr::nest(IFLA_LINKINFO, cable)];
    let address = |family: u8, len: u8, address: &[u8]| {
        let header = vec![family, len, 0, 0, 3, 0, 0, 0];
        Message { ty: RTM_NEWADDR, flags: NEW, header, attrs: vec![Attr::bytes(2, address), Attr::bytes(1, address)] }
    };
    let mut six = [0; 16];
    (six[0], six[1], six[2], six[3], six[15]) = (0x20, 0x01, 0x0d, 0xb8, 9);
    let to = Attr::bytes(1, [10, 0, 2, 0]);
    let route = vec![to, Attr::bytes(5, [10, 0, 0, 1]), Attr::u32(4, 3)];
    let nexthop = |family: u8, id: u32| {
        let attrs = vec![Attr::u32(1, id), Attr::u32(5, 3)];
        Message { ty: 104, flags: NEW, header: vec![family, 0, 0, 0, 0, 0, 0, 0], attrs }
    };
    let all = [
        Message { ty: RTM_NEWLINK, flags: NEW, header: vec![0; 16], attrs: cable },
        Message { ty: RTM_NEWLINK, flags: ACKED, header: up(1), attrs: Vec::new() },
        Message { ty: RTM_NEWLINK, flags: ACKED, header: up(2), attrs: Vec::new() },
        Message { ty: RTM_NEWLINK, flags: ACKED, header: up(3), attrs: Vec::new() },
        address(2, 24, &[10, 0, 0, 9]),
        address(10, 64, &six),
        Message { ty: RTM_NEWROUTE, flags: NEW, header: vec![2, 24, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0], attrs: route },
        nexthop(2, 1),
        nexthop(10, 2),
    ];
    let write = |message: &Message| {
        let mut out = Vec::new();
        message.write(7, &mut out);
        out
    };
    all.iter().map(write).collect()
}

/// The families of messages, each with what makes one.
pub(crate) const FAMILIES: [(&str, Seed); 10] = [
    ("link", link),
    ("addr", addr),
    ("route", route),
    ("rule", rule),
    ("neigh", neigh),
    ("nexthop", nexthop),
    ("nsid", nsid),
    ("netconf", netconf),
    ("addrlabel", addrlabel),
    ("other", other),
];

fn name(rng: &mut Rng) -> &'static str {
    rng.pick(&NAMES)
}

fn index(rng: &mut Rng) -> u32 {
    rng.pick(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 20, 77])
}

fn bits(rng: &mut Rng, of: &[u32]) -> u32 {
    of.iter().filter(|_| rng.once_in(3)).fold(0, |all, bit| all | bit)
}

fn create_flags(rng: &mut Rng) -> u16 {
    ACKED
        | rng.pick(&[
            NLM_F_CREATE | NLM_F_EXCL,
            NLM_F_CREATE | NLM_F_EXCL,
            NLM_F_CREATE | NLM_F_REPLACE,
            NLM_F_CREATE | NLM_F_APPEND,
            NLM_F_CREATE,
            NLM_F_REPLACE,
            0,
            NLM_F_ECHO | NLM_F_CREATE,
        ])
}

fn get_flags(rng: &mut Rng) -> u16 {
    if rng.once_in(2) { NLM_F_REQUEST | NLM_F_DUMP } else { ACKED }
}

fn mac(rng: &mut Rng) -> [u8; 6] {
    [2, 0, 0, 0, 0, rng.pick(&[1, 2, 3, 4])]
}

fn ip4(rng: &mut Rng) -> [u8; 4] {
    match rng.below(12) {
        0 => [127, 0, 0, rng.pick(&[1, 2])],
        1 => [0; 4],
        2 => [224, 0, 0, 1],
        3 => [255; 4],
        4 => [169, 254, 1, 1],
        _ => [10, 0, rng.pick(&[0, 0, 1, 2]), rng.pick(&[0, 1, 2, 3, 254, 255])],
    }
}

fn ip6(rng: &mut Rng) -> [u8; 16] {
    let mut out = [0; 16];
    match rng.below(12) {
        0 => out[15] = 1,
        1 => {}
        2 => (out[0], out[1], out[15]) = (0xff, 2, 1),
        3 => (out[10], out[11], out[12], out[15]) = (0xff, 0xff, 10, 1),
        4 | 5 => (out[0], out[1], out[15]) = (0xfe, 0x80, rng.pick(&[1, 2])),
        _ => {
            (out[0], out[1], out[2], out[3]) = (0x20, 0x01, 0x0d, 0xb8);
            out[7] = rng.pick(&[0, 0, 1]);
            out[15] = rng.pick(&[0, 1, 2, 3]);
        }
    }
    out
}

fn family(rng: &mut Rng) -> u8 {
    rng.pick(&[2, 2, 2, 10, 10, 10, 0, 7, 128, 129, 28])
}

/// An address of a family; of IPv4 if the family has none.
fn ip(rng: &mut Rng, family: u8) -> Vec<u8> {
    if family == 10 { ip6(rng).to_vec() } else { ip4(rng).to_vec() }
}

fn plen(rng: &mut Rng, family: u8) -> u8 {
    if family == 10 { rng.pick(&[64, 64, 128, 0, 48, 8, 129]) } else { rng.pick(&[24, 24, 32, 16, 0, 8, 31, 33]) }
}

/// `network/len` as routes want it: nothing behind the prefix.
fn prefix(rng: &mut Rng, family: u8) -> (Vec<u8>, u8) {
    let (mut address, len) = (ip(rng, family), plen(rng, family));
    if !rng.once_in(12) {
        for (at, byte) in address.iter_mut().enumerate() {
            let keep = u32::from(len).saturating_sub(8 * at as u32).min(8);
            *byte &= (0xff00u32 >> keep) as u8;
        }
    }
    (address, len)
}

/// Some of these attributes, in order.
fn some(of: Vec<Attr>, one_in: usize, rng: &mut Rng) -> Vec<Attr> {
    of.into_iter().filter(|_| rng.once_in(one_in)).collect()
}

fn ifinfo(index: u32, rng: &mut Rng) -> Vec<u8> {
    const FLAGS: [u32; 7] = [1, 0x80, 0x100, 0x1000, 0x200, 2, 0x10000];
    let mut out = vec![0; 4];
    out.extend(index.to_ne_bytes());
    out.extend(bits(rng, &FLAGS).to_ne_bytes());
    out.extend(rng.pick(&[0, 1, 1, u32::MAX, 0x1181]).to_ne_bytes());
    out
}

fn kind_data(rng: &mut Rng, kind: &str) -> Option<Attr> {
    let data = match kind {
        "veth" => {
            let fixed = ifinfo(rng.pick(&[0, 0, 0, 9]), rng);
            let mut peer = link_attrs(rng, 40);
            peer.push(Attr::str(IFLA_IFNAME, name(rng)));
            vec![Attr { ty: 1, value: Value::Nest(fixed, peer) }]
        }
        "bridge" => {
            let (priority, port) = (rng.next() as u16, rng.pick(&[1u16, 10, 0, 4095]));
            let all = (1..=4).map(|ty| Attr::u32(ty, rng.pick(&[0, 200, 1500, 2000, 30000, 100_000]))).collect();
            let mut attrs = some(all, 4, rng);
            attrs.extend(some(
                vec![
                    Attr::u32(5, 1),
                    Attr::u16(6, priority),
                    Attr::u8(7, 1),
                    Attr::u16(8, 0x0081),
                    Attr::u16(9, 8),
                    Attr::bytes(20, [1, 0x80, 0xc2, 0, 0, 0]),
                    Attr::u8(23, 1),
                    Attr::u16(39, port),
                    Attr::u8(41, 1),
                ],
                4,
                rng,
            ));
            attrs
        }
        "vlan" => {
            let id = rng.pick(&[10u16, 10, 20, 0, 4094, 4095, 4096]);
            let mut attrs = vec![Attr::u16(1, id)];
            attrs.extend(some(
                vec![
                    Attr::bytes(2, [1, 0, 0, 0, 1, 0, 0, 0]),
                    Attr::nest(3, vec![Attr::bytes(1, [1, 0, 0, 0, 2, 0, 0, 0])]),
                    Attr::nest(4, vec![Attr::bytes(1, [3, 0, 0, 0, 4, 0, 0, 0])]),
                    Attr::bytes(5, [0x81, 0]),
                    Attr::bytes(5, [0x88, 0xa8]),
                ],
                5,
                rng,
            ));
            attrs
        }
        "vxlan" => {
            let (id, lower) = (rng.pick(&[42, 42, 43, 0, 1 << 24]), index(rng));
            let (group, local) = (ip4(rng), ip4(rng));
            let (group6, local6) = (ip6(rng), ip6(rng));
            let mut attrs = vec![Attr::u32(1, id)];
            attrs.extend(some(
                vec![
                    Attr::bytes(2, group),
                    Attr::u32(3, lower),
                    Attr::bytes(4, local),
                    Attr::u8(5, 64),
                    Attr::u8(6, 1),
                    Attr::u8(7, 0),
                    Attr::u32(8, 100),
                    Attr::u32(9, 10),
                    Attr::bytes(10, [0x80, 0, 0x90, 0]),
                    Attr::u8(11, 1),
                    Attr::bytes(15, [0x12, 0xb5]),
                    Attr::bytes(16, group6),
                    Attr::bytes(17, local6),
                    Attr::u8(25, 1),
                ],
                5,
                rng,
            ));
            attrs
        }
        "macvlan" | "macvtap" => {
            let (mode, address) = (rng.pick(&[1, 2, 4, 8, 16, 3]), mac(rng));
            let all = vec![
                Attr::u32(1, mode),
                Attr::u16(2, rng.pick(&[0, 1, 2])),
                Attr::u32(3, rng.pick(&[0, 1, 2, 3])),
                Attr::bytes(4, address),
                Attr::u32(7, rng.pick(&[1000, u32::MAX])),
            ];
            some(all, 3, rng)
        }
        _ => return rng.once_in(4).then(|| Attr::nest(2, Vec::new())),
    };
    Some(Attr::nest(2, data))
}

fn link_attrs(rng: &mut Rng, one_in: usize) -> Vec<Attr> {
    let (mac_, broadcast, master, nsid) = (mac(rng), mac(rng), index(rng), rng.pick(&[0u32, 1, 5, u32::MAX]));
    let (alt, alias, conf) = (name(rng), name(rng), rng.pick(&[0, 1, 2]));
    let all = vec![
        Attr::bytes(IFLA_ADDRESS, mac_),
        Attr::bytes(IFLA_BROADCAST, broadcast),
        Attr::u32(IFLA_MTU, rng.pick(&[1500, 1280, 68, 67, 0, 9000, 65_535, 65_536])),
        Attr::u32(IFLA_MASTER, master),
        Attr::u32(IFLA_TXQLEN, rng.pick(&[0, 1000, u32::MAX])),
        Attr::u8(IFLA_OPERSTATE, rng.pick(&[0, 5, 6, 2])),
        Attr::u8(IFLA_LINKMODE, rng.pick(&[0, 1, 2])),
        Attr::u32(IFLA_NET_NS_PID, rng.pick(&[20, 20, 21, 1])),
        Attr::str(IFLA_IFALIAS, alias),
        Attr::nest(IFLA_AF_SPEC, {
            vec![
                Attr::nest(2, vec![Attr::nest(1, vec![Attr::u32(rng.pick(&[1, 2, 24, 33, 40]), conf)])]),
                Attr::nest(10, vec![Attr::u8(8, rng.pick(&[0, 1, 2, 3, 9]))]),
            ]
        }),
        Attr::u32(IFLA_GROUP, rng.pick(&[0, 1, 77])),
        Attr::u32(IFLA_NET_NS_FD, rng.pick(&[10, 11, 12, 13, 99])),
        Attr::u32(IFLA_NUM_TX_QUEUES, rng.pick(&[1, 2, 0, 4097])),
        Attr::u32(IFLA_NUM_RX_QUEUES, rng.pick(&[1, 2])),
        Attr::u8(IFLA_CARRIER, rng.pick(&[0, 1])),
        Attr::u32(IFLA_LINK_NETNSID, nsid),
        Attr::u8(IFLA_PROTO_DOWN, rng.pick(&[0, 1])),
        Attr::u32(IFLA_GSO_MAX_SEGS, rng.pick(&[1, 65_535, 0])),
        Attr::u32(IFLA_GSO_MAX_SIZE, rng.pick(&[65_536, 100, 1 << 20])),
        Attr::u32(IFLA_TARGET_NETNSID, nsid),
        Attr::u32(IFLA_NEW_IFINDEX, rng.pick(&[0, 7, 20])),
        Attr::nest(IFLA_PROP_LIST, vec![Attr::str(IFLA_ALT_IFNAME, alt)]),
        Attr::nest(55, vec![Attr::u32(1, 1), Attr::u32(2, 1)]),
        Attr::u32(IFLA_GRO_MAX_SIZE, 65_536),
        Attr::nest(IFLA_XDP, vec![Attr::u32(1, u32::MAX)]),
        Attr::u32(IFLA_EXT_MASK, rng.pick(&[0, 1, 2, 8, 9])),
    ];
    some(all, one_in, rng)
}

fn link(rng: &mut Rng) -> Message {
    const KINDS: [&str; 18] = [
        "dummy", "dummy", "dummy", "veth", "veth", "veth", "veth", "bridge", "bridge", "vlan", "vlan", "vxlan",
        "vxlan", "macvlan", "macvtap", "ifb", "tun", "nothing",
    ];
    let index = index(rng);
    let header = ifinfo(index, rng);
    let mut named = link_attrs(rng, 100);
    if index == 0 || rng.once_in(3) {
        let ty = if rng.once_in(8) { IFLA_ALT_IFNAME } else { IFLA_IFNAME };
        named.push(Attr::str(ty, name(rng)));
    }
    match rng.below(20) {
        0..6 => {
            let kind = rng.pick(&KINDS);
            let mut info = vec![Attr::str(1, kind)];
            info.extend(kind_data(rng, kind));
            if matches!(kind, "vlan" | "vxlan" | "macvlan" | "macvtap") {
                named.push(Attr::u32(IFLA_LINK, rng.pick(&[1, 2, 3, 4, 5, 6, 7, 8, 9])));
            }
            if rng.once_in(10) {
                named.push(Attr::u32(IFLA_MASTER, self::index(rng)));
            }
            if !named.iter().any(|a| a.ty == IFLA_IFNAME) && rng.once_in(2) {
                named.push(Attr::str(IFLA_IFNAME, name(rng)));
            }
            named.push(Attr::nest(IFLA_LINKINFO, info));
            let header = ifinfo(rng.pick(&[0, 0, 0, 0, 8, index]), rng);
            Message { ty: RTM_NEWLINK, flags: create_flags(rng), header, attrs: named }
        }
        6..11 => {
            named.extend(link_attrs(rng, 20));
            if rng.once_in(6) {
                let kind = rng.pick(&KINDS);
                let mut info = vec![Attr::str(1, kind)];
                info.extend(kind_data(rng, kind));
                named.push(Attr::nest(IFLA_LINKINFO, info));
            } else if rng.once_in(6) {
                let slave = vec![Attr::u8(1, 3), Attr::u16(2, 8), Attr::u8(4, 1), Attr::u8(8, 1)];
                named.push(Attr::nest(IFLA_LINKINFO, vec![Attr::str(4, "bridge"), Attr::nest(5, some(slave, 2, rng))]));
            }
            let ty = if rng.once_in(3) { RTM_SETLINK } else { RTM_NEWLINK };
            Message { ty, flags: ACKED, header, attrs: named }
        }
        11 | 12 => Message { ty: RTM_DELLINK, flags: ACKED, header, attrs: named },
        13 | 14 => {
            let ty = rng.pick(&[108, 109]);
            let names = vec![Attr::str(IFLA_ALT_IFNAME, name(rng)), Attr::str(IFLA_ALT_IFNAME, name(rng))];
            named.push(Attr::nest(IFLA_PROP_LIST, some(names, 2, rng)));
            Message { ty, flags: create_flags(rng), header, attrs: named }
        }
        15 => {
            let mut header = header;
            header[0] = 7;
            let vid = rng.pick(&[1u16, 10, 4095]).to_ne_bytes();
            let spec = vec![Attr::u16(0, 2), Attr::u16(1, 0), Attr::bytes(2, [0, 0, vid[0], vid[1]])];
            let spec = Attr::nest(IFLA_AF_SPEC, some(spec, 2, rng));
            let port = Attr::nest(12 | NLA_F_NESTED, vec![Attr::u8(1, rng.pick(&[0, 3])), Attr::u8(4, 1)]);
            let ty = rng.pick(&[RTM_SETLINK, RTM_DELLINK]);
            Message { ty, flags: ACKED, header, attrs: some(vec![spec, port], 2, rng) }
        }
        16 => {
            let mut header = vec![0; 4];
            header.extend(index.to_ne_bytes());
            header.extend(rng.pick(&[0u32, 1, 2, 8, 16, 31, 1 << 20]).to_ne_bytes());
            Message { ty: 94, flags: get_flags(rng), header, attrs: Vec::new() }
        }
        _ => {
            let mut header = header;
            header[0] = rng.pick(&[0, 0, 0, 10, 7, 128]);
            if rng.once_in(2) {
                header[1..].fill(0);
                header[4..8].copy_from_slice(&index.to_ne_bytes());
            }
            Message { ty: RTM_GETLINK, flags: get_flags(rng), header, attrs: named }
        }
    }
}

fn addr(rng: &mut Rng) -> Message {
    let family = family(rng);
    let mut header = vec![family, plen(rng, family), rng.pick(&[0, 0, 0x80, 2, 4]), rng.pick(&[0, 0, 253, 254, 200])];
    header.extend(index(rng).to_ne_bytes());
    let local = ip(rng, family);
    let other = ip(rng, family);
    let mut attrs = vec![Attr::bytes(2, local.clone())];
    if rng.once_in(2) {
        attrs.push(Attr::bytes(1, if rng.once_in(4) { other } else { local }));
    }
    let (broadcast, label) = (ip(rng, family), rng.pick(&["a", "a:1", "b:x", "lo:9", ""]));
    let times: Vec<u8> = [rng.pick(&[0, 10, 100, u32::MAX]), rng.pick(&[0, 10, 200, u32::MAX]), 0, 0]
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect();
    let flags = bits(rng, &[0x80, 0x100, 0x200, 0x400, 1, 2, 4, 8]);
    let nsid = rng.pick(&[0, 1, 5, u32::MAX]);
    attrs.extend(some(
        vec![
            Attr::str(3, label),
            Attr::bytes(4, broadcast),
            Attr::bytes(6, times),
            Attr::u32(8, flags),
            Attr::u32(9, rng.pick(&[0, 100])),
            Attr::u32(10, nsid),
            Attr::u8(11, 3),
        ],
        5,
        rng,
    ));
    match rng.below(8) {
        0..4 => Message { ty: RTM_NEWADDR, flags: create_flags(rng), header, attrs },
        4 | 5 => Message { ty: RTM_DELADDR, flags: ACKED, header, attrs },
        _ => {
            let strict = rng.once_in(2);
            if strict {
                header[1..4].fill(0);
                attrs.retain(|a| a.ty == 10);
            }
            let ty = rng.pick(&[RTM_GETADDR, RTM_GETADDR, 58, 62]);
            Message { ty, flags: get_flags(rng), header, attrs }
        }
    }
}

fn metrics(rng: &mut Rng) -> Attr {
    let all = vec![
        Attr::u32(1, 4),
        Attr::u32(2, rng.pick(&[1400, 70_000])),
        Attr::u32(4, 100),
        Attr::u32(8, 1400),
        Attr::u32(10, rng.pick(&[64, 255, 300])),
        Attr::u32(12, rng.pick(&[1, 8, 256])),
        Attr::str(16, rng.pick(&["cubic", "reno", "nothing"])),
    ];
    Attr::nest(8, some(all, 3, rng))
}

fn gateway(rng: &mut Rng, family: u8) -> Attr {
    if family != 10 && rng.once_in(8) {
        let mut via = vec![10, 0];
        via.extend(ip6(rng));
        return Attr::bytes(18, via);
    }
    Attr::bytes(5, ip(rng, family))
}

fn route(rng: &mut Rng) -> Message {
    let family = family(rng);
    let (dst, len) = prefix(rng, family);
    let table = rng.pick(&[254, 254, 254, 255, 0, 100, 253]);
    let protocol = rng.pick(&[3, 4, 2, 0, 9]);
    let scope = rng.pick(&[0, 0, 0, 253, 253, 254, 200]);
    let ty = rng.pick(&[1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 0]);
    let (src_len, tos) = (rng.pick(&[0, 0, 0, 0, 8]), rng.pick(&[0, 0, 0, 0, 8, 16, 3]));
    let mut header = vec![family, len, src_len, tos, table, protocol, scope, ty];
    header.extend(bits(rng, &[4, 0x800, 0x200, 0x1000, 1, 0x2000]).to_ne_bytes());
    if !rng.once_in(3) {
        header[8..].fill(0);
    }
    let mut attrs = Vec::new();
    if len != 0 || rng.once_in(4) {
        attrs.push(Attr::bytes(1, dst));
    }
    match rng.below(8) {
        0 => {
            let mut records = Vec::new();
            for _ in 0..rng.below(4) {
                let mut fixed = vec![0, 0, rng.pick(&[0, 0, 4, 1]), rng.pick(&[0, 1, 9])];
                fixed.extend(index(rng).to_ne_bytes());
                let inside = vec![gateway(rng, family)];
                records.push((fixed, some(inside, 2, rng)));
            }
            attrs.push(Attr { ty: 9, value: Value::Records(records) });
        }
        1 => attrs.push(Attr::u32(30, rng.pick(&[1, 2, 3, 10, 0]))),
        2..5 => attrs.push(Attr::u32(4, index(rng))),
        _ => {
            attrs.push(gateway(rng, family));
            if rng.once_in(2) {
                attrs.push(Attr::u32(4, index(rng)));
            }
        }
    }
    let (source, preferred) = (ip(rng, family), ip(rng, family));
    let all = vec![
        Attr::bytes(2, source),
        Attr::u32(3, index(rng)),
        Attr::u32(6, rng.pick(&[0, 10, 1024, u32::MAX])),
        Attr::bytes(7, preferred),
        metrics(rng),
        Attr::u32(11, 5),
        Attr::u32(15, rng.pick(&[100, 254, 1000, 255])),
        Attr::u32(16, 7),
        Attr::u8(20, rng.pick(&[0, 1, 3])),
        Attr::u16(21, rng.pick(&[1, 2, 99])),
        Attr::nest(22, vec![Attr::u32(1, 1)]),
        Attr::u32(23, rng.pick(&[0, 5, 100])),
        Attr::u32(25, 1000),
        Attr::u8(27, rng.pick(&[6, 17, 1])),
        Attr::u16(28, 0x5000),
        Attr::u16(29, 0x5000),
        Attr::u32(31, 1),
    ];
    match rng.below(12) {
        0..6 => {
            attrs.extend(some(all, 12, rng));
            Message { ty: RTM_NEWROUTE, flags: create_flags(rng), header, attrs }
        }
        6..8 => {
            attrs.extend(some(all, 15, rng));
            Message { ty: RTM_DELROUTE, flags: ACKED, header, attrs }
        }
        8 | 9 => {
            header[2..8].fill(0);
            attrs.extend(some(all, 6, rng));
            attrs.retain(|a| ![5, 9, 8, 18].contains(&a.ty));
            Message { ty: RTM_GETROUTE, flags: ACKED, header, attrs }
        }
        _ => {
            if rng.once_in(2) {
                header[1..].fill(0);
                attrs = some(vec![Attr::u32(15, rng.pick(&[254, 100])), Attr::u32(4, 1)], 2, rng);
            }
            Message { ty: RTM_GETROUTE, flags: NLM_F_REQUEST | NLM_F_DUMP, header, attrs }
        }
    }
}

fn rule(rng: &mut Rng) -> Message {
    let family = family(rng);
    let (to, len) = prefix(rng, family);
    let (from, from_len) = prefix(rng, family);
    let (has_to, has_from) = (rng.once_in(4), rng.once_in(4));
    let mut header = vec![family, if has_to { len } else { 0 }, if has_from { from_len } else { 0 }];
    header.extend([rng.pick(&[0, 0, 0, 8, 3]), rng.pick(&[254, 100, 0, 255, 253]), 0, 0]);
    header.push(rng.pick(&[1, 1, 1, 2, 3, 6, 7, 8, 0, 4, 9]));
    header.extend(bits(rng, &[2, 1]).to_ne_bytes());
    if !rng.once_in(4) {
        header[8..].fill(0);
    }
    let mut attrs = Vec::new();
    if has_to {
        attrs.push(Attr::bytes(1, to));
    }
    if has_from {
        attrs.push(Attr::bytes(2, from));
    }
    let all = vec![
        Attr::str(3, name(rng)),
        Attr::u32(4, rng.pick(&[100, 200, 0])),
        Attr::u32(10, 7),
        Attr::u32(11, 7),
        Attr::bytes(12, [0, 0, 0, 0, 0, 0, 0, 1]),
        Attr::u32(13, 3),
        Attr::u32(14, rng.pick(&[0, 24, 200])),
        Attr::u32(16, 255),
        Attr::str(17, name(rng)),
        Attr::u8(19, rng.pick(&[1, 0, 2])),
        Attr::bytes(20, [0, 0, 0, 0, 100, 0, 0, 0]),
        Attr::u8(21, 4),
        Attr::u8(22, rng.pick(&[6, 17])),
        Attr::bytes(23, [1, 0, 2, 0]),
        Attr::bytes(24, [1, 0, 2, 0]),
        Attr::u8(25, rng.pick(&[1, 63, 64])),
        Attr::u32(26, 1),
        Attr::u32(27, 1),
        Attr::u16(28, 0xff),
        Attr::u16(29, 0xff),
        Attr::u8(30, 3),
    ];
    let many = rng.pick(&[12, 12, 5]);
    attrs.extend(some(all, many, rng));
    if !rng.once_in(3) {
        attrs.push(Attr::u32(6, rng.pick(&[100, 100, 200, 300, 0, 32_766])));
    }
    if !rng.once_in(3) {
        attrs.push(Attr::u32(15, rng.pick(&[100, 254, 1000, 0])));
    }
    let kind = rng.below(8);
    if kind >= 6 {
        if rng.once_in(2) {
            header[1..].fill(0);
            attrs.clear();
        }
        return Message { ty: RTM_GETRULE, flags: get_flags(rng), header, attrs };
    }
    let ty = if kind < 4 { RTM_NEWRULE } else { RTM_DELRULE };
    Message { ty, flags: create_flags(rng), header, attrs }
}

fn neigh(rng: &mut Rng) -> Message {
    if rng.once_in(8) {
        return neightbl(rng);
    }
    let family = rng.pick(&[2, 2, 2, 10, 10, 10, 7, 7, 0, 1]);
    let mut header = vec![family, 0, 0, 0];
    header.extend(index(rng).to_ne_bytes());
    header.extend(rng.pick(&[0x80u16, 0x40, 2, 4, 8, 0x10, 0x20, 1, 0, 0xc0]).to_ne_bytes());
    header.push(rng.pick(&[0, 0, 0, 8, 0x80, 2, 4, 1, 0x10]));
    header.push(0);
    let mut attrs = Vec::new();
    if family == 7 {
        attrs.push(Attr::bytes(2, mac(rng)));
        let all = vec![
            Attr::bytes(1, ip4(rng)),
            Attr::u16(5, rng.pick(&[1, 10])),
            Attr::u32(7, 42),
            Attr::u32(9, index(rng)),
        ];
        attrs.extend(some(all, 4, rng));
    } else {
        attrs.push(Attr::bytes(1, ip(rng, family)));
        if !rng.once_in(4) {
            attrs.push(Attr::bytes(2, mac(rng)));
        }
    }
    let all =
        vec![Attr::u32(4, 1), Attr::u32(8, index(rng)), Attr::u32(9, index(rng)), Attr::u8(12, 4), Attr::u32(15, 1)];
    attrs.extend(some(all, 10, rng));
    match rng.below(8) {
        0..4 => Message { ty: RTM_NEWNEIGH, flags: create_flags(rng), header, attrs },
        4 | 5 => Message { ty: RTM_DELNEIGH, flags: ACKED | rng.pick(&[0, 0, NLM_F_BULK]), header, attrs },
        _ => {
            if rng.once_in(2) {
                header[1..10].fill(0);
                attrs.retain(|a| a.ty == 8 || a.ty == 9);
            }
            Message { ty: RTM_GETNEIGH, flags: get_flags(rng), header, attrs }
        }
    }
}

fn neightbl(rng: &mut Rng) -> Message {
    let header = vec![rng.pick(&[2, 10, 0]), 0, 0, 0];
    let values = |rng: &mut Rng| rng.pick(&[0u64, 1000, 30_000, 1 << 40]).to_ne_bytes();
    let params = vec![
        Attr::u32(1, index(rng)),
        Attr::bytes(4, values(rng)),
        Attr::bytes(5, values(rng)),
        Attr::bytes(6, values(rng)),
        Attr::bytes(7, values(rng)),
        Attr::u32(8, 5),
        Attr::u32(9, 5),
        Attr::u32(14, 1000),
        Attr::u32(15, 3),
    ];
    let mut attrs = vec![Attr::str(1, rng.pick(&["arp_cache", "ndisc_cache", "x"]))];
    let all = vec![
        Attr::u32(2, rng.pick(&[1, 128])),
        Attr::u32(3, 512),
        Attr::u32(4, 1024),
        Attr::nest(6, some(params, 3, rng)),
        Attr::bytes(8, values(rng)),
    ];
    attrs.extend(some(all, 2, rng));
    if rng.once_in(3) {
        return Message { ty: 66, flags: get_flags(rng), header, attrs: Vec::new() };
    }
    Message { ty: rng.pick(&[67, 67, 67, 64, 65]), flags: ACKED, header, attrs }
}

fn nexthop(rng: &mut Rng) -> Message {
    let family = rng.pick(&[2, 2, 10, 10, 0, 7]);
    let id = rng.pick(&[1, 2, 3, 4, 10, 11, 0]);
    let mut header = vec![family, rng.pick(&[0, 0, 0, 253]), rng.pick(&[4, 0, 9]), 0];
    header.extend(rng.pick(&[0u32, 0, 0, 4, 1, 2]).to_ne_bytes());
    let mut attrs = vec![Attr::u32(1, id)];
    let kind = rng.below(10);
    if kind < 5 {
        match rng.below(6) {
            0 => attrs.push(Attr::bytes(4, [])),
            1 | 2 => {
                header[0] = 0;
                header[1..].fill(0);
                let mut group = Vec::new();
                for _ in 0..1 + rng.below(3) {
                    group.extend(rng.pick(&[1u32, 2, 3, 10, 99]).to_ne_bytes());
                    group.extend([rng.pick(&[0, 1, 254, 255]), 0, 0, 0]);
                }
                attrs.push(Attr::bytes(2, group));
                if rng.once_in(2) {
                    attrs.push(Attr::u16(3, rng.pick(&[0, 1, 2])));
                    let inside = vec![Attr::u16(1, rng.pick(&[4, 8, 0, 40_000])), Attr::u32(2, 100), Attr::u32(3, 100)];
                    attrs.push(Attr::nest(12, some(inside, 2, rng)));
                }
            }
            3 => attrs.push(Attr::u32(5, index(rng))),
            _ => {
                attrs.push(Attr::u32(5, index(rng)));
                attrs.push(Attr::bytes(6, ip(rng, family)));
            }
        }
        let all = vec![Attr::bytes(11, []), Attr::u16(7, 1), Attr::nest(8, Vec::new()), Attr::u32(14, 1)];
        attrs.extend(some(all, 15, rng));
        return Message { ty: 104, flags: create_flags(rng), header, attrs };
    }
    if kind < 7 {
        header[1..].fill(0);
        return Message { ty: 105, flags: ACKED, header, attrs };
    }
    header[1..].fill(0);
    let flags = get_flags(rng);
    if flags & NLM_F_DUMP == NLM_F_DUMP {
        let all = vec![Attr::u32(5, index(rng)), Attr::bytes(9, []), Attr::u32(10, index(rng)), Attr::bytes(11, [])];
        attrs = some(all, 3, rng);
    }
    Message { ty: rng.pick(&[106, 106, 106, 118]), flags, header, attrs }
}

fn nsid(rng: &mut Rng) -> Message {
    let id = rng.pick(&[0, 1, 5, 7, u32::MAX]);
    let all = vec![
        Attr::u32(NETNSA_NSID, id),
        Attr::u32(NETNSA_FD, rng.pick(&[10, 11, 12, 13, 99])),
        Attr::u32(NETNSA_PID, rng.pick(&[20, 21, 1])),
        Attr::u32(NETNSA_TARGET_NSID, rng.pick(&[0, 1, 5])),
    ];
    let (ty, flags) = match rng.below(4) {
        0 | 1 => (RTM_NEWNSID, ACKED),
        2 => (RTM_GETNSID, get_flags(rng)),
        _ => (rng.pick(&[RTM_DELNSID, RTM_GETNSID]), ACKED),
    };
    Message { ty, flags, header: vec![0; 4], attrs: some(all, 2, rng) }
}

fn netconf(rng: &mut Rng) -> Message {
    let family = rng.pick(&[2, 10, 28, 0]);
    let device = index(rng);
    let which = rng.pick(&[device, u32::MAX, u32::MAX - 1]);
    let attrs = vec![Attr::u32(1, which)];
    let ty = rng.pick(&[82, 82, 82, 80, 81]);
    Message { ty, flags: get_flags(rng), header: vec![family, 0, 0, 0], attrs: some(attrs, 2, rng) }
}

fn addrlabel(rng: &mut Rng) -> Message {
    let (to, len) = prefix(rng, 10);
    let mut header = vec![rng.pick(&[10, 10, 10, 2]), 0, len, 0];
    let device = index(rng);
    header.extend(rng.pick(&[0, 0, device]).to_ne_bytes());
    header.extend([0; 4]);
    let attrs = vec![Attr::bytes(1, to), Attr::u32(2, rng.pick(&[1, 99, u32::MAX]))];
    let (ty, flags) = match rng.below(4) {
        0 | 1 => (72, create_flags(rng)),
        2 => (73, ACKED),
        _ => (74, get_flags(rng)),
    };
    Message { ty, flags, header, attrs }
}

/// Types that have no seeds of their own: a header that fits many, and no attributes.
fn other(rng: &mut Rng) -> Message {
    let ty = RTM_BASE + (rng.next() % u64::from(RTM_MAX - RTM_BASE + 3)) as u16;
    let mut header = vec![family(rng), 0, 0, 0];
    header.extend(index(rng).to_ne_bytes());
    header.resize(rng.pick(&[4, 8, 12, 16, 20]), 0);
    Message { ty, flags: get_flags(rng), header, attrs: Vec::new() }
}
