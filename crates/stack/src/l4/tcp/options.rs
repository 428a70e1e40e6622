//! What a program has said about a socket.

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use pernet::NetRef;

use super::info::TcpInfo;
use super::md5sig::{self, Keys, Md5Key};
use super::moment::Moment;
use super::segment;
use super::smoltcp::Congestion;
use super::sock::{BUFFER, Inner, Sock};
use super::state::State;
use crate::dev::Stack;
use crate::errno;
use crate::inet6::Prefer;
use crate::l3::{self, PmtuDiscovery};
use crate::l4::options::{Opt, Options as Stored};

/// `TCP_*`, options of the level `IPPROTO_TCP`.
mod name {
    pub(super) const NODELAY: i32 = 1;
    pub(super) const MAXSEG: i32 = 2;
    pub(super) const CORK: i32 = 3;
    pub(super) const KEEPIDLE: i32 = 4;
    pub(super) const KEEPINTVL: i32 = 5;
    pub(super) const KEEPCNT: i32 = 6;
    pub(super) const SYNCNT: i32 = 7;
    pub(super) const LINGER2: i32 = 8;
    pub(super) const DEFER_ACCEPT: i32 = 9;
    pub(super) const WINDOW_CLAMP: i32 = 10;
    pub(super) const INFO: i32 = 11;
    pub(super) const QUICKACK: i32 = 12;
    pub(super) const CONGESTION: i32 = 13;
    pub(super) const MD5SIG: i32 = 14;
    pub(super) const THIN_LINEAR_TIMEOUTS: i32 = 16;
    pub(super) const THIN_DUPACK: i32 = 17;
    pub(super) const USER_TIMEOUT: i32 = 18;
    pub(super) const REPAIR: i32 = 19;
    pub(super) const REPAIR_QUEUE: i32 = 20;
    pub(super) const QUEUE_SEQ: i32 = 21;
    pub(super) const REPAIR_OPTIONS: i32 = 22;
    pub(super) const FASTOPEN: i32 = 23;
    pub(super) const TIMESTAMP: i32 = 24;
    pub(super) const NOTSENT_LOWAT: i32 = 25;
    pub(super) const CC_INFO: i32 = 26;
    pub(super) const SAVE_SYN: i32 = 27;
    pub(super) const SAVED_SYN: i32 = 28;
    pub(super) const REPAIR_WINDOW: i32 = 29;
    pub(super) const FASTOPEN_CONNECT: i32 = 30;
    pub(super) const ULP: i32 = 31;
    pub(super) const MD5SIG_EXT: i32 = 32;
    pub(super) const FASTOPEN_KEY: i32 = 33;
    pub(super) const FASTOPEN_NO_COOKIE: i32 = 34;
    pub(super) const ZEROCOPY_RECEIVE: i32 = 35;
    pub(super) const INQ: i32 = 36;
    pub(super) const TX_DELAY: i32 = 37;
    pub(super) const IS_MPTCP: i32 = 43;
}

/// The least that `TCP_WINDOW_CLAMP` leaves of a window.
const LEAST_WINDOW: i32 = 1152;

/// A setting of the namespace, or what it is born with.
fn setting(stack: &Stack, net: &NetRef, name: &str, born: i32) -> i32 {
    let most = stack.sysctl_read(net, name).unwrap_or_default();
    most.trim().parse().unwrap_or(born)
}

