//! The program by which `ss` chooses (`inet_diag_bc_run`): comparisons that each say how far to go on if they hold, and if
//! they do not. Whoever gets exactly to the end is chosen.

use std::net::IpAddr;

use pernet_stack::InetEntry;

mod op {
    pub(super) const NOP: u8 = 0;
    pub(super) const JMP: u8 = 1;
    pub(super) const S_GE: u8 = 2;
    pub(super) const S_LE: u8 = 3;
    pub(super) const D_GE: u8 = 4;
    pub(super) const D_LE: u8 = 5;
    pub(super) const AUTO: u8 = 6;
    pub(super) const S_COND: u8 = 7;
    pub(super) const D_COND: u8 = 8;
    pub(super) const DEV_COND: u8 = 9;
    pub(super) const MARK_COND: u8 = 10;
    pub(super) const S_EQ: u8 = 11;
    pub(super) const D_EQ: u8 = 12;
    pub(super) const CGROUP_COND: u8 = 13;
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `struct inet_diag_bc_op`.
const OP: usize = 4;
/// `struct inet_diag_hostcond` without the address.
const HOST: usize = 8;
/// The group of processes that all are in.
pub(super) const CGROUP: u64 = 1;

/// A step: what it does, and by how many bytes it goes on.
#[derive(Clone, Copy)]
struct Step<'a> {
    code: u8,
    yes: usize,
    no: usize,
    /// What comes behind it.
    operand: &'a [u8],
}

fn step(program: &[u8]) -> Option<Step<'_>> {
    let (&[code, yes, a, b], operand) = program.split_first_chunk::<OP>()?;
    Some(Step { code, yes: yes.into(), no: u16::from_ne_bytes([a, b]).into(), operand })
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|&b| u32::from_ne_bytes(b))
}

/// The port that stands in the next step's place.
fn port(operand: &[u8]) -> Option<u16> {
    operand.get(2..4).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes)
}

/// Is it a program that comes to an end, and reads nothing beyond (`inet_diag_bc_audit`)?
pub(super) fn is_sound(program: &[u8], admin: bool) -> bool {
    let len = program.len();
    let mut at = 0;
    while let Some(rest) = program.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(step) = step(rest) else { return false };
        let operand = match step.code {
            op::NOP | op::JMP | op::AUTO => 0,
            op::S_GE | op::S_LE | op::D_GE | op::D_LE | op::S_EQ | op::D_EQ | op::DEV_COND => 4,
            op::MARK_COND if !admin => return false,
            op::MARK_COND | op::CGROUP_COND => 8,
            op::S_COND | op::D_COND => match step.operand {
                [0, ..] => HOST,
                [AF_INET, bits, ..] if *bits <= 32 => HOST + 4,
                [AF_INET6, bits, ..] if *bits <= 128 => HOST + 16,
                _ => return false,
            },
            _ => return false,
        };
        let fits = step.operand.len() >= operand && (step.code == op::NOP || step.yes >= OP + operand);
        // A jump backwards cannot be written; one beyond the end chooses nobody.
        let lands = |by: usize| by >= OP && by.is_multiple_of(4) && at + by <= len + 4;
        if !fits || !lands(step.yes) || at + step.yes > len || (step.code != op::NOP && !lands(step.no)) {
            return false;
        }
        at += step.yes;
    }
    true
}

fn same_bits(a: &[u8], b: &[u8], bits: usize) -> bool {
    let (whole, rest) = (bits / 8, bits % 8);
    let mask = !(0xff_u8.checked_shr(rest as u32).unwrap_or(0));
    a.get(..whole) == b.get(..whole)
        && (rest == 0 || a.get(whole).is_some_and(|a| b.get(whole).is_some_and(|b| (a ^ b) & mask == 0)))
}

/// Is the address of that network, and the port that one?
fn is_host(condition: &[u8], addr: IpAddr, port: u16) -> bool {
    let (Some((&[family, bits, _, _], rest)), bits_max) = (condition.split_first_chunk::<4>(), 128) else {
        return false;
    };
    let Some(wanted) = word(rest).map(|wanted| wanted as i32) else { return false };
    if wanted != -1 && wanted != i32::from(port) {
        return false;
    }
    let bits = usize::from(bits).min(bits_max);
    let Some(network) = rest.get(4..) else { return false };
    match (family, addr) {
        _ if bits == 0 && family == 0 => true,
        (AF_INET, IpAddr::V4(addr)) => same_bits(&addr.octets(), network, bits),
        // A dual socket's IPv4.
        (AF_INET, IpAddr::V6(addr)) => match addr.to_ipv4_mapped() {
            Some(addr) => same_bits(&addr.octets(), network, bits),
            None => false,
        },
        (AF_INET6, IpAddr::V6(addr)) => same_bits(&addr.octets(), network, bits),
        _ => false,
    }
}

