//! Packets that came one after the other (`ip_list_rcv`): each is looked at once, and those for the same device leave
//! together.

use std::sync::Arc;

use super::exceeds;
use super::flows::{Asks, Flows, Key, To};
use super::state::{L3, Leaf};
use crate::dev::Link;
use crate::l2::{self, Cx, Frame, PacketType};

/// What is on its way out, by one device.
#[derive(Default)]
struct Leaving {
    out: Option<Arc<Link>>,
    frames: Vec<Frame>,
    /// How many there may be at most, for the first that comes.
    room: usize,
}

impl Leaving {
    #[inline]
    fn push(&mut self, cx: Cx<'_>, out: &Arc<Link>, frame: Frame) {
        if !self.out.as_ref().is_some_and(|known| Arc::ptr_eq(known, out)) {
            self.turn_to(cx, out);
        }
        self.frames.push(frame);
    }

    /// What comes leaves by another device than what came before, or is the first.
    #[cold]
    fn turn_to(&mut self, cx: Cx<'_>, out: &Arc<Link>) {
        self.send(cx);
        self.out = Some(Arc::clone(out));
        self.frames.reserve(self.room);
    }

    /// Before anything else is done of what came later, so that nothing overtakes.
    fn send(&mut self, cx: Cx<'_>) {
        if let Some(out) = self.out.take() {
            l2::xmit_list(cx, &out, &mut self.frames);
        }
    }
}

/// What the two protocols do each in a way of its own with packets that came one after the other.
pub(super) trait Protocol {
    type Key: Key;
    type Header;

    /// Where its packets went lately.
    fn flows(l3: &L3) -> &Leaf<Flows<Self::Key>>;

    /// Whether the device does it.
    fn runs(cx: Cx<'_>, link: &Link) -> bool;

    /// The header, if it is one of those that most packets have, and all in order.
    fn simple(link: &Link, frame: &Frame) -> Option<Self::Header>;

    /// How long the packet is, and how far it may go.
    fn extent(header: &Self::Header) -> (usize, u8);

    /// What its way is found by, which is [more](Flows::asks) than its ends, or not.
    fn key(link: &Link, frame: &Frame, header: &Self::Header, asks: Asks) -> Self::Key;

    /// Where it goes; `None` if it goes nowhere, or somebody is to be told of it.
    fn look_up(cx: Cx<'_>, link: &Link, frame: &Frame, header: &Self::Header) -> Option<To>;

    /// One hop less to go.
    fn age(frame: &mut Frame);

    /// It is for this host.
    fn deliver(cx: Cx<'_>, link: &Arc<Link>, frame: Frame, header: &Self::Header);

    /// Any packet, by itself.
    fn receive(cx: Cx<'_>, link: &Arc<Link>, frame: Frame);
}

/// Packets came in by `link`, from outside.
pub(super) fn receive<P: Protocol>(cx: Cx<'_>, link: &Arc<Link>, frames: impl Iterator<Item = Frame>) {
    if !P::runs(cx, link) {
        return;
    }
    let table = P::flows(&cx.state.l3);
    // In hand of this thread for the while: nobody else receives in this namespace.
    let mut flows = std::mem::take(&mut *table.lock());
    let mut leaving = Leaving { room: frames.size_hint().0, ..Leaving::default() };
    // What was changed before these came is seen; what is changed meanwhile, by those that come.
    flows.keep_up(cx);
    for frame in frames {
        if frame.kind == PacketType::OtherHost {
            continue;
        }
        if let Some((frame, known)) = onward::<P>(cx, link, frame, &mut flows, &mut leaving) {
            leaving.send(cx);
            match known {
                Some(header) => P::deliver(cx, link, frame, &header),
                None => P::receive(cx, link, frame),
            }
            // Whatever took it may have changed something.
            flows.keep_up(cx);
        }
    }
    leaving.send(cx);
    *table.lock() = flows;
}

/// Sends a packet on whose way is known. One that does not go on comes back, with its header if it is known to be for this
/// host.
fn onward<P: Protocol>(
    cx: Cx<'_>,
    link: &Arc<Link>,
    mut frame: Frame,
    flows: &mut Flows<P::Key>,
    leaving: &mut Leaving,
) -> Option<(Frame, Option<P::Header>)> {
    let Some(header) = P::simple(link, &frame) else { return Some((frame, None)) };
    let (len, hops) = P::extent(&header);
    let neighbours = flows.neighbours();
    let asks = flows.asks();
    let key = P::key(link, &frame, &header, asks);
    let look_up = || if asks == Asks::All { None } else { P::look_up(cx, link, &frame, &header) };
    match flows.way(key, look_up) {
        Some(To::Here) => {
            if frame.segment.is_none() {
                // Short frames are padded.
                frame.trim(len);
            }
            return Some((frame, Some(header)));
        }
        Some(To::On(on)) if hops > 1 => {
            if frame.segment.is_none() {
                frame.trim(len);
            }
            if !exceeds(&frame, on.mtu)
                && let Some(mac) = on.mac_header(cx, neighbours)
            {
                P::age(&mut frame);
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