/// The longest name of a way to control congestion, with its end.
const CA_NAME_MAX: usize = 16;

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) nodelay: bool,
    pub(crate) cork: bool,
    pub(crate) max_segment: u16,
    pub(crate) keepalive: bool,
    pub(crate) keep_idle: Duration,
    pub(crate) keep_interval: Duration,
    pub(crate) keep_count: u32,
    pub(crate) syn_retries: u32,
    pub(crate) linger2: i32,
    pub(crate) defer_accept: i32,
    pub(crate) window_clamp: i32,
    pub(crate) quickack: bool,
    pub(super) congestion: Congestion,
    pub(crate) user_timeout: Option<Duration>,
    pub(crate) fastopen: i32,
    pub(crate) notsent_lowat: u32,
    pub(crate) timestamps: bool,
    pub(crate) send_buffer: usize,
    pub(crate) receive_buffer: usize,
    /// `SO_LINGER`: seconds.
    pub(crate) linger: Option<u32>,
    pub(crate) reuse_addr: bool,
    pub(crate) reuse_port: bool,
    pub(crate) v6_only: bool,
    pub(crate) oob_inline: bool,
    pub(crate) mark: u32,
    pub(crate) priority: u32,
    /// Index of the device that the socket is bound to; 0 for any.
    pub(crate) device: u32,
    pub(crate) dont_route: bool,
    /// It may be bound to any address.
    pub(crate) any_source: bool,
    /// And send from any.
    pub(crate) transparent: bool,
    /// `IP_BIND_ADDRESS_NO_PORT`.
    pub(crate) no_port: bool,
    /// `TCP_SAVE_SYN`: a listener's connections remember what they began with.
    pub(super) save_syn: u8,
    pub(super) inq: bool,
    pub(super) fastopen_connect: bool,
    pub(super) fastopen_no_cookie: bool,
    pub(super) thin_timeouts: bool,
    /// What was said of levels IP and IPv6, and what the connection heeds of it, by family.
    pub(super) stored: Stored,
    pub(super) heeded: [Heeded; 2],
    /// `IP_LOCAL_PORT_RANGE`.
    pub(super) range: (u16, u16),
    /// `IP_UNICAST_IF`, `IPV6_UNICAST_IF`: connections do not heed them.
    pub(super) unicast_device: [u32; 2],
    /// What signs segments.
    pub(super) md5: Option<Arc<Keys>>,
}

/// The options of a socket: one copy for all of which the same was said, as a rule nothing. A connection has its listener's.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Options>);

impl Shared {
    pub(super) fn new(v6: bool) -> Self {
        static NEW: LazyLock<[Shared; 2]> = LazyLock::new(|| [false, true].map(|v6| Shared(Options::new(v6).into())));
        NEW[usize::from(v6)].clone()
    }

    /// Of a listener's, what a connection of it begins with.
    pub(super) fn inherited(&self) -> Self {
        let inherited = Options { priority: 0, defer_accept: 0, fastopen: 0, ..(*self.0).clone() };
        if inherited == *self.0 { self.clone() } else { Self(inherited.into()) }
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::new(false)
    }
}

impl Deref for Shared {
    type Target = Options;

    fn deref(&self) -> &Options {
        &self.0
    }
}

/// What is said of one is said of no other.
impl DerefMut for Shared {
    fn deref_mut(&mut self) -> &mut Options {
        Arc::make_mut(&mut self.0)
    }
}

/// What a connection by one family heeds of what was said of its packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heeded {
    pub(crate) tos: u8,
    pub(crate) hop_limit: Option<u8>,
    pub(crate) pmtu: PmtuDiscovery,
    pub(crate) receive_errors: bool,
    /// The least TTL of a segment that is taken (`IP_MINTTL`, `IPV6_MINHOPCOUNT`).
    pub(crate) min_hops: u8,
}

impl Options {
    fn new(v6: bool) -> Self {
        Self {
            stored: Stored::new(v6),
            keep_idle: Duration::from_secs(7200),
            keep_interval: Duration::from_secs(75),
            keep_count: 9,
            syn_retries: 6,
            quickack: true,
            timestamps: true,
            send_buffer: BUFFER,
            receive_buffer: BUFFER,
            ..Self::default()
        }
    }

    /// What is heeded of packets of IPv6, or of IPv4.
    pub(super) fn heeded(&self, v6: bool) -> &Heeded {
        &self.heeded[usize::from(v6)]
    }

    /// Is there a segment that this host would send and this socket not hear?
    pub(super) fn is_hard_of_hearing(&self) -> bool {
        self.md5.is_some() || self.heeded.iter().any(|heeded| heeded.min_hops != 0)
    }

