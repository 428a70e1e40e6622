//! Packets that came one after the other (`ip_list_rcv`): each is looked at once, and those for the same device leave
//! together.

use std::sync::Arc;

use super::flows::{Flows, To};
use super::header::{HLEN, Ipv4Header, decrease_ttl};
use super::input::{ip_rcv, local_deliver};
use crate::dev::Link;
use crate::inet;
use crate::l2::{self, Cx, Frame, PacketType};
use crate::l3::{Reach, exceeds, internet_checksum};

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
    for frame in frames {
        match simple(&frame) {
            Some(header) => receive(cx, link, frame, &header, &mut flows, &mut leaving),
            None => {
                leaving.send(cx);
                ip_rcv(cx, link, frame);
            }
        }
    }
    leaving.send(cx);
    *table.lock() = flows;
}

/// The header, if it is one of those that most packets have: no options, and all in order.
fn simple(frame: &Frame) -> Option<Ipv4Header> {
    let header: &[u8; HLEN] = frame.data().first_chunk()?;
    if frame.kind != PacketType::Host || frame.routed.is_some() || header[0] != 0x45 {
        return None;
    }
    let parsed = Ipv4Header::parse(frame.data())?;
    let whole = frame.segment.is_some() || parsed.total_len <= frame.len();
    (whole && internet_checksum(header, 0) == 0).then_some(parsed)
}

fn receive(
    cx: Cx<'_>,
    link: &Arc<Link>,
    mut frame: Frame,
    header: &Ipv4Header,
    flows: &mut Flows,
    leaving: &mut Leaving,
) {
    match flows.way(cx, link, &frame, header) {
        Some(To::Here) => {
            leaving.send(cx);
            if frame.segment.is_none() {
                // Short frames are padded.
                frame.trim(header.total_len);
            }
            return local_deliver(cx, link, frame, header, Reach::Local);
        }
        Some(To::On(on)) if header.ttl > 1 => {
            if frame.segment.is_none() {
                frame.trim(header.total_len);
            }
            if !exceeds(&frame, on.mtu)
                && let Some((dst, src)) = on.addresses(cx)
            {
                decrease_ttl(frame.data_mut());
                frame.kind = PacketType::Outgoing;
                l2::push_header(&mut frame, &dst, &src);
                return leaving.push(cx, &on.out, frame);
            }
        }
        _ => {}
    }
    leaving.send(cx);
    ip_rcv(cx, link, frame);
}
