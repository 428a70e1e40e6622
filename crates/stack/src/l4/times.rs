//! Times of packets that a socket asks for (`SO_TIMESTAMP`, `SO_TIMESTAMPNS`, `SO_TIMESTAMPING`): what it asks, and what it
//! is told.

use std::time::Duration;

use super::cmsg::{ControlMessage, wall};
use super::options::{SOL_SOCKET, int};
use super::queue::{ErrorOrigin, Meta, QueuedError};
use super::sock::Sock;
use crate::dev::Link;
use crate::l2::{Cx, Frame, Reached, Told};
use crate::{errno, l3};

const TIMESTAMP: i32 = 29;
const TIMESTAMPNS: i32 = 35;
pub(crate) const TIMESTAMPING: i32 = 37;
const TIMESTAMP_NEW: i32 = 63;
const TIMESTAMPNS_NEW: i32 = 64;
pub(crate) const TIMESTAMPING_NEW: i32 = 65;
/// Beside one packet: by what number its sender knows it.
pub(crate) const TS_OPT_ID: i32 = 81;
/// `SOF_TIMESTAMPING_*`.
const TX_SOFTWARE: u32 = 1 << 1;
const RX_SOFTWARE: u32 = 1 << 3;
const SOFTWARE: u32 = 1 << 4;
const OPT_ID: u32 = 1 << 7;
const TX_SCHED: u32 = 1 << 8;
const OPT_CMSG: u32 = 1 << 10;
const OPT_TSONLY: u32 = 1 << 11;
const OPT_STATS: u32 = 1 << 12;
const BIND_PHC: u32 = 1 << 15;
const OPT_ID_TCP: u32 = 1 << 16;
const KNOWN: u32 = (1 << 19) - 1;
/// Those that ask for a time, and so those that are said of one packet: by hardware, software, at the queue, at the
/// acknowledgement, at completion.
const TX_RECORD: u32 = 1 << 0 | TX_SOFTWARE | TX_SCHED | 1 << 9 | 1 << 18;

/// In what units a socket is told when a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Micro,
    Nano,
}

/// What a socket asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    unit: Option<Unit>,
    /// It knows the messages by their newer numbers.
    new: bool,
    /// What `SO_TIMESTAMPING` says.
    flags: u32,
    /// By what number the next packet is known whose time is wanted.
    next: u32,
}

/// What is asked of one packet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    flags: u32,
    id: Option<u32>,
}

impl Asked {
    /// Whether any time is wanted.
    pub(crate) const fn any(self) -> bool {
        self.flags != 0
    }
}

/// Is it an option of times?
pub(crate) const fn is_of_times(name: i32) -> bool {
    matches!(name, TIMESTAMP | TIMESTAMPNS | TIMESTAMPING | TIMESTAMP_NEW | TIMESTAMPNS_NEW | TIMESTAMPING_NEW)
}

/// What `SO_TIMESTAMPING` beside one packet says.
///
/// # Errors
/// `EINVAL` for what is not said of one.
pub(crate) fn of_one(data: &[u8]) -> Result<u32, i32> {
    let flags = u32::from_ne_bytes(*data.first_chunk().filter(|_| data.len() == 4).ok_or(errno::EINVAL)?);
    if flags & !TX_RECORD != 0 { Err(errno::EINVAL) } else { Ok(flags) }
}

impl Times {
    /// Sets an option [of times](is_of_times).
    ///
    /// # Errors
    /// `EINVAL`; `EOPNOTSUPP` for a clock of hardware, which nothing here has.
    pub(crate) fn set(&mut self, name: i32, value: &[u8]) -> Result<(), i32> {
        let number = int(SOL_SOCKET, value)?;
        match name {
            TIMESTAMPING | TIMESTAMPING_NEW => {
                let flags = number.cast_unsigned();
                let odd = flags & !KNOWN != 0
                    || flags & OPT_ID_TCP != 0 && flags & OPT_ID == 0
                    || flags & OPT_STATS != 0 && flags & OPT_TSONLY == 0;
                if odd {
                    return Err(errno::EINVAL);
                }
                if flags & BIND_PHC != 0 {
                    return Err(errno::EOPNOTSUPP);
                }
                if flags & !self.flags & OPT_ID != 0 {
                    self.next = 0;
                }
                (self.flags, self.new) = (flags, name == TIMESTAMPING_NEW);
            }
            _ if number == 0 => self.unit = None,
            _ => {
                let nano = matches!(name, TIMESTAMPNS | TIMESTAMPNS_NEW);
                self.unit = Some(if nano { Unit::Nano } else { Unit::Micro });
                self.new = matches!(name, TIMESTAMP_NEW | TIMESTAMPNS_NEW);
            }
        }
        Ok(())
    }

    /// What an option [of times](is_of_times) is.
    pub(crate) fn get(&self, name: i32) -> i32 {
        let of = |unit, new| i32::from(self.unit == Some(unit) && self.new == new);
        match name {
            TIMESTAMP => of(Unit::Micro, false),
            TIMESTAMP_NEW => of(Unit::Micro, true),
            TIMESTAMPNS => of(Unit::Nano, false),
            TIMESTAMPNS_NEW => of(Unit::Nano, true),
            _ => self.flags.cast_signed(),
        }
    }

