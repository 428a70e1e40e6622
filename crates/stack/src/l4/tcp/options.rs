//! What a program has said about a socket.

use std::time::Duration;

use super::info::TcpInfo;
use super::segment;
use super::smoltcp::Congestion;
use super::sock::{BUFFER, Inner, Sock};
use super::state::State;
use crate::errno;
use crate::l3::{self, PmtuDiscovery};

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
    pub(super) const USER_TIMEOUT: i32 = 18;
    pub(super) const FASTOPEN: i32 = 23;
    pub(super) const TIMESTAMP: i32 = 24;
    pub(super) const NOTSENT_LOWAT: i32 = 25;
    pub(super) const FASTOPEN_CONNECT: i32 = 30;
    pub(super) const INQ: i32 = 36;
}

mod level {
    pub(super) const IP: i32 = 0;
    pub(super) const IPV6: i32 = 41;
}

/// `IP_*` and `IPV6_*`.
mod ip {
    pub(super) const TOS: i32 = 1;
    pub(super) const TTL: i32 = 2;
    pub(super) const OPTIONS: i32 = 4;
    pub(super) const RECVOPTS: i32 = 6;
    pub(super) const RETOPTS: i32 = 7;
    pub(super) const PKTINFO: i32 = 8;
    pub(super) const MTU_DISCOVER: i32 = 10;
    pub(super) const RECVERR: i32 = 11;
    pub(super) const RECVTTL: i32 = 12;
    pub(super) const RECVTOS: i32 = 13;
    pub(super) const MTU: i32 = 14;
    pub(super) const FREEBIND: i32 = 15;
    pub(super) const TRANSPARENT: i32 = 19;
    pub(super) const BIND_ADDRESS_NO_PORT: i32 = 24;
    pub(super) const V6_UNICAST_HOPS: i32 = 16;
    pub(super) const V6_MTU_DISCOVER: i32 = 23;
    pub(super) const V6_MTU: i32 = 24;
    pub(super) const V6_RECVERR: i32 = 25;
    pub(super) const V6_ONLY: i32 = 26;
    pub(super) const V6_RECVPKTINFO: i32 = 49;
    pub(super) const V6_RECVHOPLIMIT: i32 = 51;
    pub(super) const V6_RECVTCLASS: i32 = 66;
    pub(super) const V6_TCLASS: i32 = 67;
    pub(super) const V6_AUTOFLOWLABEL: i32 = 70;
    pub(super) const V6_TRANSPARENT: i32 = 75;
    pub(super) const V6_FREEBIND: i32 = 78;
}

/// The longest name of a way to control congestion, with its end.
const CA_NAME_MAX: usize = 16;

/// Everything that can be set.
#[derive(Clone, Debug, Default)]
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
    pub(crate) receive_errors: bool,
    pub(crate) tos: u8,
    pub(crate) hop_limit: Option<u8>,
    pub(crate) pmtu: PmtuDiscovery,
    pub(crate) mark: u32,
    pub(crate) priority: u32,
    /// Index of the device that the socket is bound to; 0 for any.
    pub(crate) device: u32,
    pub(crate) uid: u32,
    pub(crate) dont_route: bool,
    pub(crate) any_source: bool,
    /// `IP_BIND_ADDRESS_NO_PORT`.
    pub(crate) no_port: bool,
}

