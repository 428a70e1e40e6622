//! What a connection has counted, and `TCP_INFO`.

use std::time::Duration;

use super::moment::Moment;
use super::segment::{ACK, Header, Options as Found};
use super::state::State;

/// Counters of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) segments_out: u32,
    pub(super) segments_in: u32,
    pub(super) data_segments_out: u32,
    pub(super) data_segments_in: u32,
    pub(super) bytes_sent: u64,
    pub(super) bytes_retransmitted: u64,
    pub(super) bytes_acknowledged: u64,
    pub(super) bytes_received: u64,
    pub(super) retransmitted: u32,
    /// Segments sent that were not acknowledged.
    pub(super) waiting: u32,
    /// In a row.
    pub(super) retransmits: u8,
    pub(super) last_sent: Moment,
    pub(super) last_data: Moment,
    pub(super) last_ack: Moment,
    pub(super) last_heard: Moment,
    /// Microseconds, smoothed, and its mean deviation.
    pub(super) rtt: u32,
    pub(super) rtt_var: u32,
    pub(super) min_rtt: Option<u32>,
    pub(super) peer: Found,
    pub(super) peer_window: u16,
    /// Bytes of data in a full segment, when there was a connection.
    pub(super) segment: u32,
    /// The traffic class of what came last.
    pub(super) tos: u8,
}

/// A round trip shorter than can be measured by timestamps, microseconds.
const SHORTEST: u32 = 25;

impl Counts {
    /// Of a connection that begins: times are told since then.
    pub(super) fn new(now: Duration) -> Self {
        let now = now.into();
        Self { last_sent: now, last_data: now, last_ack: now, last_heard: now, ..Self::default() }
    }

    /// Of a piece that stands for several, `segments` are counted.
    pub(super) fn sent(&mut self, header: &Header, segments: u32, repeated: bool, now: Duration) {
        self.segments_out += segments;
        if header.payload > 0 {
            self.data_segments_out += segments;
            self.bytes_sent += header.payload as u64;
            self.last_sent = now.into();
        }
        if repeated {
            self.retransmitted += segments;
            self.retransmits = self.retransmits.saturating_add(1);
            self.bytes_retransmitted += header.payload as u64;
        }
    }

    pub(super) fn received(&mut self, header: &Header, segments: u32, tos: u8, now: Duration) {
        self.segments_in += segments;
        self.last_heard = now.into();
        self.peer_window = header.window;
        self.tos = tos;
        if header.payload > 0 {
            self.data_segments_in += segments;
            self.bytes_received += header.payload as u64;
            self.last_data = now.into();
        }
        if header.has(ACK) {
            self.last_ack = now.into();
        }
    }

    pub(super) fn acknowledged(&mut self, bytes: u32) {
        self.bytes_acknowledged += u64::from(bytes);
        self.retransmits = 0;
    }

    pub(super) fn learn(&mut self, found: &Found) {
        self.peer = *found;
    }

    /// A measured round trip, in the milliseconds of timestamps.
    pub(super) fn round_trip(&mut self, milliseconds: u32) {
        let sample = milliseconds.saturating_mul(1000).max(SHORTEST);
        if self.rtt == 0 {
            (self.rtt, self.rtt_var) = (sample, sample / 2);
        } else {
            let deviation = self.rtt.abs_diff(sample);
            self.rtt_var = (self.rtt_var / 4 * 3).saturating_add(deviation / 4);
            self.rtt = (self.rtt / 8 * 7).saturating_add(sample / 8);
        }
        self.min_rtt = Some(self.min_rtt.map_or(sample, |least| least.min(sample)));
    }
}

/// What Linux tells of a connection (`TCP_INFO`), as far as it is known here; the rest is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpInfo {
    /// The state.
    pub state: State,
    /// Repetitions in a row.
    pub retransmits: u8,
    /// Keep-alive probes without an answer.
    pub probes: u8,
    /// What was agreed: 1 timestamps, 2 selective acknowledgements, 4 scaled windows.
    pub options: u8,
    /// By how many bits the peer's windows are scaled, and ours.
    pub send_window_scale: u8,
    /// Ours.
    pub receive_window_scale: u8,
    /// Retransmission timeout, microseconds.
    pub rto: u32,
    /// Bytes of data in the largest segment that is sent.
    pub send_mss: u32,
    /// And of what is expected.
    pub receive_mss: u32,
    /// Segments that were not acknowledged, or connections that wait to be accepted.
    pub unacked: u32,
    /// How many of those there may be, of a listener.
    pub sacked: u32,
    /// Milliseconds since data were sent.
    pub last_data_sent: u32,
    /// Milliseconds since data came.
    pub last_data_recv: u32,
    /// Milliseconds since an acknowledgement came.
    pub last_ack_recv: u32,
    /// The path's largest packet.
    pub path_mtu: u32,
    /// Round trip, microseconds, and its deviation.
    pub rtt: u32,
    /// The deviation.
    pub rtt_var: u32,
    /// The largest segment that we announced.
    pub advertised_mss: u32,
    /// Segments that were sent more than once.
    pub total_retransmitted: u32,
    /// Bytes that the peer has acknowledged.
    pub bytes_acknowledged: u64,
    /// Bytes that came.
    pub bytes_received: u64,
    /// Segments sent.
    pub segments_out: u32,
    /// Segments received.
    pub segments_in: u32,
    /// Bytes that were not sent yet.
    pub not_sent: u32,
    /// The shortest round trip, microseconds.
    pub min_rtt: u32,
    /// Segments with data received.
    pub data_segments_in: u32,
    /// Segments with data sent.
    pub data_segments_out: u32,
    /// Bytes sent, and again.
    pub bytes_sent: u64,
    /// Bytes sent again.
    pub bytes_retransmitted: u64,
    /// The window that the peer offers, and ours.
    pub send_window: u32,
    /// Ours.
    pub receive_window: u32,
}

impl TcpInfo {
    /// As `getsockopt` returns it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut raw = vec![0; 280];
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(place) = raw.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        let scales = self.send_window_scale & 15 | self.receive_window_scale << 4;
        put(0, &[self.state as u8, 0, self.retransmits, self.probes, 0, self.options, scales, 0]);
        let words = [
            (8, self.rto),
            (12, 40_000),
            (16, self.send_mss),
            (20, self.receive_mss),
            (24, self.unacked),
            (28, self.sacked),
            (44, self.last_data_sent),
            (52, self.last_data_recv),
            (56, self.last_ack_recv),
            (60, self.path_mtu),
            (68, self.rtt),
            (72, self.rtt_var),
            (76, i32::MAX.unsigned_abs()),
            (80, 10),
            (84, self.advertised_mss),
            (88, 3),
            (100, self.total_retransmitted),
            (136, self.segments_out),
            (140, self.segments_in),
            (144, self.not_sent),
            (148, self.min_rtt),
            (152, self.data_segments_in),
            (156, self.data_segments_out),
            (228, self.send_window),
            (232, self.receive_window),
        ];
        for (at, word) in words {
            put(at, &word.to_ne_bytes());
        }
        let longs = [
            (120, self.bytes_acknowledged),
            (128, self.bytes_received),
            (200, self.bytes_sent),
            (208, self.bytes_retransmitted),
        ];
        for (at, long) in longs {
            put(at, &long.to_ne_bytes());
        }
        raw
    }
}
