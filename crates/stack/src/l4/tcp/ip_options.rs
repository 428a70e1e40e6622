//! Options of the levels IP and IPv6 of a socket with connections (`ip_setsockopt`, `ipv6_setsockopt`).

use std::net::Ipv4Addr;

use super::options::Heeded;
use super::sock::{Inner, Sock};
use crate::errno;
use crate::l2::Cx;
use crate::l3::PmtuDiscovery;
use crate::l4::options::{Opt, Options, SOL_IP, SOL_IPV6, Who, int, priority_of, shown};
use crate::l4::sock::Caller;
use crate::l4::sockopt::common;
use crate::sysctl;

const IP_OPTIONS: i32 = 4;
const IP_MTU: i32 = 14;
const IP_MULTICAST_IF: i32 = 32;
const IP_ADD_MEMBERSHIP: i32 = 35;
const IP_DROP_MEMBERSHIP: i32 = 36;
const IP_UNICAST_IF: i32 = 50;
const IP_LOCAL_PORT_RANGE: i32 = 51;
const IP_PROTOCOL: i32 = 52;
const IPV6_MULTICAST_IF: i32 = 17;
const IPV6_ADD_MEMBERSHIP: i32 = 20;
const IPV6_DROP_MEMBERSHIP: i32 = 21;
const IPV6_MTU: i32 = 24;
const IPV6_UNICAST_IF: i32 = 76;
/// `struct ipv6_mreq`.
const MREQ6_LEN: usize = 20;

impl Sock {
    const fn who(&self) -> Who {
        Who { v6: self.v6, stream: true, raw: false }
    }

    /// `setsockopt` of the levels `IPPROTO_IP` and `IPPROTO_IPV6`.
    ///
    /// # Errors
    /// `ENOPROTOOPT` for what there is not; what the option says.
    pub(crate) fn set_ip_option(&self, caller: &dyn Caller, level: i32, name: i32, value: &[u8]) -> Result<(), i32> {
        let net = self.net.upgrade().ok_or(errno::ENODEV)?;
        let cx = Cx::new(&self.stack, &net).ok_or(errno::ENODEV)?;
        let who = self.who();
        if level == SOL_IPV6 && !who.v6 {
            return Err(errno::ENOPROTOOPT);
        }
        let mut inner = self.lock();
        common::judge(who, inner.peer.is_some(), level, name, value)?;
        match (level, name) {
            // Options in each header are not for segments of this stack: there are none to take away.
            (SOL_IP, IP_OPTIONS) if value.is_empty() => Ok(()),
            // Groups are none of a connection's business.
            (SOL_IP, IP_MULTICAST_IF) => Err(errno::EINVAL),
            (SOL_IP, IP_ADD_MEMBERSHIP | IP_DROP_MEMBERSHIP) => Err(errno::EPROTO),
            (SOL_IPV6, IPV6_ADD_MEMBERSHIP | IPV6_DROP_MEMBERSHIP) if value.len() < MREQ6_LEN => Err(errno::EINVAL),
            (SOL_IPV6, IPV6_ADD_MEMBERSHIP | IPV6_DROP_MEMBERSHIP) => Err(errno::EPROTO),
            (SOL_IP, IP_UNICAST_IF) | (SOL_IPV6, IPV6_UNICAST_IF) => {
                let index = common::unicast_device(cx, inner.options.device, value)?;
                inner.options.unicast_device[usize::from(level == SOL_IPV6)] = index;
                Ok(())
            }
            (SOL_IP, IP_LOCAL_PORT_RANGE) => {
                inner.options.range = common::port_range(value)?;
                Ok(())
            }
            _ if Opt(level, name) == Opt::IPV6_V6ONLY => {
                let on = int(level, value)? != 0;
                if inner.ticket.is_some() {
                    return Err(errno::EINVAL);
                }
                inner.options.v6_only = on;
                Ok(())
            }
            _ if common::takes_header_away(level, name, value) => Ok(()),
            _ => {
                let opt = Opt(level, name);
                inner.options.stored.set(who, opt, value, || super::super::sockopt::may_choose(caller))?;
                let deaf = inner.options.is_hard_of_hearing();
                inner.heed(opt);
                if inner.options.is_hard_of_hearing() != deaf {
                    // Bytes that go the short way have no TTL: what was learnt of ways holds no more.
                    drop(inner);
                    self.stack.changed();
                }
                Ok(())
            }
        }
    }

