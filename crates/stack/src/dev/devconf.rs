//! Per-device IP settings (`net.ipv4.conf.<dev>`, `net.ipv6.conf.<dev>`) with which a device of a kind is born.
//!
//! `RTM_GETLINK` shows them in `IFLA_AF_SPEC`. They belong to the kind: as long as nobody writes one, no device stores
//! its own.

/// The IPv4 settings of a device in the order of the `IPV4_DEVCONF_*` numbers (the first, `forwarding`, has number 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inet4Conf(pub [i32; 33]);

/// The IPv6 settings of a device in the order of the `DEVCONF_*` numbers (the first, `forwarding`, has number 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inet6Conf(pub [i32; 60]);

impl Inet4Conf {
    /// What a new device gets as long as the initial namespace's `default` was not changed.
    pub const DEFAULT: Self = Self([
        0,      // forwarding
        0,      // mc_forwarding
        0,      // proxy_arp
        1,      // accept_redirects
        1,      // secure_redirects
        1,      // send_redirects
        1,      // shared_media
        0,      // rp_filter
        1,      // accept_source_route
        0,      // bootp_relay
        0,      // log_martians
        0,      // tag
        0,      // arp_filter
        0,      // medium_id
        0,      // disable_xfrm
        0,      // disable_policy
        0,      // force_igmp_version
        0,      // arp_announce
        0,      // arp_ignore
        0,      // promote_secondaries
        0,      // arp_accept
        0,      // arp_notify
        0,      // accept_local
        0,      // src_valid_mark
        0,      // proxy_arp_pvlan
        0,      // route_localnet
        10_000, // igmpv2_unsolicited_report_interval, ms
        1_000,  // igmpv3_unsolicited_report_interval, ms
        0,      // ignore_routes_with_linkdown
        0,      // drop_unicast_in_l2_multicast
        0,      // drop_gratuitous_arp
        0,      // bc_forwarding
        1,      // arp_evict_nocarrier
    ]);

    /// [`DEFAULT`](Self::DEFAULT) for a loopback device: neither IPsec transformation nor policy applies to it.
    pub const LOOPBACK: Self = {
        let mut conf = Self::DEFAULT;
        conf.0[14] = 1;
        conf.0[15] = 1;
        conf
    };
}

impl Inet6Conf {
    /// Number of `mtu`, the one entry that follows the device instead of the kind.
    pub const MTU: usize = 2;

    /// What a new Ethernet device gets, `mtu` left 0.
    pub const DEFAULT: Self = Self([
        0,         // forwarding
        64,        // hop_limit
        0,         // mtu: the device's
        1,         // accept_ra
        1,         // accept_redirects
        1,         // autoconf
        1,         // dad_transmits
        -1,        // router_solicitations
        4_000,     // router_solicitation_interval, ms
        1_000,     // router_solicitation_delay, ms
        0,         // use_tempaddr
        604_800,   // temp_valid_lft, s
        86_400,    // temp_prefered_lft, s
        3,         // regen_max_retry
        600,       // max_desync_factor, s
        16,        // max_addresses
        0,         // force_mld_version
        1,         // accept_ra_defrtr
        1,         // accept_ra_pinfo
        1,         // accept_ra_rtr_pref
        60_000,    // router_probe_interval, ms
        0,         // accept_ra_rt_info_max_plen
        0,         // proxy_ndp
        0,         // optimistic_dad
        0,         // accept_source_route
        0,         // mc_forwarding
        0,         // disable_ipv6
        1,         // accept_dad
        0,         // force_tllao
        0,         // ndisc_notify
        10_000,    // mldv1_unsolicited_report_interval, ms
        1_000,     // mldv2_unsolicited_report_interval, ms
        1,         // suppress_frag_ndisc
        0,         // accept_ra_from_local
        0,         // use_optimistic
        1,         // accept_ra_mtu
        0,         // stable_secret: shown elsewhere
        0,         // use_oif_addrs_only
        1,         // accept_ra_min_hop_limit
        0,         // ignore_routes_with_linkdown
        0,         // drop_unicast_in_l2_multicast
        0,         // drop_unsolicited_na
        0,         // keep_addr_on_down
        3_600_000, // router_solicitation_max_interval, ms
        0,         // seg6_enabled
        0,         // seg6_require_hmac
        1,         // enhanced_dad
        0,         // addr_gen_mode
        0,         // disable_policy
        0,         // accept_ra_rt_info_min_plen
        0,         // ndisc_tclass
        0,         // rpl_seg_enabled
        1_024,     // ra_defrtr_metric
        0,         // ioam6_enabled
        65_535,    // ioam6_id
        -1,        // ioam6_id_wide, all bits set
        1,         // ndisc_evict_nocarrier
        0,         // accept_untracked_na
        0,         // accept_ra_min_lft
        0,         // the last number of 6.18
    ]);

    /// [`DEFAULT`](Self::DEFAULT) for a device without a link layer, such as the loopback: no temporary addresses, no
    /// duplicate address detection.
    pub const WITHOUT_LINK_LAYER: Self = {
        let mut conf = Self::DEFAULT;
        conf.0[10] = -1;
        conf.0[27] = -1;
        conf
    };
}
