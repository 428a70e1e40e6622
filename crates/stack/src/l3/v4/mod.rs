//! IPv4 (`net/ipv4`).

mod forward;
mod header;
mod icmp;
mod input;
mod list;
mod options;
mod output;
mod redirect;
mod route;

pub(super) use header::Ipv4Header;
pub(super) use icmp::{count_sent, link_failure, parts_missing, reply_mark};
pub(super) use input::ip_rcv;
pub(super) use list::{Ipv4, Key};
pub(crate) use options::{echo as echo_options, make_sense as options_make_sense};
pub(super) use output::{alert_packet, ip_output, ip_output_raw};
pub(super) use route::route_output;
