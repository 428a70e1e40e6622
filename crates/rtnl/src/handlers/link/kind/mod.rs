//! `IFLA_LINKINFO`: the kinds of devices, as requests describe them.

mod veth;

use pernet_stack::KindSpec;
use pernet_wire::{Attr, Errno, ExtAck, Kind, Policy, Strictness, parse_nested};

use super::Request;

pub(super) const IFLA_INFO_KIND: u16 = 1;
pub(super) const IFLA_INFO_DATA: u16 = 2;
pub(super) const IFLA_INFO_SLAVE_KIND: u16 = 4;
pub(super) const IFLA_INFO_SLAVE_DATA: u16 = 5;

/// `ifla_info_policy`.
const INFO: Policy = Policy(&[
    None,
    Some(Kind::String { max: 0 }),
    Some(Kind::Nested),
    Some(Kind::Nested),
    Some(Kind::String { max: 0 }),
    Some(Kind::Nested),
]);

/// What `IFLA_LINKINFO` says.
#[derive(Clone, Debug, Default)]
pub(super) struct Info<'a> {
    pub(super) kind: Option<Box<str>>,
    pub(super) kind_attr: Option<Attr<'a>>,
    pub(super) data: Option<Attr<'a>>,
    pub(super) port_kind: Option<Box<str>>,
    pub(super) port_data: Option<Attr<'a>>,
}

impl<'a> Info<'a> {
    /// Reads an `IFLA_LINKINFO`.
    pub(super) fn read(attr: Option<Attr<'a>>, ext: &mut ExtAck) -> Result<Self, Errno> {
        let Some(attr) = attr else { return Ok(Self::default()) };
        let inside = parse_nested(attr.nested(), &INFO, Strictness::Legacy, ext)?;
        let word = |ty| inside.get(ty).map(|a| super::change::text(&a));
        Ok(Self {
            kind: word(IFLA_INFO_KIND),
            kind_attr: inside.get(IFLA_INFO_KIND),
            data: inside.get(IFLA_INFO_DATA),
            port_kind: word(IFLA_INFO_SLAVE_KIND),
            port_data: inside.get(IFLA_INFO_SLAVE_DATA),
        })
    }

    /// The device to be made.
    pub(super) fn spec(&self, request: &Request<'_>, ext: &mut ExtAck) -> Result<KindSpec, Errno> {
        match self.kind.as_deref() {
            Some("dummy") => Ok(KindSpec::Dummy),
            Some("veth") => veth::read(request, self.data.as_ref(), ext).map(|peer| KindSpec::Veth(Box::new(peer))),
            _ => {
                ext.set_msg("Unknown device type");
                Err(Errno::EOPNOTSUPP)
            }
        }
    }
}
