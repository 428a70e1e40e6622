//! Options of a header (RFC 791, 3.1): whether they are sound, and whether this host obeys them.

use std::net::Ipv4Addr;

use super::header::{HLEN, write_checksum};
use crate::fib::route_type;
use crate::l2::Cx;
use crate::l4::address::address_type;

const END: u8 = 0;
const NOP: u8 = 1;
const RECORD_ROUTE: u8 = 7;
const TIMESTAMP: u8 = 68;
const LOOSE_ROUTE: u8 = 131;
const STRICT_ROUTE: u8 = 137;
const ROUTER_ALERT: u8 = 148;

/// Of a record of times: what is recorded.
const KIND: u8 = 0x0f;
/// Times alone; else each behind an address, which may have been written by the sender.
const TIMES_ALONE: u8 = 0;
const PRESCRIBED: u8 = 3;

/// What is in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// The sender says by which stations the packet goes.
    pub(super) source_route: bool,
    /// The record of the route, if there is room in it for another address: from the header on.
    pub(super) record_at: Option<usize>,
    /// The record of times, likewise.
    pub(super) stamp_at: Option<usize>,
    /// A record of times that has no room: those who do not stand in it are counted.
    pub(super) overflow_at: Option<usize>,
}

/// Reads the options of a header (`ip_options_compile`).
///
/// # Errors
/// Where the fault is, from the header on.
pub(super) fn parse(header: &[u8]) -> Result<Options, u8> {
    let mut out = Options::default();
    let mut at = HLEN;
    while let Some(&ty) = header.get(at) {
        if ty == END {
            break;
        }
        if ty == NOP {
            at += 1;
            continue;
        }
        let here = at as u8;
        let Some(option) = header.get(at + 1).and_then(|len| header.get(at..at + usize::from(*len))) else {
            return Err(here);
        };
        if option.len() < 2 {
            return Err(here);
        }
        let len = option.len();
        match ty {
            LOOSE_ROUTE | STRICT_ROUTE | RECORD_ROUTE => {
                if len < 3 {
                    return Err(here + 1);
                }
                let pointer = usize::from(option[2]);
                if pointer < 4 || pointer <= len && pointer + 3 > len {
                    return Err(here + 2);
                }
                out.source_route |= ty != RECORD_ROUTE;
                if ty == RECORD_ROUTE && pointer <= len {
                    out.record_at = Some(at);
                }
            }
            TIMESTAMP => {
                if len < 4 {
                    return Err(here + 1);
                }
                let pointer = usize::from(option[2]);
                if pointer < 5 {
                    return Err(here + 2);
                }
                if pointer <= len {
                    let place = if option[3] & KIND == TIMES_ALONE { 4 } else { 8 };
                    if pointer - 1 + place > len {
                        return Err(here + 2);
                    }
                    out.stamp_at = Some(at);
                } else if option[3] & KIND != PRESCRIBED {
                    // They are counted up to fifteen.
                    if option[3] >> 4 == 15 {
                        return Err(here + 3);
                    }
                    out.overflow_at = Some(at);
                }
            }
            ROUTER_ALERT if len < 4 => return Err(here + 1),
            _ => {}
        }
        at += len;
    }
    Ok(out)
}

/// Whether a program may have these options sent.
pub(crate) fn make_sense(options: &[u8]) -> bool {
    parse(&[&[0; HLEN], options].concat()).is_ok()
}

/// Writes an address into the record of the route at `at`; the header's checksum is to be written anew.
pub(super) fn record(packet: &mut [u8], at: usize, address: [u8; 4]) {
    let Some(&pointer) = packet.get(at + 2) else { return };
    let place = at + usize::from(pointer).saturating_sub(1);
    if let Some(field) = packet.get_mut(place..place + 4) {
        field.copy_from_slice(&address);
        packet[at + 2] = pointer.saturating_add(4);
    }
}

/// Writes a moment into the record of times at `at`, behind the address, unless the sender wants it of another host.
fn stamp(packet: &mut [u8], at: usize, address: Ipv4Addr, is_own: impl Fn(Ipv4Addr) -> bool, now: u32) {
    let Some(&[_, _, pointer, kind]) = packet.get(at..).and_then(<[u8]>::first_chunk) else { return };
    let place = at + usize::from(pointer).saturating_sub(1);
    let mut behind = place;
    if kind & KIND != TIMES_ALONE {
        let Some(field) = packet.get_mut(place..).and_then(<[u8]>::first_chunk_mut::<4>) else { return };
        if kind & KIND == PRESCRIBED {
            if !is_own(Ipv4Addr::from(*field)) {
                return;
            }
        } else {
            *field = address.octets();
        }
        behind += 4;
    }
    let Some(field) = packet.get_mut(behind..).and_then(<[u8]>::first_chunk_mut::<4>) else { return };
    *field = now.to_be_bytes();
    packet[at + 2] = pointer.saturating_add((behind + 4 - place) as u8);
}

/// This host is on the way of a packet whose sender wants such to be recorded: by the address `out` in the record of the
/// route, by `at_in`, where the packet came, in that of times.
pub(super) fn note(cx: Cx<'_>, packet: &mut [u8], len: usize, found: Options, (at_in, out): (Ipv4Addr, Ipv4Addr)) {
    if found == Options::default() {
        return;
    }
    if let Some(at) = found.record_at {
        record(packet, at, out.octets());
    }
    if let Some(at) = found.stamp_at {
        let own = |address| address_type(cx, address) == route_type::LOCAL;
        stamp(packet, at, at_in, own, milliseconds());
    }
    if let Some(counted) = found.overflow_at.and_then(|at| packet.get_mut(at + 3)) {
        *counted = counted.saturating_add(0x10);
    }
    write_checksum(packet, len);
}

