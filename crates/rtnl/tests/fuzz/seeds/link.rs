//! Devices: what makes, changes, takes away and asks for one.

use super::*;

pub(super) fn ifinfo(index: u32, rng: &mut Rng) -> Vec<u8> {
    const FLAGS: [u32; 7] = [1, 0x80, 0x100, 0x1000, 0x200, 2, 0x10000];
    let mut out = vec![0; 4];
    out.extend(index.to_ne_bytes());
    out.extend(bits(rng, &FLAGS).to_ne_bytes());
    out.extend(rng.pick(&[0, 1, 1, u32::MAX, 0x1181]).to_ne_bytes());
    out
}

pub(super) fn kind_data(rng: &mut Rng, kind: &str) -> Option<Attr> {
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
                    Attr::u8(30, rng.pick(&[0, 1, 1])),
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

pub(super) fn link_attrs(rng: &mut Rng, one_in: usize) -> Vec<Attr> {
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

pub(super) fn link(rng: &mut Rng) -> Message {
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
