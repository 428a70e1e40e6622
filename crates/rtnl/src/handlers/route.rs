//! Routes of every family: what a listing that names no family asks, one family after the other (`rtnl_dump_all`).

use pernet_wire::uapi::*;
use pernet_wire::{Errno, ExtAck};

use super::{DumpOut, Dumpit, Handler, Request, Step};

/// Families that answer themselves have rows of their own.
pub(crate) const HANDLERS: &[Handler] = &[Handler { family: 0, ty: RTM_GETROUTE, doit: None, dumpit: Some(dump_all) }];

/// The families, in the order of their numbers.
const FAMILIES: [i32; 2] = [AF_INET, AF_INET6];

/// The uppermost bits of the cursor's second word tell the family; what is below belongs to it.
const FAMILY_SHIFT: u32 = 60;
const OWN: u64 = (1 << FAMILY_SHIFT) - 1;

fn dump_all(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    let mut at = out.cursor.aux >> FAMILY_SHIFT;
    out.cursor.aux &= OWN;
    while let Some(family) = usize::try_from(at).ok().and_then(|at| FAMILIES.get(at)) {
        let handler: Option<Dumpit> = super::find_own(*family as u8, RTM_GETROUTE);
        let step = handler.map_or(Ok(Step::Done), |handler| handler(request, out, ext))?;
        if step == Step::More {
            out.cursor.aux |= at << FAMILY_SHIFT;
            return Ok(Step::More);
        }
        at += 1;
        (out.cursor.next, out.cursor.aux) = (0, 0);
        out.cursor.forget_generation();
    }
    // Everything was said; the cursor stays behind the last family.
    out.cursor.aux = at << FAMILY_SHIFT;
    Ok(Step::Done)
}
