//! A link as bytes: `RTM_NEWLINK` as Linux 6.18 fills it in, attribute after attribute.
//!
//! Nothing here knows a device by its kind: what is sent is what the [`Link`] and its class say.

use pernet::Net;
use pernet_stack::{BridgePort, Inet6Link, Link, LinkStats, Links, Stack};
use pernet_wire::Builder;
use pernet_wire::uapi::*;

use super::kind;
use super::request::SKIP_STATS;

const AF_BRIDGE: u8 = 7;
const IFLA_PROTINFO: u16 = 12;
const IFLA_DEVLINK_PORT: u16 = 62;
const IFLA_DPLL_PIN: u16 = 65;
const IFLA_MAX_PACING_OFFLOAD_HORIZON: u16 = 66;
const IFLA_HEADROOM: u16 = 68;
const IFLA_TAILROOM: u16 = 69;

const IFLA_PROTO_DOWN_REASON: u16 = 55;
const PROTO_DOWN_REASON_VALUE: u16 = 2;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_FLAGS: u16 = 1;
const IFLA_INET6_CONF: u16 = 2;
const IFLA_INET6_STATS: u16 = 3;
const IFLA_INET6_CACHEINFO: u16 = 5;
const IFLA_INET6_ICMP6STATS: u16 = 6;
const IFLA_INET6_TOKEN: u16 = 7;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;

/// Address families as they name the parts of `IFLA_AF_SPEC`.
const SPEC_INET: u16 = 2;
const SPEC_INET6: u16 = 10;

/// Longest datagram that can be reassembled, bytes.
const MAX_REASSEMBLY: u32 = 65_535;

/// What the requester asked to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// `IFLA_EXT_MASK`.
    pub(super) ext_mask: u32,
    /// The id by which the requester named the namespace; the reply repeats it.
    pub(super) target: Option<i32>,
    /// The reader's id of the namespace that the device below is in, if that is another one.
    pub(super) lower_nsid: Option<i32>,
    /// What is said to have changed (`ifi_change`).
    pub(super) change: u32,
    /// `IFLA_EVENT_*`, 0 for none.
    pub(super) event: u32,
    /// The reader's id of the namespace that the device moves to, and its index there.
    pub(super) moved: Option<(i32, i32)>,
}

/// The namespace that a device is in.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) stack: &'a Stack,
    pub(super) net: &'a Net,
}

impl<'a> Place<'a> {
    fn links(self) -> Option<&'a Links> {
        self.stack.links(self.net)
    }
}

