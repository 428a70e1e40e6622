//! Networks of tunnels that filter, and counters.

use super::*;

pub(super) fn tunnel(rng: &mut Rng) -> Message {
    let mut header = vec![rng.pick(&[7, 7, 7, 7, 0]), rng.pick(&[0, 0, 1, 2]), 0, 0];
    header.extend(index(rng).to_ne_bytes());
    let count = rng.pick(&[0, 1, 1, 1, 2, 3]);
    let attrs = (0..count).map(|_| entry(rng)).collect();
    let (ty, flags) = match rng.below(6) {
        0..3 => (RTM_NEWTUNNEL, create_flags(rng)),
        3 => (RTM_DELTUNNEL, ACKED),
        _ => (RTM_GETTUNNEL, get_flags(rng)),
    };
    Message { ty, flags, header, attrs }
}

fn entry(rng: &mut Rng) -> Attr {
    let numbers = [0, 1, 2, 3, 5, 9, 0x00ff_ffff, 0x0100_0000, u32::MAX];
    let (start, end) = (rng.pick(&numbers), rng.pick(&numbers));
    let (four, six) = (ip4(rng), ip6(rng));
    let mut parts = some(vec![Attr::u32(2, end), Attr::bytes(3, four), Attr::bytes(4, six)], 3, rng);
    if !rng.once_in(8) {
        parts.insert(0, Attr::u32(1, start));
    }
    if rng.once_in(20) {
        parts.push(Attr::nest(5 | NLA_F_NESTED, Vec::new()));
    }
    let flag = if rng.once_in(12) { 0 } else { NLA_F_NESTED };
    Attr::nest(1 | flag, parts)
}

pub(super) fn stats(rng: &mut Rng) -> Message {
    let set = rng.once_in(3);
    let mut header = vec![rng.pick(&[0, 0, 0, 7]), 0, 0, 0];
    header.extend(index(rng).to_ne_bytes());
    header.extend(if set { 0 } else { rng.pick(&[0_u32, 1, 2, 4, 8, 16, 31, 63]) }.to_ne_bytes());
    let attrs = if set {
        vec![Attr::u8(2, rng.pick(&[0, 1, 1, 2]))]
    } else {
        let filters = vec![Attr::u32(4, rng.pick(&[0, 1, 2, 4, 7, 16]))];
        some(vec![Attr::nest(1 | NLA_F_NESTED, filters)], 2, rng)
    };
    let (ty, flags) = if set { (RTM_SETSTATS, ACKED) } else { (RTM_GETSTATS, get_flags(rng)) };
    Message { ty, flags, header, attrs }
}
