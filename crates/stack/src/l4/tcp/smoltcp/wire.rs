//! What an engine takes for a network device: a segment comes in, segments go out.

use std::num::NonZeroU16;

use smoltcp::phy::{Device, DeviceCapabilities, PacketMeta, RxToken, TxToken};
use smoltcp::time;

use super::awake::Plan;
use super::{IP_HEADER, MOST_HEADERS};
use crate::l2::Frame;
use crate::l4::tcp::segment;

/// A wire with room for one frame towards the engine.
pub(super) struct Wire<'a> {
    pub(super) incoming: Option<&'a [u8]>,
    pub(super) outgoing: &'a mut Vec<Frame>,
    pub(super) plan: &'a Plan,
    /// How far the sequence numbers of what goes out are ahead of the engine's.
    pub(super) ahead: u32,
}

pub(super) struct Incoming<'a>(&'a [u8]);

pub(super) struct Outgoing<'a> {
    frames: &'a mut Vec<Frame>,
    segment: Option<NonZeroU16>,
    ahead: u32,
}

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        // The engine writes all of it but the padding of options.
        let mut frame = Frame::to_be_written(len, len.min(MOST_HEADERS));
        let made = f(frame.data_mut());
        // The engine's idea of a network header: the place it took is room for the real one.
        if frame.pull(IP_HEADER).is_some() {
            frame.segment = self.segment;
            if self.ahead != 0 {
                segment::move_seq(frame.data_mut(), self.ahead);
            }
            self.frames.push(frame);
        }
        made
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment = meta.segmentation_offload_size;
    }
}

impl Device for Wire<'_> {
    type RxToken<'t>
        = Incoming<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Outgoing<'t>
    where
        Self: 't;

    fn receive(&mut self, at: time::Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let incoming = self.incoming.take()?;
        Some((Incoming(incoming), self.transmit(at)?))
    }

    fn transmit(&mut self, _: time::Instant) -> Option<Self::TxToken<'_>> {
        Some(Outgoing { frames: self.outgoing, segment: None, ahead: self.ahead })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.plan.device()
    }
}
