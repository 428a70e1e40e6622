//! Options of a socket that are numbers, by level and name as programs give them, and what each takes.
//!
//! One table says of every option which numbers it takes and what it is born with; a socket stores only what was changed.
//! It is one for all kinds of sockets ([`Who`]). What is more than a number (memberships, devices, filters) the socket
//! itself keeps.

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
        /// Which numbers an option takes, and what it is born with. Packets ask for options by their names: the compiler
        /// looks those up.
        #[inline]
        const fn row(opt: Opt) -> Option<(Takes, i32)> {
            match opt {
                $(Opt::$name => Some(($kind, $born)),)*
                _ => None,
            }
        }
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
    /// What `IPV6_ADDR_PREFERENCES` are made of.
    Preferences,
}

use Takes::{Byte, From, Int, OrBorn, Preferences, Truth};

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
    IP_PASSSEC = SOL_IP 18 Truth, 0;
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
    IPV6_RECV2292HOPOPTS = SOL_IPV6 3 Truth, 0;
    IPV6_RECV2292DSTOPTS = SOL_IPV6 4 Truth, 0;
    IPV6_RECV2292RTHDR = SOL_IPV6 5 Truth, 0;
    IPV6_RECV2292HOPLIMIT = SOL_IPV6 8 Truth, 0;
    IPV6_FLOWINFO = SOL_IPV6 11 Truth, 0;
    IPV6_UNICAST_HOPS = SOL_IPV6 16 OrBorn(0, 255), -1;
    IPV6_MULTICAST_HOPS = SOL_IPV6 18 OrBorn(0, 255), 1;
    IPV6_MULTICAST_LOOP = SOL_IPV6 19 From(0, 1), 1;
    IPV6_MTU_DISCOVER = SOL_IPV6 23 From(0, 5), 1;
    IPV6_MTU = SOL_IPV6 24 Int, 0;
    IPV6_RECVERR = SOL_IPV6 25 Truth, 0;
    IPV6_V6ONLY = SOL_IPV6 26 Truth, 0;
    IPV6_MULTICAST_ALL = SOL_IPV6 29 Truth, 1;
    IPV6_ROUTER_ALERT_ISOLATE = SOL_IPV6 30 Truth, 0;
    IPV6_RECVERR_RFC4884 = SOL_IPV6 31 From(0, 1), 0;
    IPV6_FLOWINFO_SEND = SOL_IPV6 33 Truth, 0;
    IPV6_HDRINCL = SOL_IPV6 36 Truth, 0;
    IPV6_RECVPKTINFO = SOL_IPV6 49 Truth, 0;
    IPV6_RECVHOPLIMIT = SOL_IPV6 51 Truth, 0;
    IPV6_RECVHOPOPTS = SOL_IPV6 53 Truth, 0;
    IPV6_RECVRTHDR = SOL_IPV6 56 Truth, 0;
    IPV6_RECVDSTOPTS = SOL_IPV6 58 Truth, 0;
    IPV6_RECVPATHMTU = SOL_IPV6 60 Truth, 0;
    IPV6_DONTFRAG = SOL_IPV6 62 Truth, 0;
    IPV6_RECVTCLASS = SOL_IPV6 66 Truth, 0;
    IPV6_TCLASS = SOL_IPV6 67 OrBorn(0, 255), 0;
    IPV6_AUTOFLOWLABEL = SOL_IPV6 70 Truth, 1;
    IPV6_ADDR_PREFERENCES = SOL_IPV6 72 Preferences, 0x500;
    IPV6_MINHOPCOUNT = SOL_IPV6 73 From(0, 255), 0;
    IPV6_RECVORIGDSTADDR = SOL_IPV6 74 Truth, 0;
    IPV6_TRANSPARENT = SOL_IPV6 75 Truth, 0;
    IPV6_RECVFRAGSIZE = SOL_IPV6 77 Truth, 0;
    IPV6_FREEBIND = SOL_IPV6 78 Truth, 0;
}

/// What the options of a socket depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    /// It is one of IPv6.
    pub(crate) v6: bool,
    /// It has connections: TCP's.
    pub(crate) stream: bool,
    /// It is a raw one.
    pub(crate) raw: bool,
}

impl Who {
    /// Whether it has options of level IP: a raw socket of IPv6 has none, other sockets of IPv6 do.
    pub(crate) const fn has_ip(self) -> bool {
        !(self.v6 && self.raw)
    }

    /// The errno of `getsockopt` for a level that the socket does not have. `setsockopt` says `ENOPROTOOPT`.
    pub(crate) const fn no_level(self) -> i32 {
        if self.v6 { errno::ENOPROTOOPT } else { errno::EOPNOTSUPP }
    }

