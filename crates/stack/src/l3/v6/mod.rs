//! IPv6 (`net/ipv6`).

mod forward;
mod header;
mod icmp;
mod input;
mod list;
mod ndisc;
mod output;
mod redirect;
mod route;
mod router;

pub(super) use header::{HLEN, Ipv6Header};
pub(super) use icmp::{count_sent, link_failure, parts_missing, reply_mark};
pub(super) use input::ipv6_rcv;
pub(super) use list::{Ipv6, Key};
pub(super) use ndisc::dad_solicit;
pub(crate) use ndisc::solicit;
pub(super) use output::{alert_packet, ip6_output, ip6_output_raw};
pub(super) use route::route_output;
pub(super) use router::solicit as router_solicit;
