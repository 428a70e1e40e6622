//! Requests that a program would send: what mutations start from. Names, indices, prefixes and ids come from small sets, so
//! that one request often meets what another one made.

#[path = "seeds/addr.rs"]
mod addr;
#[path = "seeds/link.rs"]
mod link;
#[path = "seeds/neigh.rs"]
mod neigh;
#[path = "seeds/nexthop.rs"]
mod nexthop;
#[path = "seeds/route.rs"]
mod route;
#[path = "seeds/rule.rs"]
mod rule;
#[path = "seeds/tunnel.rs"]
mod tunnel;

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
pub(crate) const FAMILIES: [(&str, Seed); 12] = [
    ("link", link::link),
    ("addr", addr::addr),
    ("route", route::route),
    ("rule", rule::rule),
    ("neigh", neigh::neigh),
    ("nexthop", nexthop::nexthop),
    ("nsid", nsid),
    ("netconf", netconf),
    ("addrlabel", addrlabel),
    ("tunnel", tunnel::tunnel),
    ("stats", tunnel::stats),
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