/// Since midnight, UT.
pub(super) fn milliseconds() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    (since.as_millis() % 86_400_000) as u32
}

/// The options of an answer to a packet with these: what is recorded on the way goes on (`ip_options_echo`).
pub(crate) fn echo(options: &[u8]) -> Vec<u8> {
    only(options, |ty| matches!(ty, RECORD_ROUTE | TIMESTAMP))
}

/// Those of a packet with these that each of its parts has: their type says so.
pub(super) fn copied(options: &[u8]) -> Vec<u8> {
    const COPIED: u8 = 0x80;
    only(options, |ty| ty & COPIED != 0)
}

/// The options of these types, as far as they are sound, filled up to whole words.
fn only(options: &[u8], wanted: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&ty) = options.get(at) {
        let len = match ty {
            END => break,
            NOP => 1,
            _ => options.get(at + 1).map_or(0, |len| usize::from(*len)),
        };
        let Some(option) = options.get(at..at + len).filter(|option| !option.is_empty()) else { break };
        if wanted(ty) {
            out.extend_from_slice(option);
        }
        at += len;
    }
    out.resize(out.len().next_multiple_of(4), END);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(options: &[u8]) -> Result<Options, u8> {
        let mut header = vec![0; HLEN];
        header.extend_from_slice(options);
        parse(&header)
    }

    #[test]
    fn options_are_sound_or_the_fault_is_told() {
        assert_eq!(with(&[]), Ok(Options::default()));
        assert_eq!(with(&[1, 1, 148, 4, 0, 0, 0, 0]), Ok(Options::default()));
        assert_eq!(with(&[131, 7, 4, 10, 0, 0, 1, 0]), Ok(Options { source_route: true, ..Options::default() }));
        assert_eq!(with(&[1, 7, 7, 4, 0, 0, 0, 0]), Ok(Options { record_at: Some(21), ..Options::default() }));
        assert_eq!(with(&[7, 7, 8, 1, 2, 3, 4, 0]), Ok(Options::default()));
        assert_eq!(with(&[7, 40, 4, 0]), Err(20));
        assert_eq!(with(&[1, 7, 7, 3, 0, 0, 0, 0]), Err(23));
        assert_eq!(with(&[7, 1, 0, 0]), Err(20));
        assert_eq!(with(&[68, 8, 4, 0, 0, 0, 0, 0]), Err(22));
    }

    #[test]
    fn a_time_is_recorded_where_it_is_wanted() {
        let own = |address: Ipv4Addr| address.octets() == [10, 0, 0, 2];
        let stamped = |options: &[u8]| {
            let mut packet = vec![0; HLEN];
            packet.extend(options);
            stamp(&mut packet, HLEN, Ipv4Addr::new(10, 0, 0, 1), own, 7);
            packet.split_off(HLEN)
        };
        assert_eq!(stamped(&[68, 8, 5, 0, 0, 0, 0, 0]), [68, 8, 9, 0, 0, 0, 0, 7]);
        assert_eq!(stamped(&[68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0]), [68, 12, 13, 1, 10, 0, 0, 1, 0, 0, 0, 7]);
        let prescribed = |last| [68, 12, 5, 3, 10, 0, 0, last, 0, 0, 0, 0];
        assert_eq!(stamped(&prescribed(2)), [68, 12, 13, 3, 10, 0, 0, 2, 0, 0, 0, 7]);
        assert_eq!(stamped(&prescribed(3)), prescribed(3));
        assert_eq!(with(&[68, 8, 9, 0, 0, 0, 0, 7]), Ok(Options { overflow_at: Some(20), ..Options::default() }));
        assert_eq!(with(&[68, 8, 9, 0xf0, 0, 0, 0, 7]), Err(23));
        assert_eq!(with(&[68, 8, 5, 1, 0, 0, 0, 0]), Err(22));
    }

    #[test]
    fn an_answer_records_on() {
        assert_eq!(echo(&[1, 148, 4, 0, 0, 7, 7, 8, 1, 2, 3, 4]), [7, 7, 8, 1, 2, 3, 4, 0]);
        assert_eq!(echo(&[7, 0, 7]), []);
    }

    #[test]
    fn a_part_has_what_is_to_be_copied() {
        assert_eq!(copied(&[1, 7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0]), [148, 4, 0, 0]);
        assert_eq!(copied(&[131, 3, 4, 0, 148, 4, 0, 0]), [131, 3, 4, 0]);
        assert_eq!(copied(&[131, 9, 4]), []);
    }

    #[test]
    fn an_address_is_recorded_where_there_is_room() {
        let mut packet = vec![0; HLEN];
        packet.extend([7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        record(&mut packet, HLEN, [10, 0, 0, 1]);
        record(&mut packet, HLEN, [10, 0, 0, 2]);
        assert_eq!(packet[20..], [7, 11, 12, 10, 0, 0, 1, 10, 0, 0, 2, 0]);
        assert_eq!(parse(&packet), Ok(Options::default()));
    }
}