/// Does a [sound](is_sound) program choose this socket?
pub(super) fn chooses(program: &[u8], entry: &InetEntry) -> bool {
    let (source, destination) = (entry.local, entry.peer);
    let mut at = 0;
    while let Some(step) = program.get(at..).and_then(step) {
        let compare = |holds: fn(u16, u16) -> bool, have: u16| port(step.operand).is_some_and(|want| holds(have, want));
        let yes = match step.code {
            op::NOP => true,
            op::S_GE => compare(|have, want| have >= want, source.port()),
            op::S_LE => compare(|have, want| have <= want, source.port()),
            op::S_EQ => compare(|have, want| have == want, source.port()),
            op::D_GE => compare(|have, want| have >= want, destination.port()),
            op::D_LE => compare(|have, want| have <= want, destination.port()),
            op::D_EQ => compare(|have, want| have == want, destination.port()),
            op::AUTO => !entry.port_locked,
            op::S_COND => is_host(step.operand, source.ip(), source.port()),
            op::D_COND => is_host(step.operand, destination.ip(), destination.port()),
            op::DEV_COND => word(step.operand) == Some(entry.device),
            op::MARK_COND => word(step.operand)
                .zip(step.operand.get(4..).and_then(word))
                .is_some_and(|(mark, mask)| entry.mark & mask == mark),
            op::CGROUP_COND => step.operand.first_chunk().is_some_and(|&id| u64::from_ne_bytes(id) == CGROUP),
            _ => false,
        };
        at += if yes { step.yes } else { step.no };
    }
    at == program.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(code: u8, yes: u8, no: u16) -> [u8; 4] {
        let [a, b] = no.to_ne_bytes();
        [code, yes, a, b]
    }

    #[test]
    fn only_programs_that_end_are_run() {
        for (program, sound) in [
            (vec![op(op::NOP, 4, 4)], true),
            (vec![op(op::NOP, 4, 8)], true),
            (vec![op(op::NOP, 8, 4)], false),
            (vec![op(99, 4, 8)], false),
            (vec![op(op::JMP, 4, 4)], true),
            (vec![op(op::S_GE, 4, 8)], false),
            (vec![op(op::S_GE, 8, 12), op(0, 0, 8080)], true),
            (vec![op(op::S_GE, 8, 16), op(0, 0, 8080)], false),
            (vec![op(op::S_COND, 4, 8)], false),
            (vec![op(op::NOP, 3, 4)], false),
            (vec![op(op::AUTO, 4, 8)], true),
        ] {
            assert_eq!(is_sound(&program.concat(), true), sound, "{program:?}");
        }
        let mark = [op(op::MARK_COND, 12, 16), [1, 0, 0, 0], [255; 4]].concat();
        assert!(is_sound(&mark, true) && !is_sound(&mark, false));
    }

    #[test]
    fn networks_are_compared_by_their_bits() {
        let condition =
            |family, bits, port: i32, addr: &[u8]| [&[family, bits, 0, 0][..], &port.to_ne_bytes(), addr].concat();
        let host = "10.1.2.3".parse().unwrap();
        assert!(is_host(&condition(AF_INET, 20, -1, &[10, 1, 15, 0]), host, 1));
        assert!(!is_host(&condition(AF_INET, 21, -1, &[10, 1, 15, 0]), host, 1));
        assert!(!is_host(&condition(AF_INET, 20, 2, &[10, 1, 15, 0]), host, 1));
        assert!(is_host(&condition(0, 0, 1, &[]), host, 1));
        let mapped = "::ffff:10.1.2.3".parse().unwrap();
        assert!(is_host(&condition(AF_INET, 32, -1, &[10, 1, 2, 3]), mapped, 1));
        assert!(!is_host(&condition(AF_INET6, 128, -1, &[1; 16]), host, 1));
    }
}