    /// Bytes that are put into each segment to a peer besides what its connection does.
    pub(super) fn room_beside(&self, peer: IpAddr) -> u16 {
        if self.key_of(peer).is_some() { md5sig::ROOM } else { 0 }
    }

    /// What signs segments to a peer.
    pub(super) fn key_of(&self, peer: IpAddr) -> Option<&Md5Key> {
        self.md5.as_ref()?.of(peer)
    }

    /// Which address its connections are to begin at.
    pub(super) fn prefer(&self) -> Prefer {
        Prefer::of(self.stored.get(Opt::IPV6_ADDR_PREFERENCES))
    }

    /// The header of its packets.
    pub(super) fn header(&self, v6: bool) -> l3::Header {
        let heeded = self.heeded(v6);
        l3::Header {
            protocol: segment::PROTOCOL,
            tos: heeded.tos,
            hop_limit: heeded.hop_limit,
            pmtu: heeded.pmtu,
            mark: self.mark,
            priority: self.priority,
            ..l3::Header::default()
        }
    }

    /// How long a handshake is tried: a second, and twice as long after each repetition, two minutes at most.
    pub(super) fn handshake_limit(&self) -> Duration {
        if let Some(limit) = self.user_timeout {
            return limit;
        }
        let waits = (0..=self.syn_retries).map(|n| 1u64.checked_shl(n).map_or(120, |wait| wait.min(120)));
        Duration::from_secs(waits.sum())
    }
}

/// The seconds for which `TCP_DEFER_ACCEPT` waits: until so many repetitions of a handshake's answer are over that it is as
/// long as was asked.
fn whole_repetitions(asked: i32) -> i32 {
    const LONGEST: i32 = 120;
    const MOST: usize = 255;
    let pauses = std::iter::successors(Some(1), |pause: &i32| Some((pause * 2).min(LONGEST)));
    let ends = pauses.scan(0, |end, pause| {
        *end += pause;
        Some(*end)
    });
    if asked <= 0 { 0 } else { ends.take(MOST).find(|&end| end >= asked).unwrap_or(LONGEST * (MOST as i32 - 7) + 127) }
}

fn whole_seconds(value: i32, range: std::ops::RangeInclusive<i32>) -> Result<Duration, i32> {
    let seconds = range.contains(&value).then_some(value).ok_or(errno::EINVAL)?;
    Ok(Duration::from_secs(u64::from(seconds.unsigned_abs())))
}

impl Sock {
    /// Reads what was said.
    pub(crate) fn options<R>(&self, f: impl FnOnce(&Options) -> R) -> R {
        f(&self.lock().options)
    }

    /// Changes what can be set with an effect on what is to come only.
    pub(crate) fn set_options(&self, f: impl FnOnce(&mut Options)) {
        f(&mut self.lock().options);
    }