    /// `getsockopt` of those levels.
    ///
    /// # Errors
    /// `ENOPROTOOPT` or `EOPNOTSUPP` for what there is not; what the option says.
    pub(crate) fn ip_option(&self, level: i32, name: i32, room: usize) -> Result<Vec<u8>, i32> {
        let net = self.net.upgrade().ok_or(errno::ENODEV)?;
        let cx = Cx::new(&self.stack, &net).ok_or(errno::ENODEV)?;
        let who = self.who();
        if level == SOL_IPV6 && !who.v6 {
            return Err(who.no_level());
        }
        let inner = self.lock();
        if let Some(answer) = common::answer(who, level, name, room, || inner.path_mtu()) {
            return answer;
        }
        let options = &inner.options;
        let opt = Opt(level, name);
        let value = match (level, name) {
            (SOL_IP, IP_OPTIONS) => return Ok(Vec::new()),
            (SOL_IP, IP_MTU) | (SOL_IPV6, IPV6_MTU) => inner.path_mtu()?,
            (SOL_IP, IP_MULTICAST_IF) => return Ok(Ipv4Addr::UNSPECIFIED.octets()[..room.min(4)].to_vec()),
            (SOL_IPV6, IPV6_MULTICAST_IF) => 0,
            (SOL_IP, IP_UNICAST_IF) => options.unicast_device[0].to_be().cast_signed(),
            (SOL_IPV6, IPV6_UNICAST_IF) => options.unicast_device[1].to_be().cast_signed(),
            (SOL_IP, IP_LOCAL_PORT_RANGE) => common::shown_range(options.range),
            // The number by which it is found.
            (SOL_IP, IP_PROTOCOL) => inner.local.map_or(0, |local| local.port().into()),
            _ if opt == Opt::IPV6_V6ONLY => options.v6_only.into(),
            _ if opt == Opt::IPV6_HDRINCL || !Options::knows(opt) => return Err(errno::ENOPROTOOPT),
            _ => match options.stored.get(opt) {
                -1 if opt == Opt::IP_TTL => {
                    i32::try_from(sysctl::number_or(cx.ns(), "ipv4/ip_default_ttl", 64)).unwrap_or(64)
                }
                -1 if opt == Opt::IPV6_UNICAST_HOPS => super::super::sockopt::default_hops(cx),
                number => number,
            },
        };
        Ok(shown(level, value, room))
    }
}

impl Inner {
    /// Takes to heart what was stored of an option.
    fn heed(&mut self, opt: Opt) {
        let options = &mut *self.options;
        let number = options.stored.get(opt);
        let byte = number as u8;
        let Heeded { tos, hop_limit, pmtu, receive_errors, min_hops } =
            &mut options.heeded[usize::from(opt.0 == SOL_IPV6)];
        match opt {
            Opt::IP_TOS | Opt::IPV6_TCLASS => {
                if opt == Opt::IP_TOS && byte != *tos {
                    options.priority = priority_of(number).cast_unsigned();
                }
                *tos = byte;
            }
            Opt::IP_TTL | Opt::IPV6_UNICAST_HOPS => *hop_limit = u8::try_from(number).ok(),
            Opt::IP_MTU_DISCOVER | Opt::IPV6_MTU_DISCOVER => *pmtu = PmtuDiscovery::of(number).unwrap_or_default(),
            Opt::IP_RECVERR | Opt::IPV6_RECVERR => *receive_errors = number != 0,
            Opt::IP_MINTTL | Opt::IPV6_MINHOPCOUNT => *min_hops = byte,
            Opt::IP_BIND_ADDRESS_NO_PORT => options.no_port = number != 0,
            Opt::IP_FREEBIND | Opt::IPV6_FREEBIND | Opt::IP_TRANSPARENT | Opt::IPV6_TRANSPARENT => {
                options.transparent = options.stored.is_on(Opt::IP_TRANSPARENT);
                options.any_source = options.transparent || options.stored.is_on(Opt::IP_FREEBIND);
            }
            _ => {}
        }
    }

    /// The largest packet that may go to the peer.
    fn path_mtu(&self) -> Result<i32, i32> {
        match (&self.engine, self.local) {
            (Some(engine), Some(local)) => Ok(i32::from(engine.mss()) + if local.is_ipv4() { 40 } else { 60 }),
            _ => Err(errno::ENOTCONN),
        }
    }
}
