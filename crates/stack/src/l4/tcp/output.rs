//! What a socket sends (`tcp_output.c`).

use std::time::Duration;

use super::count::{self, Cause};
use super::md5sig;
use super::segment::{self, ACK, Header, SYN};
use super::smoltcp::Begin;
use super::sock::{Inner, Sock};
use super::way::{largest_segment, largest_unit};
use crate::l2::{Cx, Frame};
use crate::l3::{self, Route};
use crate::sysctl;

impl Sock {
    /// Sends what the engine made.
    pub(super) fn transmit(
        &self,
        cx: Cx<'_>,
        (now, cause): (Duration, Cause),
        inner: &mut Inner,
        out: &mut Vec<Frame>,
    ) {
        if out.is_empty() {
            return;
        }
        let (Some(local), Some(peer)) = (inner.local, inner.peer) else { return };
        let route = self.known_route(cx, inner, local.ip(), peer.ip());
        if let (Ok(route), Some(engine)) = (&route, &mut inner.engine) {
            // What was learnt of the path since. What is too large for it already is cut by layer 3 or lost.
            engine.set_mss(largest_segment(route, &inner.options), inner.options.room_beside(peer.ip()));
        }
        let (largest, options) = inner.engine.as_ref().map_or((0, 0), |engine| (engine.mss(), engine.options_len()));
        let header = inner.options.header(peer.is_ipv6());
        let keys = inner.options.md5.clone();
        let key = keys.as_ref().and_then(|keys| keys.of(peer.ip()));
        let last = out.len() - 1;
        for (n, mut frame) in out.drain(..).enumerate() {
            inner.skip.outgoing(frame.data_mut());
            let Some(mut sent) = Header::parse(frame.data()) else { continue };
            if sent.has(SYN) {
                // At first as many segments are offered as fit whole (`tcp_select_initial_window`).
                let beside = if sent.has(ACK) { options } else { 0 };
                sent.window -= sent.window % largest.saturating_sub(beside).min(sent.window).max(1);
                segment::set_window(frame.data_mut(), sent.window);
                if key.is_some() {
                    // The peer reckons by itself with what is put beside.
                    segment::change_mss(frame.data_mut(), &sent, |_| largest);
                }
            }
            segment::arrange_options(frame.data_mut(), &sent);
            let segments = frame.segments(sent.len) as u32;
            count::sent(cx, inner, &sent, segments, cause);
            inner.note_sent(&sent, segments, now);
            if n == last {
                self.leave_trail(cx, inner, &sent, &mut frame);
            }
            segment::set_ports(frame.data_mut(), local.port(), peer.port());
            if let Some(pointer) = inner.urgent.pointer(sent.seq) {
                segment::set_urgent(frame.data_mut(), pointer);
            }
            if let Some(key) = key {
                md5sig::sign(&mut frame, (local.ip(), peer.ip()), key, false);
            }
            segment::leave_checksum(&mut frame, local.ip(), peer.ip());
            frame.mark = inner.options.mark;
            frame.priority = inner.options.priority;
            if let Ok(route) = &route {
                // What is lost here is sent again, as if it were lost on the way.
                let _ = l3::ip_output(cx, route, &header, frame);
            }
        }
    }

    pub(super) fn begin(&self, cx: Cx<'_>, route: &Route, inner: &Inner, seed: u64) -> Begin {
        Begin {
            mss: largest_segment(route, &inner.options),
            beside: inner.options.room_beside(route.dst),
            send_buffer: inner.options.send_buffer.min(super::buffers::MOST) as u32,
            receive_buffer: inner.options.receive_buffer.min(super::buffers::MOST) as u32,
            // There is no room for both in the first segments.
            timestamps: inner.options.timestamps
                && inner.options.key_of(route.dst).is_none()
                && sysctl::number_or(cx.ns(), "ipv4/tcp_timestamps", 1) != 0,
            nodelay: inner.options.nodelay,
            congestion: inner.options.congestion,
            offload: largest_unit(cx, route),
            seed,
        }
    }
}
