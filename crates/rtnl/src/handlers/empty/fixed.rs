//! What every namespace is born with and the stack cannot change yet: policy rules.

use pernet_wire::uapi::*;
use pernet_wire::{Errno, ExtAck, Strictness};

use super::{Handler, dump_of, family, is_zero, refuse};
use crate::handlers::{DumpOut, Full, Request, Step};

/// Bytes of `struct fib_rule_hdr`.
const HEADER: usize = 12;

pub(super) const RULES: Handler = dump_of(RTM_GETRULE, rules);

/// A rule that sends everything to a table.
struct Rule {
    family: u8,
    table: u8,
    priority: u32,
}

const fn rule(family: u8, table: u8, priority: u32) -> Rule {
    Rule { family, table, priority }
}

/// IPv4, multicast routing of IPv4 (128) and IPv6 (129), IPv6: local (255), main (254), default (253).
const BORN_RULES: [Rule; 7] = [
    rule(2, 255, 0),
    rule(2, 254, 32_766),
    rule(2, 253, 32_767),
    rule(128, 253, 32_767),
    rule(129, 254, 32_767),
    rule(10, 255, 0),
    rule(10, 254, 32_766),
];

/// In the strict form: a header, zero but for the family, and nothing behind it.
fn bare(request: &Request<'_>, ext: &mut ExtAck, texts: [&'static str; 3]) -> Result<(), Errno> {
    let payload = request.msg.payload();
    let [short, values, data] = texts;
    match payload.get(..HEADER) {
        _ if request.strictness() == Strictness::Legacy => Ok(()),
        None => refuse(ext, short),
        Some(header) if !is_zero(&header[1..]) => refuse(ext, values),
        Some(_) if payload.len() > HEADER => refuse(ext, data),
        Some(_) => Ok(()),
    }
}

/// Sends the entries from the cursor on.
fn send<T>(
    out: &mut DumpOut,
    entries: impl Iterator<Item = T>,
    mut entry: impl FnMut(&mut DumpOut, T) -> Result<(), Full>,
) -> Step {
    let done = usize::try_from(out.cursor.next).unwrap_or(usize::MAX);
    for item in entries.skip(done) {
        if entry(out, item).is_err() {
            return Step::More;
        }
        out.cursor.next += 1;
    }
    Step::Done
}

/// RTM_GETRULE (`fib_nl_dumprule`).
fn rules(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    const FR_ACT_TO_TBL: u8 = 1;
    const RTPROT_KERNEL: u8 = 2;
    const FRA_PRIORITY: u16 = 6;
    const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
    const FRA_TABLE: u16 = 15;
    const FRA_PROTOCOL: u16 = 21;
    let texts = [
        "Invalid header for fib rule dump request",
        "Invalid values in header for fib rule dump request",
        "Invalid data after header in fib rule dump request",
    ];
    bare(request, ext, texts)?;
    let asked = family(request);
    if asked != AF_UNSPEC && !BORN_RULES.iter().any(|r| i32::from(r.family) == asked) {
        return Err(Errno::EAFNOSUPPORT);
    }
    let chosen = |r: &&Rule| asked == AF_UNSPEC || i32::from(r.family) == asked;
    let step = send(out, BORN_RULES.iter().filter(chosen), |out, rule| {
        out.entry(RTM_NEWRULE, |m| {
            let mut header = [0; HEADER];
            (header[0], header[4], header[7]) = (rule.family, rule.table, FR_ACT_TO_TBL);
            m.put_raw(&header)
                .put_u32(FRA_TABLE, rule.table.into())
                .put_i32(FRA_SUPPRESS_PREFIXLEN, -1)
                .put_u8(FRA_PROTOCOL, RTPROT_KERNEL);
            if rule.priority != 0 {
                m.put_u32(FRA_PRIORITY, rule.priority);
            }
        })
    });
    Ok(step)
}
