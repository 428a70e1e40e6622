//! Namespaces wired together in this process.

use anyhow::{Result, anyhow};
use pernet::{Cred, Namespaces, NetRef, Origin};
use pernet_stack::{
    FlagChange, Gateway, IfFlags, Ifa6, Insert, KindSpec, LinkChange, NeighFlags, NeighKey, NeighState, NewAddr4,
    NewLink, NewNeigh, Nexthop6, Placing, Prefix6, RouteConfig, RouteSpec6, Stack, VethPeer, route_type,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A system of its own.
pub(crate) struct World {
    namespaces: Namespaces,
    pub(crate) stack: Stack,
}

/// An end of a cable: where, what it is called there, and the last byte of its hardware address.
pub(crate) type End<'a> = (&'a NetRef, &'a str, u8);

impl World {
    pub(crate) fn new() -> Result<Self> {
        let namespaces = Namespaces::new();
        let stack = Stack::register(&namespaces).map_err(|error| anyhow!("{error:?}"))?;
        Ok(Self { namespaces, stack })
    }

    pub(crate) fn net(&self) -> Result<NetRef> {
        Ok(self.namespaces.create(&Cred::root(self.namespaces.init_user_ns()))?)
    }

    pub(crate) fn index(&self, net: &NetRef, name: &str) -> Result<u32> {
        let links = self.stack.links(net).ok_or_else(|| anyhow!("no devices"))?;
        Ok(links.by_name(name).ok_or_else(|| anyhow!("no device {name}"))?.index())
    }

    /// A cable between two namespaces, up at both ends.
    pub(crate) fn wire(&self, a: End<'_>, b: End<'_>) -> Result<()> {
        let end = |(net, name, last): End<'_>| LinkChange {
            name: Some(name.into()),
            address: Some(Box::from([2, 0, 0, 0, 0, last])),
            addr_gen_mode: Some(1),
            net: Some(net.clone()),
            ..LinkChange::default()
        };
        let peer = VethPeer { change: Some(end(b)), ..VethPeer::default() };
        let mut new = NewLink::new(KindSpec::Veth(Box::new(peer)));
        new.change = LinkChange { net: None, ..end(a) };
        self.stack.rtnl(Origin::KERNEL).new_link(a.0, &new).map_err(|error| anyhow!("{error:?}"))?;
        for (net, name, _) in [a, b] {
            let up = FlagChange { flags: IfFlags::UP, mask: IfFlags::UP };
            let change = LinkChange { flags: Some(up), ..LinkChange::default() };
            let index = self.index(net, name)?;
            self.stack.rtnl(Origin::KERNEL).set_link(net, index, &change).map_err(|error| anyhow!("{error:?}"))?;
        }
        let _ = self.stack.run_timers();
        Ok(())
    }

    /// `ip addr add LOCAL/24 dev DEVICE`.
    pub(crate) fn addr(&self, net: &NetRef, device: &str, local: [u8; 4]) -> Result<()> {
        let [a, b, c, _] = local;
        let broadcast = Some([a, b, c, 255].into());
        let new = NewAddr4 { broadcast, ..NewAddr4::new(self.index(net, device)?, local.into(), 24) };
        self.stack.rtnl(Origin::KERNEL).new_addr4(net, &new).map_err(|error| anyhow!("{error:?}"))
    }

    /// `ip route add DST/LEN via GATEWAY`.
    pub(crate) fn route(&self, net: &NetRef, dst: [u8; 4], dst_len: u8, via: [u8; 4]) -> Result<()> {
        let config = RouteConfig {
            dst: Some(dst.into()),
            dst_len,
            protocol: 3,
            kind: route_type::UNICAST,
            gateway: Gateway::V4(Ipv4Addr::from(via)),
            ..RouteConfig::default()
        };
        let how = Insert { create: true, exclusive: true, replace: false, append: false };
        self.stack.rtnl(Origin::KERNEL).new_route4(net, &config, how).map_err(|error| anyhow!("{error:?}"))
    }

    /// `ip addr add ADDRESS/64 dev DEVICE`.
    pub(crate) fn addr6(&self, net: &NetRef, device: &str, address: Ipv6Addr) -> Result<()> {
        let ifindex = self.index(net, device)?;
        let new = Ifa6::new(address, 64);
        self.stack.rtnl(Origin::KERNEL).new_addr6(net, ifindex, new, false).map_err(|error| anyhow!("{error:?}"))
    }

    /// `ip -6 route add DST/LEN via GATEWAY`.
    pub(crate) fn route6(&self, net: &NetRef, dst: Ipv6Addr, len: u8, via: Ipv6Addr) -> Result<()> {
        let spec = RouteSpec6 {
            table: 254,
            dst: Prefix6::new(dst, len),
            src: Prefix6::ANY,
            metric: 0,
            kind: route_type::UNICAST,
            proto: 3,
            pref: 0,
            prefsrc: None,
            metrics: None,
            expires: None,
            nexthops: vec![Nexthop6 { oif: 0, gateway: Some(via), onlink: false, weight: 1 }],
            multipath: false,
            nh_id: 0,
        };
        let how = Placing { create: true, ..Placing::default() };
        self.stack.rtnl(Origin::KERNEL).new_route6(net, &spec, how).map_err(|error| anyhow!("{error:?}"))
    }

    /// `ip neigh add DST lladdr ADDRESS dev DEVICE`.
    pub(crate) fn neighbour(&self, net: &NetRef, device: &str, dst: IpAddr, address: [u8; 6]) -> Result<()> {
        let key = NeighKey { ifindex: self.index(net, device)?, dst };
        let new = NewNeigh {
            key,
            state: NeighState::PERMANENT,
            flags: NeighFlags::default(),
            address: Some(&address),
            protocol: 0,
            create: true,
            exclusive: true,
            replace: false,
        };
        Ok(self.stack.rtnl(Origin::KERNEL).new_neigh(net, &new)?)
    }

    pub(crate) fn sysctl(&self, net: &NetRef, path: &str, value: &str) -> Result<()> {
        Ok(self.stack.rtnl(Origin::KERNEL).sysctl_write(net, path, value.as_bytes())?)
    }

    /// Frames that came in by a device so far.
    pub(crate) fn received(&self, net: &NetRef, device: &str) -> u64 {
        let link = self.stack.links(net).and_then(|links| links.by_name(device));
        link.map_or(0, |link| link.stats().rx_packets)
    }
}
