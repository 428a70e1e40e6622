//! Nexthop objects.

use super::*;

pub(super) fn nexthop(rng: &mut Rng) -> Message {
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
