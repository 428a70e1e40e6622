//! The settings of devices: `net.ipv{4,6}.conf.DEV` and `net.ipv{4,6}.neigh.DEV`.

use std::net::Ipv6Addr;

use super::SysctlError;
use super::kind::{self, BOOL, BYTE, COUNT, INT, Kind};
use crate::dev::Link;
use crate::neigh::{NeighFamily, NeighParm};
use crate::rtnl::Rtnl;
use crate::state::{ConfOf, Ns};
use crate::{inet, inet6, neigh};

/// Name, `IPV4_DEVCONF_*` number, what may be written.
const CONF4: &[(&str, usize, Kind)] = &[
    ("accept_local", 23, INT),
    ("accept_redirects", 4, INT),
    ("accept_source_route", 9, INT),
    ("arp_accept", 21, INT),
    ("arp_announce", 18, INT),
    ("arp_evict_nocarrier", 33, INT),
    ("arp_filter", 13, INT),
    ("arp_ignore", 19, INT),
    ("arp_notify", 22, INT),
    ("bc_forwarding", 32, INT),
    ("bootp_relay", 10, INT),
    ("disable_policy", 16, INT),
    ("disable_xfrm", 15, INT),
    ("drop_gratuitous_arp", 31, INT),
    ("drop_unicast_in_l2_multicast", 30, INT),
    ("force_igmp_version", 17, INT),
    ("forwarding", 1, INT),
    ("igmpv2_unsolicited_report_interval", 27, INT),
    ("igmpv3_unsolicited_report_interval", 28, INT),
    ("ignore_routes_with_linkdown", 29, INT),
    ("log_martians", 11, INT),
    ("mc_forwarding", 2, Kind::Fixed),
    ("medium_id", 14, INT),
    ("promote_secondaries", 20, INT),
    ("proxy_arp", 3, INT),
    ("proxy_arp_pvlan", 25, INT),
    ("route_localnet", 26, INT),
    ("rp_filter", 8, INT),
    ("secure_redirects", 5, INT),
    ("send_redirects", 6, INT),
    ("shared_media", 7, INT),
    ("src_valid_mark", 24, INT),
    ("tag", 12, INT),
];

/// Name, `DEVCONF_*` number, what may be written.
const CONF6: &[(&str, usize, Kind)] = &[
    ("accept_dad", 27, INT),
    ("accept_ra", 3, INT),
    ("accept_ra_defrtr", 17, INT),
    ("accept_ra_from_local", 33, INT),
    ("accept_ra_min_hop_limit", 38, INT),
    ("accept_ra_min_lft", 58, INT),
    ("accept_ra_mtu", 35, INT),
    ("accept_ra_pinfo", 18, INT),
    ("accept_ra_rt_info_max_plen", 21, INT),
    ("accept_ra_rt_info_min_plen", 49, INT),
    ("accept_ra_rtr_pref", 19, INT),
    ("accept_redirects", 4, INT),
    ("accept_source_route", 24, INT),
    ("accept_untracked_na", 57, Kind::Int(0, 2)),
    ("addr_gen_mode", 47, Kind::Int(0, 3)),
    ("autoconf", 5, INT),
    ("dad_transmits", 6, INT),
    ("disable_ipv6", 26, INT),
    ("disable_policy", 48, INT),
    ("drop_unicast_in_l2_multicast", 40, INT),
    ("drop_unsolicited_na", 41, INT),
    ("enhanced_dad", 46, INT),
    ("force_forwarding", 59, BOOL),
    ("force_mld_version", 16, INT),
    ("force_tllao", 28, INT),
    ("forwarding", 0, INT),
    ("hop_limit", 1, Kind::Int(1, 255)),
    ("ignore_routes_with_linkdown", 39, INT),
    ("ioam6_enabled", 53, BOOL),
    ("ioam6_id", 54, Kind::Int(0, 65_535)),
    ("ioam6_id_wide", 55, Kind::Int(0, u32::MAX as i64)),
    ("keep_addr_on_down", 42, INT),
    ("max_addresses", 15, INT),
    ("max_desync_factor", 14, INT),
    ("mc_forwarding", 25, Kind::Fixed),
    ("mldv1_unsolicited_report_interval", 30, Kind::Millis),
    ("mldv2_unsolicited_report_interval", 31, Kind::Millis),
    ("mtu", 2, INT),
    ("ndisc_evict_nocarrier", 56, BOOL),
    ("ndisc_notify", 29, INT),
    ("ndisc_tclass", 50, BYTE),
    ("optimistic_dad", 23, INT),
    ("proxy_ndp", 22, INT),
    ("ra_defrtr_metric", 52, Kind::Int(1, u32::MAX as i64)),
    ("ra_honor_pio_life", 253, BOOL),
    ("ra_honor_pio_pflag", 254, BOOL),
    ("regen_max_retry", 13, INT),
    ("regen_min_advance", 255, INT),
    ("router_probe_interval", 20, Kind::Seconds),
    ("router_solicitation_delay", 9, Kind::Seconds),
    ("router_solicitation_interval", 8, Kind::Seconds),
    ("router_solicitation_max_interval", 43, Kind::Seconds),
    ("router_solicitations", 7, Kind::Int(-1, i32::MAX as i64)),
    ("rpl_seg_enabled", 51, BOOL),
    ("seg6_enabled", 44, INT),
    ("seg6_require_hmac", 45, INT),
    ("stable_secret", 36, Kind::Key),
    ("suppress_frag_ndisc", 32, INT),
    ("temp_prefered_lft", 12, INT),
    ("temp_valid_lft", 11, INT),
    ("use_oif_addrs_only", 37, INT),
    ("use_optimistic", 34, INT),
    ("use_tempaddr", 10, INT),
];