    /// What is asked of a packet of which its sender says this.
    ///
    /// # Errors
    /// `EINVAL` for a number of a packet of a socket without such.
    pub(crate) fn asked(&self, flags: Option<u32>, id: Option<u32>) -> Result<Asked, i32> {
        if id.is_some() && self.flags & OPT_ID == 0 {
            return Err(errno::EINVAL);
        }
        Ok(Asked { flags: flags.unwrap_or(self.flags) & TX_RECORD, id })
    }

    /// A packet is sent of which that is asked: what of it this stack can tell (when it was sent, and waited), and the number
    /// that it has.
    pub(crate) fn number(&mut self, asked: Asked) -> ([bool; 2], u32) {
        let id = match asked.id {
            Some(id) => id,
            None if self.flags & OPT_ID != 0 => {
                self.next = self.next.wrapping_add(1);
                self.next.wrapping_sub(1)
            }
            None => 0,
        };
        ([asked.flags & TX_SOFTWARE != 0, asked.flags & TX_SCHED != 0], id)
    }

    /// When a packet came.
    pub(crate) fn of_packet(&self, cx: Cx<'_>, at: Duration, out: &mut Vec<ControlMessage>) {
        self.plain(cx, at, out);
        if self.flags & RX_SOFTWARE != 0 || self.unit.is_some() {
            self.three(cx, at, out);
        }
    }

    /// When an error was found out, or a packet was sent.
    pub(crate) fn of_error(&self, cx: Cx<'_>, error: &QueuedError, out: &mut Vec<ControlMessage>) {
        if error.origin != ErrorOrigin::Timestamping {
            return self.of_packet(cx, error.at, out);
        }
        self.plain(cx, error.at, out);
        self.three(cx, error.at, out);
    }

    fn plain(&self, cx: Cx<'_>, at: Duration, out: &mut Vec<ControlMessage>) {
        let Some(unit) = self.unit else { return };
        let at = wall(cx, at);
        let (kind, fraction) = match (unit, self.new) {
            (Unit::Nano, false) => (TIMESTAMPNS, at.subsec_nanos()),
            (Unit::Nano, true) => (TIMESTAMPNS_NEW, at.subsec_nanos()),
            (Unit::Micro, false) => (TIMESTAMP, at.subsec_micros()),
            (Unit::Micro, true) => (TIMESTAMP_NEW, at.subsec_micros()),
        };
        let data = [at.as_secs().to_ne_bytes(), u64::from(fraction).to_ne_bytes()].concat();
        out.push(ControlMessage { level: SOL_SOCKET, kind, data });
    }

    /// `struct scm_timestamping`: by software, and twice by hardware, of which there is none.
    fn three(&self, cx: Cx<'_>, at: Duration, out: &mut Vec<ControlMessage>) {
        if self.flags & SOFTWARE == 0 {
            return;
        }
        let at = wall(cx, at);
        let mut data = [at.as_secs().to_ne_bytes(), u64::from(at.subsec_nanos()).to_ne_bytes()].concat();
        data.resize(48, 0);
        let kind = if self.new { TIMESTAMPING_NEW } else { TIMESTAMPING };
        out.push(ControlMessage { level: SOL_SOCKET, kind, data });
    }

    /// A packet came so far: as it stands in the queue of errors, with the packet unless only the time is wanted.
    pub(crate) fn report(&self, cx: Cx<'_>, reached: Reached, id: u32, frame: &Frame) -> QueuedError {
        let payload = if self.flags & OPT_TSONLY != 0 { Vec::new() } else { frame.data().to_vec() };
        QueuedError {
            errno: errno::ENOMSG,
            origin: ErrorOrigin::Timestamping,
            ty: 0,
            code: 0,
            info: reached as u32,
            data: id,
            offender: None,
            to: None,
            payload,
            ifindex: 0,
            at: cx.now(),
            heard: None,
        }
    }

    /// Whether a report says of the packet what would be said of a received one: of IPv4 only to who asks.
    pub(crate) const fn tells_headers(&self, v6: bool) -> bool {
        self.flags & OPT_TSONLY == 0 && (v6 || self.flags & OPT_CMSG != 0)
    }
}

impl Told for Sock {
    fn told(&self, cx: Cx<'_>, link: &Link, reached: Reached, id: u32, frame: &Frame) {
        let times = self.lock().times;
        let mut error = times.report(cx, reached, id, frame);
        if times.tells_headers(self.kind.v6)
            && let Some(headers) = l3::headers_of(frame)
        {
            error.offender = Some(headers.src);
            error.heard = Some(Meta {
                from: super::address::endpoint(headers.src, 0, link.index()),
                dst: headers.dst,
                dport: headers.dport,
                ifindex: link.index(),
                tos: headers.tos,
                hop_limit: headers.hop_limit,
                at: cx.now(),
                drops: 0,
                segment: None,
                options: Box::default(),
            });
        }
        self.report(Some(error), None);
    }
}
