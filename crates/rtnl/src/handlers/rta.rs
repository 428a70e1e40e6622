//! Numbers of messages about routes of either family: `struct rtmsg`, its flags and attributes.

pub(crate) const RTA_DST: u16 = 1;
pub(crate) const RTA_SRC: u16 = 2;
pub(crate) const RTA_IIF: u16 = 3;
pub(crate) const RTA_OIF: u16 = 4;
pub(crate) const RTA_GATEWAY: u16 = 5;
pub(crate) const RTA_PRIORITY: u16 = 6;
pub(crate) const RTA_PREFSRC: u16 = 7;
pub(crate) const RTA_METRICS: u16 = 8;
pub(crate) const RTA_MULTIPATH: u16 = 9;
pub(crate) const RTA_FLOW: u16 = 11;
pub(crate) const RTA_CACHEINFO: u16 = 12;
pub(crate) const RTA_TABLE: u16 = 15;
pub(crate) const RTA_MARK: u16 = 16;
pub(crate) const RTA_VIA: u16 = 18;
pub(crate) const RTA_PREF: u16 = 20;
pub(crate) const RTA_ENCAP_TYPE: u16 = 21;
pub(crate) const RTA_ENCAP: u16 = 22;
pub(crate) const RTA_EXPIRES: u16 = 23;
pub(crate) const RTA_UID: u16 = 25;
pub(crate) const RTA_IP_PROTO: u16 = 27;
pub(crate) const RTA_SPORT: u16 = 28;
pub(crate) const RTA_DPORT: u16 = 29;
pub(crate) const RTA_NH_ID: u16 = 30;
pub(crate) const RTA_FLOWLABEL: u16 = 31;

/// Bytes of `struct rtmsg`.
pub(crate) const RTMSG_LEN: usize = 12;
/// Bytes of `struct rtnexthop`.
pub(crate) const RTNEXTHOP_LEN: usize = 8;

pub(crate) const RTM_F_NOTIFY: u32 = 0x100;
pub(crate) const RTM_F_CLONED: u32 = 0x200;
pub(crate) const RTM_F_PREFIX: u32 = 0x800;
pub(crate) const RTM_F_LOOKUP_TABLE: u32 = 0x1000;
pub(crate) const RTM_F_FIB_MATCH: u32 = 0x2000;
