//! Neighbours, forwarding tables, and the settings of neighbour tables.

use super::*;

pub(super) fn neigh(rng: &mut Rng) -> Message {
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

pub(super) fn neightbl(rng: &mut Rng) -> Message {
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
