//! What is left of a connection for a minute after both sides closed it (`struct inet_timewait_sock`): late segments are
//! answered, and the same pair of ends is not used again by mistake.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Holder;
use super::md5sig::Keys;
use super::segment::{self, ACK, FIN, Header, RST, SYN, before};
use crate::l2::{Cx, Frame};
use crate::l4::ports::Ticket;
use crate::sysctl;

/// `TCP_TIMEWAIT_LEN`.
pub(super) const LENGTH: Duration = Duration::from_secs(60);

/// A connection in TIME-WAIT.
#[derive(Debug)]
pub(crate) struct TimeWait {
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    /// The family of the socket that it was.
    pub(super) v6: bool,
    pub(super) ticket: Ticket,
    /// The next byte of ours, and of the peer's.
    pub(super) snd_nxt: u32,
    pub(super) rcv_nxt: u32,
    pub(super) window: u16,
    /// The peer's last timestamp, if they are in use.
    pub(super) timestamp: Option<u32>,
    pub(super) mark: u32,
    pub(super) md5: Option<Arc<Keys>>,
    /// As its socket's.
    pub(super) cookie: u64,
    /// When it ends. A leaf lock.
    pub(super) until: Mutex<Duration>,
    /// It is waited for no more. Changed under the lock of those who [wait](super::waiting::Waiting).
    pub(super) over: AtomicBool,
}

/// Does who is bound to such a pair of ends lose it to a socket that was bound to the same port and asks for the same peer?
/// What is left of a connection does, if timestamps tell the old segments from the new.
pub(super) fn gives_way(holder: &Holder) -> bool {
    matches!(holder, Holder::TimeWait(old) if old.timestamp.is_some())
}

/// The same for a socket whose port is chosen: only who has said nothing for so long.
pub(super) fn gives_way_after(holder: &Holder, now: Duration, least: Duration) -> bool {
    // It ends so long after the last that came for it.
    let quiet = |old: &TimeWait| (now + LENGTH).saturating_sub(old.until());
    gives_way(holder) && matches!(holder, Holder::TimeWait(old) if quiet(old) >= least)
}

/// How long that is, for a connection to this host; `None` if none gives way (`net.ipv4.tcp_tw_reuse`, whose 2 means those
/// to oneself by the loopback's addresses).
pub(super) fn patience(cx: Cx<'_>, to: IpAddr) -> Option<Duration> {
    let reuses = match sysctl::number_or(cx.ns(), "ipv4/tcp_tw_reuse", 2) {
        0 => false,
        2 => to.is_loopback(),
        _ => true,
    };
    let delay = || u64::try_from(sysctl::number_or(cx.ns(), "ipv4/tcp_tw_reuse_delay", 1000)).unwrap_or(1000);
    reuses.then(|| Duration::from_millis(delay()))
}

/// What is to be done about a segment that came for it.
pub(super) enum Late {
    /// Nothing.
    Ignore,
    /// It is answered so.
    Answer(Frame),
    /// The connection is forgotten.
    Forget,
    /// The connection is forgotten, and the segment asks for a new one.
    Reopen,
}

impl TimeWait {
    pub(super) fn until(&self) -> Duration {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Can this, which asks for a connection between the same ends, not be of the old one? It begins behind that, or was sent
    /// after it, by the peer's own clock (RFC 6191).
    fn is_another(&self, header: &Header, stamp: Option<u32>) -> bool {
        let later = self.timestamp.zip(stamp).is_some_and(|(last, stamp)| before(last, stamp));
        later || before(self.rcv_nxt, header.seq)
    }

    /// `tcp_timewait_state_process`; `stamp`: the segment's timestamp.
    pub(super) fn segment(&self, header: &Header, stamp: Option<u32>, now: Duration) -> Late {
        if header.has(RST) {
            return if header.seq == self.rcv_nxt { Late::Forget } else { Late::Ignore };
        }
        if header.has(SYN) && !header.has(ACK) && self.is_another(header, stamp) {
            return Late::Reopen;
        }
        if header.has(FIN) {
            *self.until.lock().unwrap_or_else(PoisonError::into_inner) = now + LENGTH;
        }
        if header.payload == 0 && !header.has(FIN) && !header.has(SYN) && header.seq == self.rcv_nxt {
            return Late::Ignore;
        }
        let answer = Header {
            sport: self.local.port(),
            dport: self.peer.port(),
            seq: self.snd_nxt,
            ack: self.rcv_nxt,
            flags: ACK,
            window: self.window,
            urgent: 0,
            len: segment::HEADER_LEN,
            payload: 0,
        };
        Late::Answer(segment::bare(&answer, self.timestamp.map(|echo| (now.as_millis() as u32, echo))))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    /// One that ends after so many seconds.
    pub(in crate::l4::tcp) fn ending(seconds: u64) -> Arc<TimeWait> {
        let end = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        Arc::new(TimeWait {
            local: end,
            peer: end,
            v6: false,
            ticket: Ticket::default(),
            snd_nxt: 0,
            rcv_nxt: 0,
            window: 0,
            timestamp: None,
            mark: 0,
            md5: None,
            cookie: 0,
            until: Mutex::new(Duration::from_secs(seconds)),
            over: AtomicBool::new(false),
        })
    }
}