/// Header and attributes of a link (`rtnl_fill_ifinfo`).
pub(super) fn link(out: &mut Builder, place: Place<'_>, link: &Link, view: View) {
    let class = link.class();
    let offload = link.offload();
    header(out, 0, link, view.change);
    if let Some(nsid) = view.target {
        out.put_i32(IFLA_TARGET_NETNSID, nsid);
    }
    out.put_str(IFLA_IFNAME, link.name().as_str())
        .put_u32(IFLA_TXQLEN, link.tx_queue_len)
        .put_u8(IFLA_OPERSTATE, link.operstate() as u8)
        .put_u8(IFLA_LINKMODE, link.link_mode)
        .put_u8(IFLA_NETNS_IMMUTABLE, class.netns_immutable.into())
        .put_u32(IFLA_MTU, link.mtu)
        .put_u32(IFLA_MIN_MTU, link.min_mtu())
        .put_u32(IFLA_MAX_MTU, link.max_mtu())
        .put_u32(IFLA_GROUP, link.group)
        .put_u32(IFLA_PROMISCUITY, link.promiscuity)
        .put_u32(IFLA_ALLMULTI, link.allmulti)
        .put_u32(IFLA_NUM_TX_QUEUES, link.tx_queues)
        .put_u32(IFLA_GSO_MAX_SEGS, offload.gso_max_segs)
        .put_u32(IFLA_GSO_MAX_SIZE, offload.gso_max_size)
        .put_u32(IFLA_GRO_MAX_SIZE, offload.gro_max_size)
        .put_u32(IFLA_GSO_IPV4_MAX_SIZE, offload.gso_ipv4_max_size)
        .put_u32(IFLA_GRO_IPV4_MAX_SIZE, offload.gro_ipv4_max_size)
        .put_u32(IFLA_TSO_MAX_SIZE, offload.tso_max_size)
        .put_u32(IFLA_TSO_MAX_SEGS, offload.tso_max_segs)
        // No device paces what it sends.
        .put_u32(IFLA_MAX_PACING_OFFLOAD_HORIZON, 0)
        .put_u32(IFLA_NUM_RX_QUEUES, link.rx_queues);
    if let Some(master) = link.master {
        out.put_u32(IFLA_MASTER, master);
    }
    out.put_u8(IFLA_CARRIER, link.carrier.into());
    if let Some(alias) = &link.alias {
        out.put_str(IFLA_IFALIAS, alias);
    }
    let changes = link.carrier_ups.wrapping_add(link.carrier_downs);
    out.put_u32(IFLA_CARRIER_CHANGES, changes)
        .put_u32(IFLA_CARRIER_UP_COUNT, link.carrier_ups)
        .put_u32(IFLA_CARRIER_DOWN_COUNT, link.carrier_downs)
        .put_u16(IFLA_HEADROOM, link.headroom())
        .put_u16(IFLA_TAILROOM, class.tailroom)
        .put_u8(IFLA_PROTO_DOWN, link.proto_down.into());
    if link.proto_down_reason() != 0 {
        out.nest(IFLA_PROTO_DOWN_REASON, |reason| {
            reason.put_u32(PROTO_DOWN_REASON_VALUE, link.proto_down_reason());
        });
    }
    if view.event != 0 {
        out.put_u32(IFLA_EVENT, view.event);
    }
    if !link.address.as_bytes().is_empty() {
        out.put(IFLA_ADDRESS, link.address.as_bytes()).put(IFLA_BROADCAST, link.broadcast.as_bytes());
    }
    stats(out, &link.stats());
    // No program is attached.
    out.nest(IFLA_XDP, |xdp| {
        xdp.put_u8(IFLA_XDP_ATTACHED, 0);
    });
    if class.kind.is_some() || link.port().is_some() {
        out.nest(IFLA_LINKINFO, |info| kind::fill(info, place.links(), link, place.stack.centiseconds()));
    }
    if let Some((nsid, index)) = view.moved {
        out.put_i32(IFLA_NEW_NETNSID, nsid).put_i32(IFLA_NEW_IFINDEX, index);
    }
    if let Some(nsid) = view.lower_nsid {
        out.put_i32(IFLA_LINK_NETNSID, nsid);
    }
    lower(out, link);
    if !link.permanent_address.is_zero() {
        out.put(IFLA_PERM_ADDRESS, link.permanent_address.as_bytes());
    }
    out.put_str(IFLA_QDISC, link.qdisc);
    out.nest(IFLA_AF_SPEC, |spec| {
        // A device that has just left shows what its kind says.
        if let Some(conf) = place.stack.inet4_conf(place.net, link.index()) {
            spec.nest(SPEC_INET, |inet| {
                inet.put(IFLA_INET_CONF, &words(&conf.0));
            });
        }
        if let Some(part) = place.stack.inet6_link(place.net, link) {
            let with_stats = view.ext_mask & SKIP_STATS == 0;
            spec.nest(SPEC_INET6, |out| inet6(out, &part, with_stats));
        }
    });
    // struct rtnl_link_ifmap: where the hardware is in memory; there is none.
    out.put(IFLA_MAP, &[0; 32]);
    if !link.alt_names().is_empty() {
        out.nest_flagged(IFLA_PROP_LIST, |list| {
            for name in link.alt_names() {
                list.put_str(IFLA_ALT_IFNAME, name);
            }
        });
    }
    // No port of a switch, no clock recovery: empty, and still sent.
    out.nest_flagged(IFLA_DEVLINK_PORT, |_| {}).nest_flagged(IFLA_DPLL_PIN, |_| {});
}