impl Options {
    pub(super) fn new() -> Self {
        Self {
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

    /// The header of its packets.
    pub(super) fn header(&self) -> l3::Header {
        l3::Header {
            protocol: segment::PROTOCOL,
            tos: self.tos,
            hop_limit: self.hop_limit,
            pmtu: self.pmtu,
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

fn whole_seconds(value: i32, range: std::ops::RangeInclusive<i32>) -> Result<Duration, i32> {
    let seconds = range.contains(&value).then_some(value).ok_or(errno::EINVAL)?;
    Ok(Duration::from_secs(u64::from(seconds.unsigned_abs())))
}

impl Sock {
    /// Reads or changes what can be set with an effect on what is to come only.
    pub(crate) fn options<R>(&self, f: impl FnOnce(&mut Options) -> R) -> R {
        f(&mut self.lock().options)
    }

    /// `setsockopt` of the level `IPPROTO_TCP`.
    ///
    /// # Errors
    /// `EINVAL`, `ENOENT` (no such way to control congestion), `ENOPROTOOPT`.
    pub(crate) fn set_option(&self, option: i32, value: &[u8]) -> Result<(), i32> {
        let mut inner = self.lock();
        if option == name::CONGESTION {
            return inner.set_congestion(value);
        }
        let value = value.first_chunk().map(|&b| i32::from_ne_bytes(b)).ok_or(errno::EINVAL)?;
        let bool = || (0..=1).contains(&value).then_some(value != 0).ok_or(errno::EINVAL);
        let active = inner.state.is_synchronized();
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
                    inner.due.keepalive = Some(inner.counts.last_heard + inner.options.keep_idle);
                }
            }
            name::KEEPINTVL => options.keep_interval = whole_seconds(value, 1..=32767)?,
            name::KEEPCNT if (1..=127).contains(&value) => options.keep_count = value.unsigned_abs(),
            name::SYNCNT if (1..=127).contains(&value) => options.syn_retries = value.unsigned_abs(),
            name::KEEPCNT | name::SYNCNT => return Err(errno::EINVAL),
            name::LINGER2 => options.linger2 = value.clamp(-1, 120),
            name::DEFER_ACCEPT => options.defer_accept = value.max(0),
            name::WINDOW_CLAMP => options.window_clamp = value.max(0),
            name::QUICKACK => options.quickack = value != 0,
            name::USER_TIMEOUT if value >= 0 => {
                options.user_timeout = (value > 0).then(|| Duration::from_millis(u64::from(value.unsigned_abs())));
            }
            name::FASTOPEN => options.fastopen = value,
            name::FASTOPEN_CONNECT => _ = bool()?,
            name::NOTSENT_LOWAT => options.notsent_lowat = value as u32,
            // Repair mode, and what else nobody but checkpointing has use for, is not here.
            name::INQ | name::TIMESTAMP => _ = bool()?,
            name::USER_TIMEOUT => return Err(errno::EINVAL),
            _ => return Err(errno::ENOPROTOOPT),
        }
        Ok(())
    }

    /// `getsockopt` of the level `IPPROTO_TCP`.
    ///
    /// # Errors
    /// `ENOPROTOOPT`.
    pub(crate) fn option(&self, option: i32) -> Result<Vec<u8>, i32> {
        let inner = self.lock();
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
            name::FASTOPEN_CONNECT | name::INQ | name::TIMESTAMP => 0,
            name::NOTSENT_LOWAT => options.notsent_lowat as i32,
            name::CONGESTION => {
                let mut text = match options.congestion {
                    Congestion::Cubic => b"cubic".to_vec(),
                    Congestion::None => b"none".to_vec(),
                };
                text.resize(CA_NAME_MAX, 0);
                return Ok(text);
            }
            name::INFO => {
                drop(inner);
                return Ok(self.info().to_bytes());
            }
            _ => return Err(errno::ENOPROTOOPT),
        };
        Ok(value.to_ne_bytes().to_vec())
    }

    /// `setsockopt` of the levels `IPPROTO_IP` and `IPPROTO_IPV6`, of which a connection heeds few.
    ///
    /// # Errors
    /// `EINVAL`, `ENOPROTOOPT`.
    pub(crate) fn set_ip_option(&self, level: i32, option: i32, value: &[u8]) -> Result<(), i32> {
        let value = match *value {
            [byte] | [byte, _] | [byte, _, _] if level == level::IP => i32::from(byte),
            [a, b, c, d, ..] => i32::from_ne_bytes([a, b, c, d]),
            _ => return Err(errno::EINVAL),
        };
        let mut inner = self.lock();
        let bound = inner.ticket.is_some();
        let options = &mut inner.options;
        match (level, option) {
            // The two lowest bits are not the program's: they tell of congestion.
            (level::IP, ip::TOS) => options.tos = value as u8 & !3 | options.tos & 3,
            (level::IP, ip::TTL) if value == -1 => options.hop_limit = None,
            (level::IP, ip::TTL) if (1..=255).contains(&value) => options.hop_limit = Some(value as u8),
            (level::IP, ip::MTU_DISCOVER) | (level::IPV6, ip::V6_MTU_DISCOVER) => {
                options.pmtu = PmtuDiscovery::of(value).ok_or(errno::EINVAL)?;
            }
            (level::IP, ip::RECVERR) | (level::IPV6, ip::V6_RECVERR) => options.receive_errors = value != 0,
            (level::IP, ip::FREEBIND | ip::TRANSPARENT) | (level::IPV6, ip::V6_FREEBIND | ip::V6_TRANSPARENT) => {
                options.any_source = value != 0;
            }
            (level::IP, ip::BIND_ADDRESS_NO_PORT) => options.no_port = value != 0,
            (level::IPV6, ip::V6_ONLY) if bound => return Err(errno::EINVAL),
            (level::IPV6, ip::V6_ONLY) => options.v6_only = value != 0,
            (level::IPV6, ip::V6_UNICAST_HOPS) if value == -1 => options.hop_limit = None,
            (level::IPV6, ip::V6_UNICAST_HOPS) if (1..=255).contains(&value) => options.hop_limit = Some(value as u8),
            (level::IPV6, ip::V6_TCLASS) if (-1..=255).contains(&value) => options.tos = value.max(0) as u8,
            (level::IP, ip::TTL) | (level::IPV6, ip::V6_UNICAST_HOPS | ip::V6_TCLASS) => return Err(errno::EINVAL),
            // What it wants to be told beside bytes, a stream has no place for.
            (level::IP, ip::PKTINFO | ip::RECVTTL | ip::RECVTOS | ip::RECVOPTS | ip::RETOPTS) => {}
            (level::IPV6, ip::V6_RECVPKTINFO | ip::V6_RECVHOPLIMIT | ip::V6_RECVTCLASS | ip::V6_AUTOFLOWLABEL) => {}
            _ => return Err(errno::ENOPROTOOPT),
        }
        Ok(())
    }

    /// `getsockopt` of those levels.
    ///
    /// # Errors
    /// `ENOPROTOOPT`, `ENOTCONN`.
    pub(crate) fn ip_option(&self, level: i32, option: i32) -> Result<Vec<u8>, i32> {
        let inner = self.lock();
        let options = &inner.options;
        let hops = |born: i32| options.hop_limit.map_or(born, i32::from);
        let value = match (level, option) {
            (level::IP, ip::TOS) | (level::IPV6, ip::V6_TCLASS) => i32::from(options.tos),
            (level::IP, ip::TTL) | (level::IPV6, ip::V6_UNICAST_HOPS) => hops(64),
            (level::IP, ip::MTU_DISCOVER) | (level::IPV6, ip::V6_MTU_DISCOVER) => options.pmtu as i32,
            (level::IP, ip::RECVERR) | (level::IPV6, ip::V6_RECVERR) => options.receive_errors.into(),
            (level::IP, ip::FREEBIND | ip::TRANSPARENT) | (level::IPV6, ip::V6_FREEBIND | ip::V6_TRANSPARENT) => {
                options.any_source.into()
            }
            (level::IP, ip::BIND_ADDRESS_NO_PORT) => options.no_port.into(),
            (level::IPV6, ip::V6_ONLY) => options.v6_only.into(),
            (level::IP, ip::MTU) | (level::IPV6, ip::V6_MTU) => match (&inner.engine, inner.local) {
                (Some(engine), Some(local)) => i32::from(engine.mss()) + if local.is_ipv4() { 40 } else { 60 },
                _ => return Err(errno::ENOTCONN),
            },
            (level::IP, ip::OPTIONS) => return Ok(Vec::new()),
            (level::IP, ip::PKTINFO | ip::RECVTTL | ip::RECVTOS | ip::RECVOPTS | ip::RETOPTS)
            | (level::IPV6, ip::V6_RECVPKTINFO | ip::V6_RECVHOPLIMIT | ip::V6_RECVTCLASS) => 0,
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
            inner.due.keepalive = (on && inner.state.is_synchronized()).then(|| cx.now() + inner.options.keep_idle);
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
        let since = |at: Duration| u32::try_from(now.saturating_sub(at).as_millis()).unwrap_or(u32::MAX);
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
        self.options.congestion = match name {
            b"cubic" => Congestion::Cubic,
            b"none" => Congestion::None,
            _ => return Err(errno::ENOENT),
        };
        Ok(())
    }
}