    /// Whether such a socket may set an option, whatever to.
    fn may_set(self, opt: Opt) -> Result<(), i32> {
        match opt {
            Opt::IP_HDRINCL | Opt::IP_NODEFRAG | Opt::IPV6_HDRINCL if !self.raw => Err(errno::ENOPROTOOPT),
            Opt::IPV6_MULTICAST_HOPS if self.stream => Err(errno::ENOPROTOOPT),
            Opt::IP_RECVFRAGSIZE | Opt::IP_MULTICAST_TTL if self.stream => Err(errno::EINVAL),
            Opt::IPV6_V6ONLY if self.raw => Err(errno::EINVAL),
            _ => Ok(()),
        }
    }
}

/// What was set of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    v6: bool,
    set: BTreeMap<Opt, i32>,
}

impl Options {
    /// Those of a new socket, of IPv6 or not.
    pub(crate) const fn new(v6: bool) -> Self {
        Self { v6, set: BTreeMap::new() }
    }

    /// What an option was born with.
    #[inline]
    fn born(&self, opt: Opt) -> Option<i32> {
        match opt {
            Opt::IP_MULTICAST_ALL if self.v6 => Some(0),
            _ => row(opt).map(|(_, born)| born),
        }
    }

    /// What an option is now.
    #[inline]
    pub(crate) fn get(&self, opt: Opt) -> i32 {
        let opt = stored_as(opt);
        self.set.get(&opt).copied().unwrap_or_else(|| self.born(opt).unwrap_or(0))
    }

    #[inline]
    pub(crate) fn is_on(&self, opt: Opt) -> bool {
        self.get(opt) != 0
    }

    /// Whether this is an option of this table.
    pub(crate) fn knows(opt: Opt) -> bool {
        row(opt).is_some()
    }

    /// Sets an option from the bytes that a program gave. `capable`: who asks may send what he likes.
    ///
    /// # Errors
    /// `ENOPROTOOPT` for an option that is not of this table, or not of such a socket; `EINVAL`, `EPERM`.
    pub(crate) fn set(&mut self, who: Who, opt: Opt, value: &[u8], capable: impl FnOnce() -> bool) -> Result<(), i32> {
        /// Of a stream these two bits tell of congestion, and are not the program's.
        const ECN: i32 = 3;
        let (takes, born) = row(opt).ok_or(errno::ENOPROTOOPT)?;
        who.may_set(opt)?;
        let number = given(opt, value)?;
        let mut number = match takes {
            Truth => i32::from(number != 0),
            OrBorn(..) if number == -1 => born,
            From(low, high) | OrBorn(low, high) if !(low..=high).contains(&number) => return Err(errno::EINVAL),
            Byte => number & 0xff,
            Preferences => preferences(number)?,
            From(..) | OrBorn(..) | Int => number,
        };
        let any_source = matches!(opt, Opt::IP_TRANSPARENT | Opt::IPV6_TRANSPARENT);
        if any_source && number != 0 && !capable() {
            return Err(errno::EPERM);
        }
        if who.stream && matches!(opt, Opt::IP_TOS | Opt::IPV6_TCLASS) {
            number = number & !ECN | self.get(opt) & ECN;
        }
        self.put(opt, number);
        Ok(())
    }

    /// Sets an option that was judged.
    pub(crate) fn put(&mut self, opt: Opt, number: i32) {
        let opt = stored_as(opt);
        if self.born(opt) == Some(number) {
            self.set.remove(&opt);
        } else {
            self.set.insert(opt, number);
        }
    }
}

/// Where the number is kept: two of IPv6's options are IPv4's by another name.
#[inline]
fn stored_as(opt: Opt) -> Opt {
    match opt {
        Opt::IPV6_FREEBIND => Opt::IP_FREEBIND,
        Opt::IPV6_TRANSPARENT => Opt::IP_TRANSPARENT,
        other => other,
    }
}

/// What `IPV6_ADDR_PREFERENCES` read back as, of what was set: in each group of two or three one at most.
fn preferences(set: i32) -> Result<i32, i32> {
    const TMP: i32 = 1;
    const PUBLIC: i32 = 2;
    const COA: i32 = 4;
    const CGA: i32 = 8;
    const PUBTMP_DEFAULT: i32 = 0x100;
    const HOME: i32 = 0x400;
    const NONCGA: i32 = 0x800;
    let one_of = |group: i32, else_: i32| match set & group {
        0 => Ok(else_),
        some if some.count_ones() == 1 => Ok(some),
        _ => Err(errno::EINVAL),
    };
    let address = one_of(TMP | PUBLIC | PUBTMP_DEFAULT, PUBTMP_DEFAULT)?;
    let home = one_of(COA | HOME, HOME)?;
    one_of(CGA | NONCGA, 0)?;
    Ok(address | home)
}

