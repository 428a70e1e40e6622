//! Options of a socket that are numbers, by level and name as programs give them, and what each takes.
//!
//! One table says of every option which numbers it takes and what it is born with; a socket stores only what was changed.
//! What is more than a number (memberships, devices, filters) the socket itself keeps.

use std::collections::BTreeMap;

use crate::errno;

pub(crate) const SOL_IP: i32 = 0;
pub(crate) const SOL_SOCKET: i32 = 1;
pub(crate) const SOL_UDP: i32 = 17;
pub(crate) const SOL_IPV6: i32 = 41;
/// The same options as at level UDP.
pub(crate) const SOL_UDPLITE: i32 = 136;
pub(crate) const SOL_ICMPV6: i32 = 58;
pub(crate) const SOL_RAW: i32 = 255;

/// An option by level and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Opt(pub(crate) i32, pub(crate) i32);

macro_rules! options {
    ($($name:ident = $level:ident $number:literal $kind:expr, $born:literal;)*) => {
        impl Opt {
            $(pub(crate) const $name: Self = Self($level, $number);)*
        }
        const TABLE: &[(Opt, Takes, i32)] = &[$((Opt::$name, $kind, $born),)*];
    };
}

/// Which numbers an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// Zero or another.
    Truth,
    /// From here to there.
    From(i32, i32),
    /// As that; -1 for what it was born with.
    OrBorn(i32, i32),
    /// The lowest eight bits.
    Byte,
    /// Any.
    Int,
}

use Takes::{Byte, From, Int, OrBorn, Truth};

options! {
    IP_TOS = SOL_IP 1 Byte, 0;
    IP_TTL = SOL_IP 2 OrBorn(1, 255), -1;
    IP_HDRINCL = SOL_IP 3 Truth, 0;
    IP_RECVOPTS = SOL_IP 6 Truth, 0;
    IP_RETOPTS = SOL_IP 7 Truth, 0;
    IP_PKTINFO = SOL_IP 8 Truth, 0;
    IP_MTU_DISCOVER = SOL_IP 10 From(0, 5), 1;
    IP_RECVERR = SOL_IP 11 Truth, 0;
    IP_RECVTTL = SOL_IP 12 Truth, 0;
    IP_RECVTOS = SOL_IP 13 Truth, 0;
    IP_FREEBIND = SOL_IP 15 Truth, 0;
    IP_TRANSPARENT = SOL_IP 19 Truth, 0;
    IP_RECVORIGDSTADDR = SOL_IP 20 Truth, 0;
    IP_MINTTL = SOL_IP 21 From(0, 255), 0;
    IP_NODEFRAG = SOL_IP 22 Truth, 0;
    IP_CHECKSUM = SOL_IP 23 Truth, 0;
    IP_BIND_ADDRESS_NO_PORT = SOL_IP 24 Truth, 0;
    IP_RECVFRAGSIZE = SOL_IP 25 Truth, 0;
    IP_RECVERR_RFC4884 = SOL_IP 26 From(0, 1), 0;
    IP_MULTICAST_TTL = SOL_IP 33 OrBorn(0, 255), 1;
    IP_MULTICAST_LOOP = SOL_IP 34 Truth, 1;
    IP_MULTICAST_ALL = SOL_IP 49 From(0, 1), 1;
    REUSEADDR = SOL_SOCKET 2 Truth, 0;
    DONTROUTE = SOL_SOCKET 5 Truth, 0;
    BROADCAST = SOL_SOCKET 6 Truth, 0;
    NO_CHECK = SOL_SOCKET 11 Truth, 0;
    PRIORITY = SOL_SOCKET 12 Int, 0;
    REUSEPORT = SOL_SOCKET 15 Truth, 0;
    TIMESTAMP = SOL_SOCKET 29 Truth, 0;
    TIMESTAMPNS = SOL_SOCKET 35 Truth, 0;
    MARK = SOL_SOCKET 36 Int, 0;
    RXQ_OVFL = SOL_SOCKET 40 Truth, 0;
    UDP_CORK = SOL_UDP 1 Truth, 0;
    UDPLITE_SEND_CSCOV = SOL_UDP 10 Int, -1;
    UDPLITE_RECV_CSCOV = SOL_UDP 11 Int, -1;
    UDP_NO_CHECK6_TX = SOL_UDP 101 Truth, 0;
    UDP_NO_CHECK6_RX = SOL_UDP 102 Truth, 0;
    UDP_SEGMENT = SOL_UDP 103 From(0, 65535), 0;
    UDP_GRO = SOL_UDP 104 Truth, 0;
    IPV6_RECV2292PKTINFO = SOL_IPV6 2 Truth, 0;
    IPV6_RECV2292HOPLIMIT = SOL_IPV6 8 Truth, 0;
    IPV6_UNICAST_HOPS = SOL_IPV6 16 OrBorn(0, 255), -1;
    IPV6_MULTICAST_HOPS = SOL_IPV6 18 OrBorn(0, 255), 1;
    IPV6_MULTICAST_LOOP = SOL_IPV6 19 From(0, 1), 1;
    IPV6_MTU_DISCOVER = SOL_IPV6 23 From(0, 5), 1;
    IPV6_RECVERR = SOL_IPV6 25 Truth, 0;
    IPV6_V6ONLY = SOL_IPV6 26 Truth, 0;
    IPV6_MULTICAST_ALL = SOL_IPV6 29 Truth, 1;
    IPV6_RECVERR_RFC4884 = SOL_IPV6 31 From(0, 1), 0;
    IPV6_FLOWINFO_SEND = SOL_IPV6 33 Truth, 0;
    IPV6_HDRINCL = SOL_IPV6 36 Truth, 0;
    IPV6_RECVPKTINFO = SOL_IPV6 49 Truth, 0;
    IPV6_RECVHOPLIMIT = SOL_IPV6 51 Truth, 0;
    IPV6_RECVPATHMTU = SOL_IPV6 60 Truth, 0;
    IPV6_DONTFRAG = SOL_IPV6 62 Truth, 0;
    IPV6_RECVTCLASS = SOL_IPV6 66 Truth, 0;
    IPV6_TCLASS = SOL_IPV6 67 OrBorn(0, 255), 0;
    IPV6_AUTOFLOWLABEL = SOL_IPV6 70 Truth, 1;
    IPV6_MINHOPCOUNT = SOL_IPV6 73 From(0, 255), 0;
    IPV6_RECVORIGDSTADDR = SOL_IPV6 74 Truth, 0;
    IPV6_TRANSPARENT = SOL_IPV6 75 Truth, 0;
    IPV6_RECVFRAGSIZE = SOL_IPV6 77 Truth, 0;
    IPV6_FREEBIND = SOL_IPV6 78 Truth, 0;
}

