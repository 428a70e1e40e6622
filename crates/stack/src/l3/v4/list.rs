//! Packets that came one after the other (`ip_list_rcv`): each is looked at once, and those for the same device leave
//! together.

use std::sync::Arc;

use super::flows::{Flows, To};
use super::header::{HLEN, Ipv4Header, decrease_ttl, sums_up};
use super::input::{ip_rcv, local_deliver};
use crate::dev::Link;
use crate::inet;
use crate::l2::{self, Cx, Frame, PacketType};
use crate::l3::{Reach, exceeds};

/// What is on its way out, by one device.
#[derive(Default)]
struct Leaving {
    out: Option<Arc<Link>>,
    frames: Vec<Frame>,
}

impl Leaving {
    fn push(&mut self, cx: Cx<'_>, out: &Arc<Link>, frame: Frame) {
        if !self.out.as_ref().is_some_and(|known| Arc::ptr_eq(known, out)) {
            self.send(cx);
            self.out = Some(Arc::clone(out));
        }
        self.frames.push(frame);
    }

    /// Before anything else is done of what came later, so that nothing overtakes.
    fn send(&mut self, cx: Cx<'_>) {
        if let Some(out) = self.out.take() {
            l2::xmit_list(cx, &out, &mut self.frames);
        }
    }
}

/// Packets came in by `link`, from outside.
pub(in crate::l3) fn ip_list_rcv(cx: Cx<'_>, link: &Arc<Link>, frames: impl Iterator<Item = Frame>) {
    if !inet::has_inet(link) {
        return;
    }
    let table = &cx.state.l3.flows;
    // In hand of this thread for the while: nobody else receives in this namespace.
    let mut flows = std::mem::take(&mut *table.lock());
    let mut leaving = Leaving::default();
    // What was changed before these came is seen; what is changed meanwhile, by those that come.
    flows.keep_up(cx);
    for frame in frames {
        if frame.kind == PacketType::OtherHost {
            continue;
        }
        if let Some((frame, known)) = onward(cx, link, frame, &mut flows, &mut leaving) {
            leaving.send(cx);
            match known {
                Some(header) => local_deliver(cx, link, frame, &header, Reach::Local),
                None => ip_rcv(cx, link, frame),
            }
            // Whatever took it may have changed something.
            flows.keep_up(cx);
        }
    }
    leaving.send(cx);
    *table.lock() = flows;
}

/// The header, if it is one of those that most packets have: no options, and all in order.
fn simple(frame: &Frame) -> Option<Ipv4Header> {
    let data = frame.data();
    let header: &[u8; HLEN] = data.first_chunk()?;
    if frame.kind != PacketType::Host || frame.routed.is_some() || header[0] != 0x45 || !sums_up(header) {
        return None;
    }
    let parsed = Ipv4Header::parse(data)?;
    (frame.segment.is_some() || parsed.total_len <= data.len()).then_some(parsed)
}

/// Sends a packet on whose way is known. One that does not go on comes back, with its header if it is known to be for this
/// host.
fn onward(
    cx: Cx<'_>,
    link: &Arc<Link>,
    mut frame: Frame,
    flows: &mut Flows,
    leaving: &mut Leaving,
) -> Option<(Frame, Option<Ipv4Header>)> {
    let Some(header) = simple(&frame) else { return Some((frame, None)) };
    let neighbours = flows.neighbours();
    match flows.way(cx, link, &frame, &header) {
        Some(To::Here) => {
            if frame.segment.is_none() {
                // Short frames are padded.
                frame.trim(header.total_len);
            }
            return Some((frame, Some(header)));
        }
        Some(To::On(on)) if header.ttl > 1 => {
            if frame.segment.is_none() {
                frame.trim(header.total_len);
            }
            if !exceeds(&frame, on.mtu)
                && let Some(mac) = on.mac_header(cx, neighbours)
            {
                decrease_ttl(frame.data_mut());
                frame.kind = PacketType::Outgoing;
                l2::push_made(&mut frame, mac);
                leaving.push(cx, &on.out, frame);
                return None;
            }
        }
        _ => {}
    }
    Some((frame, None))
}