/// The priority that packets have for their type of service (`rt_tos2priority`).
pub(crate) const fn priority_of(tos: i32) -> i32 {
    match tos >> 3 & 3 {
        0 => 0,
        1 => 2,
        2 => 6,
        _ => 4,
    }
}

/// The number that a program gave for an option of this table: some are zero where nothing was given.
fn given(opt: Opt, value: &[u8]) -> Result<i32, i32> {
    let nothing_will_do = match opt {
        Opt::IP_TTL
        | Opt::IP_FREEBIND
        | Opt::IP_TRANSPARENT
        | Opt::IP_MINTTL
        | Opt::IP_MULTICAST_TTL
        | Opt::IP_MULTICAST_LOOP
        | Opt::IP_MULTICAST_ALL => false,
        Opt(SOL_IP, _) => value.is_empty(),
        Opt::IPV6_DONTFRAG | Opt::IPV6_AUTOFLOWLABEL | Opt::IPV6_RECVFRAGSIZE => value.len() < 4,
        _ => false,
    };
    if nothing_will_do { Ok(0) } else { int(opt.0, value) }
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

    const DATAGRAM: Who = Who { v6: true, stream: false, raw: false };

    #[test]
    fn what_a_socket_may_set_is_of_its_kind() {
        let raw = Who { raw: true, ..DATAGRAM };
        let stream = Who { stream: true, ..DATAGRAM };
        let one = 1i32.to_ne_bytes();
        let set = |who, opt, value: &[u8]| Options::default().set(who, opt, value, || false);
        assert_eq!(set(DATAGRAM, Opt::IP_HDRINCL, &one), Err(errno::ENOPROTOOPT));
        assert_eq!(set(raw, Opt::IPV6_HDRINCL, &one), Ok(()));
        assert_eq!(set(raw, Opt::IPV6_V6ONLY, &one), Err(errno::EINVAL));
        assert_eq!(set(stream, Opt::IP_MULTICAST_TTL, &one), Err(errno::EINVAL));
        assert_eq!(set(stream, Opt::IPV6_MULTICAST_HOPS, &[]), Err(errno::ENOPROTOOPT));
        assert_eq!(set(DATAGRAM, Opt::IPV6_TRANSPARENT, &one), Err(errno::EPERM));
        assert_eq!(set(DATAGRAM, Opt::IP_RECVTTL, &[]), Ok(()));
        assert_eq!(set(DATAGRAM, Opt::IP_MINTTL, &[]), Err(errno::EINVAL));
    }

    #[test]
    fn what_tells_of_congestion_is_not_the_programs_of_a_stream() {
        let stream = Who { stream: true, ..DATAGRAM };
        let mut options = Options::default();
        assert_eq!(options.set(stream, Opt::IP_TOS, &[0xff], || true), Ok(()));
        assert_eq!(options.get(Opt::IP_TOS), 0xfc);
        assert_eq!([0x07, 0x08, 0x10, 0x18, 0x2f].map(priority_of), [0, 2, 6, 4, 2]);
    }

    #[test]
    fn two_names_are_of_one_option() {
        let mut options = Options::default();
        assert_eq!(options.set(DATAGRAM, Opt::IPV6_FREEBIND, &1i32.to_ne_bytes(), || true), Ok(()));
        assert!(options.is_on(Opt::IP_FREEBIND));
    }

    #[test]
    fn of_each_group_of_preferences_there_is_one() {
        for (set, reads) in [(0, 0x500), (1, 0x401), (2, 0x402), (4, 0x104), (8, 0x500), (6, 6), (0x802, 0x402)] {
            assert_eq!(preferences(set), Ok(reads), "{set:x}");
        }
        for set in [3, 0x101, 0x102, 0x404, -1] {
            assert_eq!(preferences(set), Err(errno::EINVAL), "{set:x}");
        }
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
            let set = options.set(DATAGRAM, opt, &i32::to_ne_bytes(number), || true).map(|()| options.get(opt));
            assert_eq!(set, result, "{opt:?} {number}");
        }
        assert_eq!(options.set(DATAGRAM, Opt::IP_TTL, &[9], || true), Ok(()));
        assert_eq!(options.set(DATAGRAM, Opt::IPV6_TCLASS, &[9], || true), Err(errno::EINVAL));
        assert_eq!(options.set(DATAGRAM, Opt(SOL_IP, 99), &[0; 4], || true), Err(errno::ENOPROTOOPT));
        assert_eq!(shown(SOL_IP, 64, 1), [64]);
        assert_eq!(shown(SOL_IPV6, 64, 8), 64i32.to_ne_bytes());
    }
}