/// What was set of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options(BTreeMap<Opt, i32>);

impl Options {
    /// What an option is now.
    pub(crate) fn get(&self, opt: Opt) -> i32 {
        self.0.get(&opt).copied().unwrap_or_else(|| row(opt).map_or(0, |(_, born)| born))
    }

    pub(crate) fn is_on(&self, opt: Opt) -> bool {
        self.get(opt) != 0
    }

    /// Whether this is an option of this table.
    pub(crate) fn knows(opt: Opt) -> bool {
        row(opt).is_some()
    }

    /// Sets an option from the bytes that a program gave: at level IP one byte is a number too.
    ///
    /// # Errors
    /// `ENOPROTOOPT` for an option that is not of this table; `EINVAL`.
    pub(crate) fn set(&mut self, opt: Opt, value: &[u8]) -> Result<(), i32> {
        let (takes, born) = row(opt).ok_or(errno::ENOPROTOOPT)?;
        let number = int(opt.0, value)?;
        let number = match takes {
            Truth => i32::from(number != 0),
            OrBorn(..) if number == -1 => born,
            From(low, high) | OrBorn(low, high) if !(low..=high).contains(&number) => return Err(errno::EINVAL),
            Byte => number & 0xff,
            From(..) | OrBorn(..) | Int => number,
        };
        if number == born {
            self.0.remove(&opt);
        } else {
            self.0.insert(opt, number);
        }
        Ok(())
    }

    /// Sets an option that was judged.
    pub(crate) fn put(&mut self, opt: Opt, number: i32) {
        self.0.insert(opt, number);
    }
}

fn row(opt: Opt) -> Option<(Takes, i32)> {
    TABLE.binary_search_by(|row| row.0.cmp(&opt)).ok().map(|at| (TABLE[at].1, TABLE[at].2))
}

/// The number that was given for an option.
///
/// # Errors
/// `EINVAL` if it is too short.
pub(crate) fn int(level: i32, value: &[u8]) -> Result<i32, i32> {
    match (value.first_chunk::<4>(), value.first()) {
        (Some(bytes), _) => Ok(i32::from_ne_bytes(*bytes)),
        (None, Some(&byte)) if level == SOL_IP => Ok(i32::from(byte)),
        _ => Err(errno::EINVAL),
    }
}

/// A number as `getsockopt` gives it into `room` bytes.
pub(crate) fn shown(level: i32, number: i32, room: usize) -> Vec<u8> {
    match u8::try_from(number) {
        Ok(byte) if level == SOL_IP && (1..4).contains(&room) => vec![byte],
        _ => number.to_ne_bytes()[..room.min(4)].to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        assert!(TABLE.is_sorted_by_key(|row| row.0), "{TABLE:?}");
    }

    #[test]
    fn numbers_are_judged_as_a_kernel_judges_them() {
        let mut options = Options::default();
        let cases = [
            (Opt::IP_TOS, -1, Ok(255)),
            (Opt::IP_TOS, 256, Ok(0)),
            (Opt::IP_TTL, 0, Err(errno::EINVAL)),
            (Opt::IP_TTL, 255, Ok(255)),
            (Opt::IP_TTL, -1, Ok(-1)),
            (Opt::IP_MTU_DISCOVER, 6, Err(errno::EINVAL)),
            (Opt::IP_MULTICAST_TTL, -1, Ok(1)),
            (Opt::IP_MULTICAST_LOOP, 2, Ok(1)),
            (Opt::IPV6_MULTICAST_LOOP, 2, Err(errno::EINVAL)),
            (Opt::IPV6_UNICAST_HOPS, 0, Ok(0)),
            (Opt::IPV6_TCLASS, 256, Err(errno::EINVAL)),
            (Opt::UDP_SEGMENT, 70_000, Err(errno::EINVAL)),
        ];
        for (opt, number, result) in cases {
            let set = options.set(opt, &i32::to_ne_bytes(number)).map(|()| options.get(opt));
            assert_eq!(set, result, "{opt:?} {number}");
        }
        assert_eq!(options.set(Opt::IP_TTL, &[9]), Ok(()));
        assert_eq!(options.set(Opt::IPV6_TCLASS, &[9]), Err(errno::EINVAL));
        assert_eq!(options.set(Opt(SOL_IP, 99), &[0; 4]), Err(errno::ENOPROTOOPT));
        assert_eq!(shown(SOL_IP, 64, 1), [64]);
        assert_eq!(shown(SOL_IPV6, 64, 8), 64i32.to_ne_bytes());
    }
}