    /// `setsockopt` of the level `IPPROTO_TCP`.
    ///
    /// # Errors
    /// `EINVAL`, `ENOENT` (no such way to control congestion), `ENOPROTOOPT`.
    pub(crate) fn set_option(&self, option: i32, value: &[u8]) -> Result<(), i32> {
        let mut inner = self.lock();
        if option == name::CONGESTION {
            return if value.is_empty() { Err(errno::EINVAL) } else { inner.set_congestion(value) };
        }
        match option {
            // There is nothing to put on top of a stream here.
            name::ULP if !value.is_empty() => return Err(errno::ENOENT),
            name::FASTOPEN_KEY if !matches!(value.len(), 16 | 32) => return Err(errno::EINVAL),
            name::FASTOPEN_KEY => return Err(errno::ENOPROTOOPT),
            name::MD5SIG | name::MD5SIG_EXT => {
                let asked = md5sig::read(value, self.v6, option == name::MD5SIG_EXT)?;
                let room = inner.hold.as_ref().map_or(0, |net| setting(&self.stack, net, "core/optmem_max", 131_072));
                return inner.change_key(&self.stack, asked, room.unsigned_abs());
            }
            _ => {}
        }
        let value = value.first_chunk().map(|&b| i32::from_ne_bytes(b)).ok_or(errno::EINVAL)?;
        let bool = || (0..=1).contains(&value).then_some(value != 0).ok_or(errno::EINVAL);
        let active = inner.state.is_synchronized();
        let state = inner.state;
        let idle = matches!(state, State::Close | State::Listen);
        let most_waiting = inner.hold.as_ref().map_or(4096, |net| setting(&self.stack, net, "core/somaxconn", 4096));
        let options = &mut inner.options;
        match option {
            name::NODELAY => {
                options.nodelay = value != 0;
                let nodelay = options.nodelay && !options.cork;
                if let Some(engine) = &mut inner.engine {
                    engine.set_nodelay(nodelay);
                }
            }
            name::CORK => options.cork = value != 0,
            name::MAXSEG => {
                if value != 0 && !(88..=32767).contains(&value) {
                    return Err(errno::EINVAL);
                }
                options.max_segment = value as u16;
            }
            name::KEEPIDLE => {
                options.keep_idle = whole_seconds(value, 1..=32767)?;
                if options.keepalive && active {
                    inner.due.keepalive = Some((inner.counts.last_heard.get() + inner.options.keep_idle).into());
                }
            }
            name::KEEPINTVL => options.keep_interval = whole_seconds(value, 1..=32767)?,
            name::KEEPCNT if (1..=127).contains(&value) => options.keep_count = value.unsigned_abs(),
            name::SYNCNT if (1..=127).contains(&value) => options.syn_retries = value.unsigned_abs(),
            name::KEEPCNT | name::SYNCNT => return Err(errno::EINVAL),
            name::LINGER2 => options.linger2 = value.clamp(-1, 120),
            name::DEFER_ACCEPT => options.defer_accept = whole_repetitions(value),
            name::WINDOW_CLAMP if value != 0 => options.window_clamp = value.max(LEAST_WINDOW),
            name::WINDOW_CLAMP if state == State::Close => options.window_clamp = 0,
            name::QUICKACK => options.quickack = value != 0,
            name::USER_TIMEOUT if value >= 0 => {
                options.user_timeout = (value > 0).then(|| Duration::from_millis(u64::from(value.unsigned_abs())));
            }
            name::FASTOPEN if value >= 0 && idle => options.fastopen = value.min(most_waiting),
            name::NOTSENT_LOWAT => options.notsent_lowat = value as u32,
            name::FASTOPEN_CONNECT => options.fastopen_connect = bool()?,
            name::FASTOPEN_NO_COOKIE => options.fastopen_no_cookie = bool()?,
            name::THIN_LINEAR_TIMEOUTS => options.thin_timeouts = bool()?,
            // Linux takes it, and does nothing.
            name::THIN_DUPACK => _ = bool()?,
            name::SAVE_SYN if (0..=2).contains(&value) => options.save_syn = value as u8,
            name::INQ => options.inq = bool()?,
            name::TX_DELAY if value == 0 => {}
            name::TX_DELAY if value > 0 => return Err(errno::ENOPROTOOPT),
            // Nobody may repair a connection here, so none is being repaired.
            name::REPAIR if matches!(value, 0 | -1) => {}
            name::REPAIR if value == 1 => return Err(errno::EPERM),
            name::REPAIR_QUEUE | name::REPAIR_WINDOW | name::TIMESTAMP => return Err(errno::EPERM),
            name::WINDOW_CLAMP
            | name::USER_TIMEOUT
            | name::FASTOPEN
            | name::SAVE_SYN
            | name::TX_DELAY
            | name::REPAIR
            | name::QUEUE_SEQ
            | name::REPAIR_OPTIONS => return Err(errno::EINVAL),
            _ => return Err(errno::ENOPROTOOPT),
        }
        Ok(())
    }

