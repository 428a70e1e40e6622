//! veth: the other end is described by a whole link request inside the data.

use pernet_stack::VethPeer;
use pernet_wire::uapi::*;
use pernet_wire::{Attr, Errno, ExtAck, Kind, Policy, Strictness, parse_nested};

use super::super::request::{self, IFINFOMSG_LEN, IfInfo};
use super::super::{change, newlink};
use super::Request;

const VETH_INFO_PEER: u16 = 1;
const POLICY: Policy = Policy(&[None, Some(Kind::MinLen { min: IFINFOMSG_LEN as u16 })]);

/// The other end; one without any wishes if the request says nothing of it.
pub(super) fn read(request: &Request<'_>, data: Option<&Attr<'_>>, ext: &mut ExtAck) -> Result<VethPeer, Errno> {
    let Some(data) = data else { return Ok(VethPeer::default()) };
    let data = parse_nested(data.nested(), &POLICY, Strictness::Legacy, ext)?;
    let Some(peer) = data.get(VETH_INFO_PEER) else { return Ok(VethPeer::default()) };
    let Some(info) = IfInfo::read(peer.payload) else { return Err(Errno::EINVAL) };
    let inside = pernet_wire::Attrs::at(&peer.payload[IFINFOMSG_LEN..], peer.offset + 4 + IFINFOMSG_LEN as u32);
    let attrs = request::nested_attributes(inside, ext)?;
    if info.index < 0 {
        ext.set_msg_attr("ifindex can't be negative", &peer);
        return Err(Errno::EINVAL);
    }
    let mut change = change::read(&info, &attrs, ext)?;
    change.net = newlink::one_target(request, &attrs)?;
    let count = |ty| attrs.get(ty).and_then(|a: Attr<'_>| a.u32());
    Ok(VethPeer {
        index: u32::try_from(info.index).ok().filter(|&index| index > 0),
        tx_queues: count(IFLA_NUM_TX_QUEUES),
        rx_queues: count(IFLA_NUM_RX_QUEUES),
        change: Some(change),
    })
}
