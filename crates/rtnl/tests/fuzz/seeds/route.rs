//! Routes of both families.

use super::*;

pub(super) fn metrics(rng: &mut Rng) -> Attr {
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

pub(super) fn gateway(rng: &mut Rng, family: u8) -> Attr {
    if family != 10 && rng.once_in(8) {
        let mut via = vec![10, 0];
        via.extend(ip6(rng));
        return Attr::bytes(18, via);
    }
    Attr::bytes(5, ip(rng, family))
}

pub(super) fn route(rng: &mut Rng) -> Message {
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
