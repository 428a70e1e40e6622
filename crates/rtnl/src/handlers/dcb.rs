//! RTM_GETDCB and RTM_SETDCB: bridging for data centres, which no device here does. Refused in the words of Linux.

use pernet_wire::uapi::*;
use pernet_wire::{Errno, ExtAck, Kind, Policy, Strictness, parse};

use super::{Handler, Request};

/// Bytes of `struct dcbmsg`: family, command, padding.
const HEADER: usize = 4;
/// `DCB_ATTR_IFNAME`.
const NAME: u16 = 1;
const POLICY: Policy = Policy(&[None, Some(Kind::NulString { max: 15 })]);

pub(crate) const HANDLERS: &[Handler] = &[
    Handler { family: 0, ty: RTM_GETDCB, doit: Some(refused), dumpit: None },
    Handler { family: 0, ty: RTM_SETDCB, doit: Some(refused), dumpit: None },
];

/// `dcb_doit`.
fn refused(request: &Request<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    let Some(&[_, command, ..]) = request.msg.payload().first_chunk::<HEADER>() else {
        return Err(Errno::EINVAL);
    };
    let attrs = parse(&request.msg, HEADER, &POLICY, Strictness::Legacy, ext)?;
    if command == 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let name = attrs.get(NAME).ok_or(Errno::EINVAL)?;
    let name = std::str::from_utf8(name.str_bytes()).map_err(|_| Errno::ENODEV)?;
    let links = request.stack().links(request.net).ok_or(Errno::ENODEV)?;
    links.by_name(name).ok_or(Errno::ENODEV)?;
    Err(Errno::EOPNOTSUPP)
}
