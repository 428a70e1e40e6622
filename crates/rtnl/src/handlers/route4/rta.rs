//! Attributes of routes (`RTA_*`).

pub(super) const RTA_DST: u16 = 1;
pub(super) const RTA_SRC: u16 = 2;
pub(super) const RTA_IIF: u16 = 3;
pub(super) const RTA_OIF: u16 = 4;
pub(super) const RTA_GATEWAY: u16 = 5;
pub(super) const RTA_PRIORITY: u16 = 6;
pub(super) const RTA_PREFSRC: u16 = 7;
pub(super) const RTA_METRICS: u16 = 8;
pub(super) const RTA_MULTIPATH: u16 = 9;
pub(super) const RTA_FLOW: u16 = 11;
pub(super) const RTA_CACHEINFO: u16 = 12;
pub(super) const RTA_TABLE: u16 = 15;
pub(super) const RTA_MARK: u16 = 16;
pub(super) const RTA_VIA: u16 = 18;
pub(super) const RTA_ENCAP_TYPE: u16 = 21;
pub(super) const RTA_ENCAP: u16 = 22;
pub(super) const RTA_UID: u16 = 25;
pub(super) const RTA_IP_PROTO: u16 = 27;
pub(super) const RTA_SPORT: u16 = 28;
pub(super) const RTA_DPORT: u16 = 29;
pub(super) const RTA_NH_ID: u16 = 30;