    /// `getsockopt` of the level `IPPROTO_TCP`.
    ///
    /// # Errors
    /// `ENOPROTOOPT`.
    pub(crate) fn option(&self, option: i32) -> Result<Vec<u8>, i32> {
        let mut inner = self.lock();
        if option == name::SAVED_SYN {
            // Told once.
            return Ok(inner.saved_syn.take().map_or_else(Vec::new, Vec::from));
        }
        let options = &inner.options;
        let seconds = |time: Duration| i32::try_from(time.as_secs()).unwrap_or(i32::MAX);
        let value = match option {
            name::NODELAY => options.nodelay.into(),
            name::CORK => options.cork.into(),
            name::MAXSEG => i32::try_from(inner.send_mss()).unwrap_or(i32::MAX),
            name::KEEPIDLE => seconds(options.keep_idle),
            name::KEEPINTVL => seconds(options.keep_interval),
            name::KEEPCNT => options.keep_count as i32,
            name::SYNCNT => options.syn_retries as i32,
            name::LINGER2 => match options.linger2 {
                0 => 60,
                other => other,
            },
            name::DEFER_ACCEPT => options.defer_accept,
            name::WINDOW_CLAMP => options.window_clamp,
            name::QUICKACK => options.quickack.into(),
            name::USER_TIMEOUT => {
                options.user_timeout.map_or(0, |time| i32::try_from(time.as_millis()).unwrap_or(i32::MAX))
            }
            name::FASTOPEN => options.fastopen,
            name::FASTOPEN_CONNECT => options.fastopen_connect.into(),
            name::FASTOPEN_NO_COOKIE => options.fastopen_no_cookie.into(),
            name::THIN_LINEAR_TIMEOUTS => options.thin_timeouts.into(),
            name::SAVE_SYN => options.save_syn.into(),
            name::INQ => options.inq.into(),
            name::TIMESTAMP | name::THIN_DUPACK | name::REPAIR | name::TX_DELAY | name::IS_MPTCP => 0,
            name::REPAIR_QUEUE | name::REPAIR_WINDOW | name::QUEUE_SEQ | name::ZEROCOPY_RECEIVE => {
                return Err(errno::EINVAL);
            }
            name::CC_INFO | name::ULP | name::FASTOPEN_KEY => return Ok(Vec::new()),
            name::NOTSENT_LOWAT => options.notsent_lowat as i32,
            name::CONGESTION => {
                let mut text = options.congestion.name().as_bytes().to_vec();
                text.resize(CA_NAME_MAX, 0);
                return Ok(text);
            }
            name::MD5SIG | name::MD5SIG_EXT => return Err(errno::ENOPROTOOPT),
            name::INFO => {
                drop(inner);
                return Ok(self.info().to_bytes());
            }
            _ => return Err(errno::ENOPROTOOPT),
        };
        Ok(value.to_ne_bytes().to_vec())
    }

    /// Keeps an idle connection alive, or not (`SO_KEEPALIVE`).
    pub(crate) fn set_keepalive(self: &std::sync::Arc<Self>, on: bool) {
        let Some(net) = self.net.upgrade() else { return };
        let Some(cx) = crate::l2::Cx::new(&self.stack, &net) else { return };
        self.act(cx, |inner, _| {
            inner.options.keepalive = on;
            inner.due.probes = 0;
            inner.due.keepalive =
                (on && inner.state.is_synchronized()).then(|| (cx.now() + inner.options.keep_idle).into());
        });
    }

