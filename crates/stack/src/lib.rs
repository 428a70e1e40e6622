//! The network stack of a namespace, device side: which links it has and what Linux says about them.
//!
//! [`Stack::register`] gives every namespace of a [`pernet::Namespaces`] a device table, [`Links`], that begins with the
//! loopback device. Everything a program can ask about devices is rendered from that table, nothing from memory of what
//! Linux would say: rtnetlink (in `pernet-rtnl`), `/proc/net` ([`proc_net_file`]), `/sys/class/net` ([`sysfs_attr`]) and
//! the `SIOCGIF*` requests ([`ioctl_ifreq`]).
//!
//! ```
//! use pernet::Namespaces;
//! use pernet_stack::{Stack, proc_net_dev};
//!
//! let ns = Namespaces::new();
//! let stack = Stack::register(&ns).unwrap();
//! let net = ns.init_net();
//! let links = stack.links(&net).unwrap();
//! assert_eq!(links.by_name("lo").unwrap().index(), 1);
//! assert!(proc_net_dev(links).contains("    lo:       0"));
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod agenda;
mod clock;
mod dev;
mod errno;
mod ethtool;
mod fib;
mod inet;
mod inet6;
mod ioctl;
mod l2;
mod l3;
mod l4;
mod mcast;
mod mib;
mod multipath;
mod neigh;
mod nexthop;
mod notice;
mod proc;
mod rtnl;
mod rules;
mod state;
mod sysctl;
mod sysfs;
mod wait;

pub use dev::{
    BRIDGE, Blame, Bridge, BridgeChange, BridgePort, BridgePortChange, Counters, DUMMY, FdbChange, FdbEntry, FdbFilter,
    FdbRemote, FlagChange, HwAddr, IFB, IFNAMSIZ, IfFlags, IfName, Inet4Conf, Inet6Conf, KindChange, KindData,
    KindSpec, LOOPBACK, Link, LinkChange, LinkClass, LinkDevices, LinkError, LinkNotice, LinkPage, LinkRefused,
    LinkStats, Links, MACVLAN, MACVTAP, Macvlan, MacvlanChange, NameAssign, NameError, NewLink, OffloadChange,
    OffloadLimits, OperState, PortChange, PortData, PortState, Queues, Stack, TAP, TUN, Tun, TunPlace, TunRequest,
    TunSpec, VETH, VLAN, VXLAN, VethPeer, Vlan, VlanChange, VniChange, VniRun, Vnis, Vxlan, VxlanChange, tun_flag,
};
pub use ethtool::{
    ETH_SS_FEATURES, ETH_SS_LINK_MODES, ETH_SS_MSG_CLASSES, ETH_SS_SOF_TIMESTAMPING, EthChannels, EthDriver,
    EthFeatures, EthFeaturesChange, EthSettings, eth_names,
};
pub use fib::{
    Dump4Filter, FibInfo, FibNotice, Gateway, HopConfig, HopView, Insert, Metrics, NextHop, RT_TABLE_DEFAULT,
    RT_TABLE_LOCAL, RT_TABLE_MAIN, RTAX_CC_ALGO, RTAX_LOCK, RTENTRY_LEN, Route4Page, RouteAnswer, RouteConfig,
    RouteError, RouteQuery, RouteReply, RouteView, RtEntryError, hop_flag, route_type, scope,
};
pub use inet::{
    Addr4Error, DelAddr4, FOREVER, Group, IFA_F_DEPRECATED, IFA_F_MCAUTOJOIN, IFA_F_NOPREFIXROUTE, IFA_F_PERMANENT,
    IFA_F_SECONDARY, Ifa4, InetNotice, JoinError, Label, Lifetime4, Netconf, NetconfPart, NewAddr4, Page, Place,
};
pub use inet6::{
    AddrError6, AddrLabel, AddrPage6, Answer6, Flow6, Ifa6, Inet6Link, Inet6Notice, LabelError, MemberInfo, Nexthop6,
    Placing, Prefix6, PrefixInfo, RouteCursor6, RouteError6, RouteFilter6, RouteInfo6, RouteKeys6, RoutePage6,
    RouteSpec6, TokenError, group_scope,
};
pub use ioctl::{
    IFREQ_LEN, IN6_IFREQ_LEN, If6Change, IfChange, IfRequest, IfRequestError, ioctl_change, ioctl_change6,
    ioctl_ifconf, ioctl_ifreq,
};
pub use l2::TunQueue;
pub use l3::{Learned, Listing};
pub use l4::cmsg::ControlMessage;
pub use l4::filter::FilterInstruction;
pub use l4::packet::{LinkAddr, PacketEntry, PacketFrame, PacketMember, PacketSocket, RingMemory};
pub use l4::queue::{ErrorOrigin, Meta, QueuedError};
pub use l4::sock::{Caller, Root};
pub use l4::tcp::{
    InetEntry, Md5Key, TcpInfo, TcpListener, TcpMetrics, TcpReadiness, TcpShortcut, TcpSocket, TcpState, TcpStream,
    TcpTimer, TcpUser, TcpWay,
};
pub use l4::user::{InetProtocol, InetSocket, Packet, PingSocket, RawSocket, Readiness, SocketError, UdpSocket};
pub use mcast::McastError;
pub use mib::Inet6Stats;
pub use neigh::{
    ArpError, ArpFlags, ArpRequest, GC_INTERVAL_MS, GC_THRESHOLDS, NeighError, NeighFamily, NeighFlags, NeighKey,
    NeighNotice, NeighPage, NeighParm, NeighParms, NeighProxy, NeighReport, NeighState, NeighTableError, NewNeigh,
    ParmValue, ProxyKey, ProxyPage,
};
pub use nexthop::{
    Bucket, BucketView, Group as NexthopGroup, GroupConfig, Member, Nexthop, NexthopConfig, NexthopError,
    NexthopFilter, NexthopKind, NexthopNotice, NexthopPage, NexthopView, Resilient, ResilientConfig,
};
pub use notice::Notice;
pub use proc::{
    NetlinkSocket, PROC_DIR_MODE, kernel_netlink_sockets, proc_net_dev, proc_net_entries, proc_net_file,
    proc_net_netlink,
};
pub use rtnl::{Clock, ManualClock, NoticeSink, Rtnl, SystemClock};
pub use rules::{Action, Family, PortRange, Rule, RuleError, RuleNet, RuleNotice, RuleView, rule_flag};
pub use state::{ConfOf, NetState};
pub use sysctl::{SysctlError, SysctlNode};
pub use sysfs::{
    AttrError, Entry, EntryKind, SYSFS_DIR_MODE, SysfsError, sysfs_attr, sysfs_dir, sysfs_entries, sysfs_mode,
};
pub use wait::Driver;
