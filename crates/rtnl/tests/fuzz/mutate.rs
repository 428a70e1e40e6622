//! What is done to a good request.

use pernet_wire::uapi::*;

use crate::message::{Attr, Message, Value};
use crate::rng::Rng;
use crate::seeds::FAMILIES;

/// Words that tend to be boundaries.
const WORDS: [u32; 12] = [0, 1, 2, 7, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX];

/// A datagram: usually one message, often as good as it was made.
pub(crate) fn datagram(rng: &mut Rng, only: Option<usize>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let many = if rng.once_in(40) { 1 + rng.below(3) } else { 1 };
    for _ in 0..many {
        let mut message = seed(rng, only);
        if !rng.once_in(3) {
            for _ in 0..1 + rng.below(3) {
                mutate(rng, &mut message);
            }
        }
        message.write(7, &mut out);
    }
    if rng.once_in(12) {
        damage(rng, &mut out);
    }
    out
}

fn seed(rng: &mut Rng, only: Option<usize>) -> Message {
    // Links are what most others hang on.
    const WEIGHTS: [usize; 16] = [0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 4, 5, 6, 7, 8, 9];
    let family = match only {
        Some(only) if !rng.once_in(4) => only,
        _ => rng.pick(&WEIGHTS),
    };
    FAMILIES[family].1(rng)
}

fn mutate(rng: &mut Rng, message: &mut Message) {
    match rng.below(16) {
        0 => message.flags ^= 1 << rng.pick(&[1, 3, 8, 9, 10, 11]),
        1 => message.header.truncate(rng.below(message.header.len() + 1)),
        2 => {
            let more = rng.below(12);
            message.header.resize(message.header.len() + more, rng.next() as u8);
        }
        3 | 4 => bytes(rng, &mut message.header),
        5 => message.ty = message.ty & !3 | rng.next() as u16 & 3,
        6 => {
            // Attributes of another request.
            let other = seed(rng, None);
            message.attrs.extend(other.attrs);
        }
        _ => attrs(rng, &mut message.attrs, 0),
    }
}

fn attrs(rng: &mut Rng, list: &mut Vec<Attr>, depth: usize) {
    if list.is_empty() || rng.once_in(12) {
        let (ty, len) = (rng.below(70) as u16, rng.below(20));
        list.push(Attr::bytes(ty, vec![rng.next() as u8; len]));
        return;
    }
    let at = rng.below(list.len());
    match rng.below(12) {
        0 => drop(list.remove(at)),
        1 => list.push(list[at].clone()),
        2 => {
            let other = rng.below(list.len());
            list.swap(at, other);
        }
        3 => list[at].ty = rng.below(70) as u16,
        4 => list[at].ty ^= rng.pick(&[NLA_F_NESTED, NLA_F_NET_BYTEORDER, 1, 2]),
        5 if depth < 40 => {
            // Into itself.
            let inside = list[at].clone();
            list[at] = Attr::nest(inside.ty, vec![inside]);
        }
        _ => match &mut list[at].value {
            Value::Bytes(value) => bytes(rng, value),
            Value::Nest(fixed, inside) => {
                if !fixed.is_empty() && rng.once_in(4) {
                    bytes(rng, fixed);
                } else {
                    attrs(rng, inside, depth + 1);
                }
            }
            Value::Records(records) => match records.len() {
                0 => {}
                len => {
                    let (fixed, inside) = &mut records[rng.below(len)];
                    if rng.once_in(2) {
                        bytes(rng, fixed);
                    } else {
                        attrs(rng, inside, depth + 1);
                    }
                    // The length that is patched in needs its place.
                    fixed.resize(fixed.len().max(2), 0);
                }
            },
        },
    }
}

/// Changes a value, its length or both.
fn bytes(rng: &mut Rng, value: &mut Vec<u8>) {
    match rng.below(8) {
        0 => value.truncate(rng.below(value.len() + 1)),
        1 => value.resize(value.len() + 1 + rng.below(5), 0),
        2 => value.clear(),
        3 if rng.once_in(20) => value.resize(rng.pick(&[256, 4000, 65_531]), b'x'),
        3 | 4 => {
            let word = rng.pick(&WORDS);
            value.clear();
            value.extend(word.to_ne_bytes());
        }
        _ if value.is_empty() => value.push(rng.next() as u8),
        5 => {
            let at = rng.below(value.len());
            value[at] = rng.pick(&[0, 1, 0x7f, 0x80, 0xff, b'/', b'%', b' ', b':']);
        }
        _ => {
            let at = rng.below(value.len());
            value[at] ^= 1 << rng.below(8);
        }
    }
}

/// What no builder would make: lengths that lie, a cut, anything anywhere.
fn damage(rng: &mut Rng, out: &mut Vec<u8>) {
    match rng.below(4) {
        0 => out.truncate(rng.below(out.len() + 1).max(1)),
        1 => out.extend((0..rng.below(9)).map(|n| n as u8)),
        2 => {
            let len = out.len() as u32;
            out[..4].copy_from_slice(&rng.pick(&[len - 1, len + 1, 16, 17, 0, len - 4]).to_ne_bytes());
        }
        _ => {
            for _ in 0..1 + rng.below(4) {
                let at = rng.below(out.len());
                out[at] = rng.next() as u8;
            }
        }
    }
}