/// Name, setting, what may be written.
const NEIGH: &[(&str, NeighParm, Kind)] = &[
    ("anycast_delay", NeighParm::AnycastDelay, Kind::Hundredths),
    ("app_solicit", NeighParm::AppProbes, COUNT),
    ("base_reachable_time", NeighParm::BaseReachableTime, Kind::Seconds),
    ("base_reachable_time_ms", NeighParm::BaseReachableTime, Kind::Millis),
    ("delay_first_probe_time", NeighParm::DelayProbeTime, Kind::Seconds),
    ("gc_stale_time", NeighParm::GcStaleTime, Kind::Seconds),
    ("interval_probe_time_ms", NeighParm::IntervalProbeTime, Kind::Millis),
    ("locktime", NeighParm::Locktime, Kind::Hundredths),
    ("mcast_resolicit", NeighParm::McastReprobes, COUNT),
    ("mcast_solicit", NeighParm::McastProbes, COUNT),
    ("proxy_delay", NeighParm::ProxyDelay, Kind::Hundredths),
    ("proxy_qlen", NeighParm::ProxyQlen, COUNT),
    ("retrans_time", NeighParm::RetransTime, Kind::Hundredths),
    ("retrans_time_ms", NeighParm::RetransTime, Kind::Millis),
    ("ucast_solicit", NeighParm::UcastProbes, COUNT),
    ("unres_qlen", NeighParm::QueueLenBytes, Kind::Int(0, 1_027_504)),
    ("unres_qlen_bytes", NeighParm::QueueLenBytes, COUNT),
];

/// Names that have a mode of their own.
const MODES: [(&str, u16); 2] = [("mc_forwarding", 0o444), ("stable_secret", 0o600)];

const STABLE_SECRET: &str = "stable_secret";

fn mode(name: &str) -> u16 {
    MODES.iter().find(|m| m.0 == name).map_or(0o644, |m| m.1)
}

/// Whether a device has a directory in one of the four.
pub(super) fn exists(link: &Link, dir: &str) -> bool {
    let family = if dir.starts_with("ipv4") { NeighFamily::V4 } else { NeighFamily::V6 };
    neigh::does(link, family)
}

/// The names in a device's directory.
pub(super) fn names(dir: &str) -> impl Iterator<Item = (&'static str, u16)> {
    let (conf, neigh): (&[_], &[_]) = match dir {
        "ipv4/conf" => (CONF4, &[]),
        "ipv6/conf" => (CONF6, &[]),
        _ => (&[], NEIGH),
    };
    let names = conf.iter().map(|c| c.0).chain(neigh.iter().map(|c| c.0));
    names.map(|name| (name, mode(name)))
}

/// A setting of a device, or of all, or of those to come.
pub(super) struct Setting {
    of: ConfOf,
    what: What,
    name: &'static str,
    kind: Kind,
}

enum What {
    Conf4(usize),
    Conf6(usize),
    Secret,
    Neigh(NeighFamily, NeighParm),
}

