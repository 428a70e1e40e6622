//! Policy rules.

use super::*;

pub(super) fn rule(rng: &mut Rng) -> Message {
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
