//! Addresses.

use super::*;

pub(super) fn addr(rng: &mut Rng) -> Message {
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