/// The setting that a file of a device's directory is.
pub(super) fn setting(dir: &str, of: ConfOf, file: &str) -> Option<Setting> {
    let conf = |table: &'static [(&'static str, usize, Kind)]| table.iter().find(|c| c.0 == file).copied();
    let (name, what, kind) = match dir {
        "ipv4/conf" => conf(CONF4).map(|(name, number, kind)| (name, What::Conf4(number), kind))?,
        "ipv6/conf" if file == STABLE_SECRET => (STABLE_SECRET, What::Secret, Kind::Key),
        "ipv6/conf" => conf(CONF6).map(|(name, number, kind)| (name, What::Conf6(number), kind))?,
        _ => {
            let family = if dir.starts_with("ipv4") { NeighFamily::V4 } else { NeighFamily::V6 };
            let row = NEIGH.iter().find(|c| c.0 == file)?;
            // IPv6 never learnt to tell this one in hundredths.
            let ticks = family == NeighFamily::V6 && file == "retrans_time";
            (row.0, What::Neigh(family, row.1), if ticks { Kind::Ticks } else { row.2 })
        }
    };
    Some(Setting { of, what, name, kind })
}

impl Setting {
    pub(super) fn mode(&self) -> u16 {
        mode(self.name)
    }

    fn index(&self) -> u32 {
        match self.of {
            ConfOf::Dev(index) => index,
            ConfOf::All | ConfOf::Default => 0,
        }
    }

    fn value(&self, ns: Ns<'_>) -> Option<i64> {
        let wide = |value: i32| match self.kind {
            // Kept in 32 bits, of which the uppermost is one like the others.
            Kind::Int(0.., max) if max > i64::from(i32::MAX) => i64::from(value.cast_unsigned()),
            _ => value.into(),
        };
        match self.what {
            What::Conf4(number) => inet::conf(ns, self.of, number).map(wide),
            What::Conf6(number) => inet6::conf(ns, self.of, number).map(wide),
            What::Neigh(family, parm) => Some(neigh::parm(ns, self.index(), family, parm).into()),
            What::Secret => None,
        }
    }

    pub(super) fn read(&self, ns: Ns<'_>) -> Result<String, SysctlError> {
        if let What::Secret = self.what {
            let secret = inet6::stable_secret(ns, self.of).ok_or(SysctlError::Unset)?;
            return Ok(spelled(secret) + "\n");
        }
        let value = self.value(ns).ok_or(SysctlError::Missing)?;
        if self.name == "unres_qlen" {
            return Ok(format!("{}\n", neigh::queue_packets(i32::try_from(value).unwrap_or(0))));
        }
        Ok(format!("{}\n", kind::shown(self.kind, value)))
    }

    pub(super) fn write(&self, rtnl: &mut Rtnl<'_>, ns: Ns<'_>, text: &[u8]) -> Result<(), SysctlError> {
        if self.kind == Kind::Fixed {
            return Err(SysctlError::ReadOnly);
        }
        if let What::Secret = self.what {
            return self.write_secret(rtnl, ns, text);
        }
        let Some(value) = kind::one(self.kind, text)? else { return Ok(()) };
        // The kinds of these settings keep to 32 bits, signed or not.
        let narrow = (value as u64 & 0xffff_ffff) as u32 as i32;
        match self.what {
            What::Conf4(number) => inet::set_conf(rtnl, ns, self.of, number, narrow),
            What::Conf6(number) => {
                inet6::check_conf(ns, self.of, number, narrow).map_err(SysctlError::Refused)?;
                inet6::set_conf(rtnl, ns, self.of, number, narrow);
            }
            What::Neigh(family, parm) => {
                let narrow =
                    if self.name == "unres_qlen" { neigh::queue_bytes(narrow.cast_unsigned()) } else { narrow };
                neigh::set_parm(ns, self.index(), family, parm, narrow);
            }
            What::Secret => {}
        }
        Ok(())
    }

    fn write_secret(&self, rtnl: &mut Rtnl<'_>, ns: Ns<'_>, text: &[u8]) -> Result<(), SysctlError> {
        // `all` has none, and says so in Linux's way.
        if self.of == ConfOf::All {
            return Err(SysctlError::Unset);
        }
        let text = std::str::from_utf8(text).map_err(|_| SysctlError::Unset)?.trim();
        if text.is_empty() {
            return Ok(());
        }
        let secret: Ipv6Addr = text.parse().map_err(|_| SysctlError::Unset)?;
        inet6::set_stable_secret(rtnl, ns, self.of, secret);
        Ok(())
    }
}

/// All eight groups with all their digits.
fn spelled(secret: Ipv6Addr) -> String {
    secret.segments().map(|group| format!("{group:04x}")).join(":")
}