/// Header and attributes of a link in a dump of family AF_INET6 (`inet6_fill_ifinfo`).
pub(super) fn inet6_link(out: &mut Builder, link: &Link, part: &Inet6Link) {
    header(out, AF_INET6 as u8, link, 0);
    out.put_str(IFLA_IFNAME, link.name().as_str());
    if !link.address.as_bytes().is_empty() {
        out.put(IFLA_ADDRESS, link.address.as_bytes());
    }
    out.put_u32(IFLA_MTU, link.mtu);
    lower_here(out, link);
    out.put_u8(IFLA_OPERSTATE, link.operstate() as u8).nest(IFLA_PROTINFO, |out| inet6(out, part, true));
}

/// Header and attributes of a device as the port of a bridge (`br_fill_ifinfo`).
pub(super) fn bridge_port(out: &mut Builder, place: Place<'_>, link: &Link, gone: bool) {
    header(out, AF_BRIDGE, link, 0);
    out.put_str(IFLA_IFNAME, link.name().as_str())
        .put_u32(IFLA_MASTER, link.master.unwrap_or(0))
        .put_u32(IFLA_MTU, link.mtu)
        .put_u8(IFLA_OPERSTATE, link.operstate() as u8);
    if !link.address.as_bytes().is_empty() {
        out.put(IFLA_ADDRESS, link.address.as_bytes());
    }
    lower_here(out, link);
    if let (false, Some(links), Some(port)) = (gone, place.links(), BridgePort::of(link)) {
        let now = place.stack.centiseconds();
        out.nest_flagged(IFLA_PROTINFO, |info| kind::bridge::fill_port(info, links, link, port, now));
    }
}

fn header(out: &mut Builder, family: u8, link: &Link, change: u32) {
    let mut header = [0; super::request::IFINFOMSG_LEN];
    header[0] = family;
    header[2..4].copy_from_slice(&link.class().arp_type.to_ne_bytes());
    header[4..8].copy_from_slice(&link.index().to_ne_bytes());
    header[8..12].copy_from_slice(&link.flags().bits().to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    out.put_raw(&header);
}

/// The device below, if it is another one.
fn lower(out: &mut Builder, link: &Link) {
    if link.lower_net().is_some() && link.lower.is_some() || link.iflink() != link.index() {
        out.put_u32(IFLA_LINK, link.iflink());
    }
}

/// The same for a family, which knows of no other namespace: one there that has the same number is taken for the device itself.
fn lower_here(out: &mut Builder, link: &Link) {
    if link.iflink() != link.index() {
        out.put_u32(IFLA_LINK, link.iflink());
    }
}

/// All counters in 64 bits, then the older ones again in 32, which wrap.
fn stats(out: &mut Builder, stats: &LinkStats) {
    let counters = stats.named().map(|(_, value)| value);
    let wide: Vec<u8> = counters.iter().flat_map(|c| c.to_ne_bytes()).collect();
    let narrow = counters.iter().take(24).flat_map(|c| (*c as u32).to_ne_bytes());
    let narrow: Vec<u8> = narrow.collect();
    out.put(IFLA_STATS64, &wide).put(IFLA_STATS, &narrow);
}

/// The IPv6 part of a link (`inet6_fill_ifla6_attrs`).
fn inet6(out: &mut Builder, part: &Inet6Link, with_stats: bool) {
    let cache = [MAX_REASSEMBLY, part.changed, part.reachable_ms, part.retrans_ms];
    let cache: Vec<u8> = cache.iter().flat_map(|v| v.to_ne_bytes()).collect();
    out.put_u32(IFLA_INET6_FLAGS, part.flags)
        .put(IFLA_INET6_CACHEINFO, &cache)
        .put(IFLA_INET6_CONF, &words(&part.conf));
    if with_stats {
        let bytes = |counters: &[u64]| -> Vec<u8> { counters.iter().flat_map(|c| c.to_ne_bytes()).collect() };
        out.put(IFLA_INET6_STATS, &bytes(&part.stats.ip)).put(IFLA_INET6_ICMP6STATS, &bytes(&part.stats.icmp));
    }
    out.put(IFLA_INET6_TOKEN, &part.token.octets()).put_u8(IFLA_INET6_ADDR_GEN_MODE, part.addr_gen_mode);
}

fn words(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_ne_bytes()).collect()
}
