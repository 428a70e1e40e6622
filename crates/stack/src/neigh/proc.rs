//! `/proc/net/arp`.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::entry::NeighFamily;
use super::ioctl::{ArpFlags, shown};
use super::state::NeighState;
use crate::dev::HwAddr;
use crate::state::Ns;

/// The IPv4 entries that somebody knows or asks for, then what is answered for.
pub(crate) fn proc_arp(ns: Ns<'_>) -> String {
    let mut out = String::from("IP address       HW type     Flags       HW address            Mask     Device\n");
    let Some(table) = ns.peek_neigh() else { return out };
    let mut line = |dst: IpAddr, ifindex: u32, flags: i32, address: Option<HwAddr>| {
        let link = ns.links.by_index(ifindex);
        let kind = link.as_ref().map_or(0, |l| l.class().arp_type);
        let name = link.as_ref().map_or("*", |l| l.name().as_str());
        let address = address.map_or_else(|| "00:00:00:00:00:00".into(), |a| a.to_string());
        let dst = dst.to_string();
        // A String takes what is written to it.
        let _ = writeln!(out, "{dst:<16} {:<12}{:<12}{address:<17}     *        {name}", hex(kind.into()), hex(flags));
    };
    let v4 = |dst: &IpAddr| NeighFamily::of(dst) == NeighFamily::V4;
    for e in table.since(0).filter(|e| v4(&e.dst)) {
        // What nothing was said of, and what needs no asking, is not shown.
        if e.state != NeighState::NONE && e.state.0 & !NeighState::NOARP.0 != 0 {
            line(e.dst, e.ifindex, shown(e.state), Some(e.address));
        }
    }
    for p in table.proxies_since(0).filter(|p| v4(&p.dst)) {
        line(p.dst, p.ifindex, ArpFlags::PUBL | ArpFlags::PERM, None);
    }
    out
}

fn hex(value: i32) -> String {
    format!("{value:#x}")
}
