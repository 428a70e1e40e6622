//! Routes of every family: what a listing that names no family asks, one family after the other.

use pernet_wire::uapi::*;
use pernet_wire::{Errno, ExtAck};

use super::{DumpOut, Handler, Request, Step};

/// Families that answer themselves have rows of their own.
pub(crate) const HANDLERS: &[Handler] = &[Handler { family: 0, ty: RTM_GETROUTE, doit: None, dumpit: Some(dump) }];

fn dump(request: &Request<'_>, out: &mut DumpOut, ext: &mut ExtAck) -> Result<Step, Errno> {
    super::dump_all(&[AF_INET, AF_INET6], request, out, ext)
}
