//! What every namespace is born with and the stack cannot change yet: IPv6 address labels.

use pernet_wire::uapi::*;
use pernet_wire::{Errno, ExtAck, Strictness};

use super::{Handler, dump_of, is_zero, refuse};
use crate::handlers::{DumpOut, Full, Request, Step};

const RTM_NEWADDRLABEL: u16 = 72;
const RTM_GETADDRLABEL: u16 = 74;
/// Bytes of `struct ifaddrlblmsg`.
const HEADER: usize = 12;

/// Only IPv6 has labels.
pub(super) const LABELS: Handler = Handler { family: AF_INET6 as u8, ..dump_of(RTM_GETADDRLABEL, labels) };

/// Address, prefix length, label (RFC 6724, and what older drafts had).
const BORN_LABELS: [([u16; 8], u8, u32); 10] = [
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, 0),
    ([0; 8], 96, 3),
    ([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, 4),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, 6),
    ([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28, 7),
    ([0x3ffe, 0, 0, 0, 0, 0, 0, 0], 16, 12),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, 2),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, 11),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, 5),
    ([0; 8], 0, 1),
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

/// RTM_GETADDRLABEL (`ip6addrlbl_dump`).
fn labels(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    const IFAL_ADDRESS: u16 = 1;
    const IFAL_LABEL: u16 = 2;
    let texts = [
        "ipv6: Invalid header for address label dump request",
        "ipv6: Invalid values in header for address label dump request",
        "ipv6: Invalid data after header for address label dump request",
    ];
    bare(request, ext, texts)?;
    let step = send(out, BORN_LABELS.iter(), |out, (address, prefix, label)| {
        out.entry(RTM_NEWADDRLABEL, |m| {
            let mut header = [0; HEADER];
            (header[0], header[2]) = (AF_INET6 as u8, *prefix);
            // The sequence number counts the changes of the list: one for each label.
            header[8..].copy_from_slice(&(BORN_LABELS.len() as u32).to_ne_bytes());
            let address: Vec<u8> = address.iter().flat_map(|group| group.to_be_bytes()).collect();
            m.put_raw(&header).put(IFAL_ADDRESS, &address).put_u32(IFAL_LABEL, *label);
        })
    });
    Ok(step)
}