    /// `TCP_INFO`.
    pub(crate) fn info(&self) -> TcpInfo {
        let now = self.stack.inner().clock.now();
        let inner = self.lock();
        let mut info = TcpInfo { state: inner.state, ..TcpInfo::default() };
        if let Some(listen) = &inner.listen {
            info.unacked = u32::try_from(listen.queue.len()).unwrap_or(u32::MAX);
            info.sacked = u32::try_from(listen.backlog).unwrap_or(u32::MAX);
            return info;
        }
        let counts = &inner.counts;
        let since = |at: Moment| u32::try_from(now.saturating_sub(at.get()).as_millis()).unwrap_or(u32::MAX);
        info.retransmits = counts.retransmits;
        info.probes = u8::try_from(inner.due.probes).unwrap_or(u8::MAX);
        if let Some(engine) = &inner.engine {
            let (scale, agreed) = (engine.window_scale(), counts.peer.window_scale.is_some());
            info.options =
                u8::from(engine.timestamps()) | u8::from(counts.peer.sack_permitted) << 1 | u8::from(agreed) << 2;
            if agreed {
                (info.send_window_scale, info.receive_window_scale) = (counts.peer.window_scale.unwrap_or(0), scale);
            }
            info.not_sent = u32::try_from(engine.unacknowledged())
                .unwrap_or(u32::MAX)
                .saturating_sub(inner.sequence.snd_nxt.wrapping_sub(inner.sequence.snd_una));
            info.advertised_mss = u32::from(engine.mss() - engine.options_len());
            info.path_mtu = u32::from(engine.mss()) + if inner.local.is_some_and(|l| l.is_ipv4()) { 40 } else { 60 };
        }
        info.send_mss = inner.send_mss();
        info.receive_mss = counts.peer.mss.map_or(536, u32::from).min(info.send_mss.max(536));
        let in_flight = inner.sequence.snd_nxt.wrapping_sub(inner.sequence.snd_una);
        info.unacked = in_flight.div_ceil(info.send_mss.max(1));
        info.rto = (counts.rtt.saturating_add(counts.rtt_var.saturating_mul(4))).max(200_000);
        if counts.rtt == 0 {
            info.rto = 1_000_000;
        }
        (info.rtt, info.rtt_var, info.min_rtt) = (counts.rtt, counts.rtt_var, counts.min_rtt.unwrap_or(u32::MAX));
        (info.last_data_sent, info.last_data_recv) = (since(counts.last_sent), since(counts.last_data));
        info.last_ack_recv = since(counts.last_ack);
        info.total_retransmitted = counts.retransmitted;
        (info.bytes_acknowledged, info.bytes_received) = (counts.bytes_acknowledged, counts.bytes_received);
        (info.segments_out, info.segments_in) = (counts.segments_out, counts.segments_in);
        (info.data_segments_out, info.data_segments_in) = (counts.data_segments_out, counts.data_segments_in);
        (info.bytes_sent, info.bytes_retransmitted) = (counts.bytes_sent, counts.bytes_retransmitted);
        info.send_window = u32::from(counts.peer_window) << info.send_window_scale;
        info.receive_window = u32::from(inner.sequence.window) << info.receive_window_scale;
        info
    }
}

impl Inner {
    /// `TCP_MD5SIG`.
    fn change_key(&mut self, stack: &Stack, asked: Md5Key, room: u32) -> Result<(), i32> {
        let mut keys = self.options.md5.as_deref().cloned().unwrap_or_default();
        keys.change(asked, room)?;
        self.options.md5 = (!keys.is_empty()).then(|| keys.into());
        // Bytes that go another way go in segments from now on.
        stack.changed();
        Ok(())
    }

    /// Bytes of data in a full segment; before there is a connection, what everybody takes.
    pub(super) fn send_mss(&self) -> u32 {
        match &self.engine {
            Some(engine) if self.state != State::SynSent => {
                let theirs = self.counts.peer.mss.unwrap_or(536);
                u32::from(engine.mss().min(theirs).saturating_sub(engine.options_len()))
            }
            // What it was, once the connection is over.
            None if self.counts.segment != 0 && self.options.max_segment == 0 => self.counts.segment,
            _ if self.options.max_segment != 0 => u32::from(self.options.max_segment),
            _ => 536,
        }
    }

    fn set_congestion(&mut self, name: &[u8]) -> Result<(), i32> {
        let name = name.split(|&b| b == 0).next().unwrap_or_default();
        self.options.congestion = Congestion::of(name).ok_or(errno::ENOENT)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accept_is_deferred_by_whole_repetitions() {
        let cases = [(0, 0), (1, 1), (2, 3), (7, 7), (8, 15), (64, 127), (128, 247), (200, 247), (1000, 1087)];
        for (asked, waits) in cases {
            assert_eq!(whole_repetitions(asked), waits, "{asked}");
        }
        assert_eq!((whole_repetitions(100_000), whole_repetitions(-1)), (29_887, 0));
    }
}
