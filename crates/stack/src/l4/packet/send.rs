//! Frames that a packet socket sends: from a call, or from its ring (`packet_snd`, `tpacket_snd`).

use std::num::NonZeroU16;
use std::sync::Arc;

use super::options::{PACKET_LOSS, PACKET_TX_HAS_OFF, VNET};
use pernet::Cap;

use super::{ETH_P_ALL, ETHERNET_HEADER, LinkAddr, PacketSocket};
use crate::dev::Link;
use crate::errno;
use crate::l2::{Checksum, Cx, Frame, dev_queue_xmit, xmit_list};
use crate::l4::cmsg::{ControlMessage, Said};
use crate::l4::sock::{Caller, Root};
use crate::l4::times::Asked;
use crate::l4::user::SocketError;

/// Frames of a batch that leave together.
const AT_ONCE: usize = 64;
/// Of `struct virtio_net_hdr`: the checksum is still to be computed.
const NEEDS_CSUM: u8 = 1;

/// What a socket says of all frames of a call.
#[derive(Clone, Copy, Debug)]
struct Manner {
    /// Of a cooked socket.
    protocol: u16,
    /// Bytes that are said before each.
    vnet: usize,
    /// What times of them are wanted.
    asked: Asked,
    mark: u32,
    priority: u32,
}

/// What is said of a frame before it (`struct virtio_net_hdr`).
#[derive(Clone, Copy, Debug)]
struct Before {
    checksum: Checksum,
    segment: Option<NonZeroU16>,
}

impl Before {
    fn read(header: &[u8; VNET]) -> Result<Self, i32> {
        let [flags, kind, _, _, a, b, c, d, e, f] = *header;
        let (size, start, offset) =
            (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]), u16::from_ne_bytes([e, f]));
        let checksum = if flags & NEEDS_CSUM == 0 {
            Checksum::Unknown
        } else {
            // From the network header on.
            Checksum::Partial { start: start.checked_sub(ETHERNET_HEADER as u16).ok_or(errno::EINVAL)?, offset }
        };
        let segment = if kind == 0 { None } else { Some(NonZeroU16::new(size).ok_or(errno::EINVAL)?) };
        Ok(Self { checksum, segment })
    }
}

impl PacketSocket {
    /// Sends a frame: whole, or of a cooked socket its payload to the address in `to`. Of a socket with a ring that sends:
    /// what is in that.
    ///
    /// # Errors
    /// `ENXIO` if no device is named, or none that is there, `ENETDOWN`, `EINVAL`, `EMSGSIZE`.
    pub fn send(&self, bytes: &[u8], to: Option<&LinkAddr>) -> Result<usize, SocketError> {
        self.send_with(bytes, to, &[], &Root)
    }

    /// As [`send`](Self::send), with what is said beside the frame.
    ///
    /// # Errors
    /// As there; `EPERM` for what `caller` may not say.
    pub fn send_with(
        &self,
        bytes: &[u8],
        to: Option<&LinkAddr>,
        control: &[ControlMessage],
        caller: &dyn Caller,
    ) -> Result<usize, SocketError> {
        let said = Said::read_of_frame(control, || caller.capable(Cap::NetAdmin))?;
        let from_ring = self.0.lock().rings.tx.is_some();
        let sent = if from_ring { self.transmit_ring(to, &said) } else { self.transmit(bytes, to, &said) };
        self.0.stack.run_packets();
        Ok(sent?)
    }

    /// How frames are sent of which that is said.
    fn manner(&self, protocol: u16, said: &Said) -> Result<Manner, i32> {
        let state = self.0.lock();
        let asked = state.times.asked(said.stamps, said.stamp_id)?;
        let (mark, priority) = (said.mark.unwrap_or(0), said.priority.unwrap_or(0));
        Ok(Manner { protocol, vnet: state.vnet(), asked, mark, priority })
    }

    /// The device to send by, and the protocol.
    fn way(&self, cx: Cx<'_>, to: Option<&LinkAddr>) -> Result<(Arc<Link>, u16), i32> {
        let (ifindex, protocol) = {
            let mut state = self.0.lock();
            if let Some(error) = state.error.take() {
                return Err(error);
            }
            to.map_or((state.ifindex, state.protocol), |to| (to.ifindex, to.protocol))
        };
        let link = cx.state.links.by_index(ifindex).ok_or(errno::ENXIO)?;
        if !link.is_up() {
            return Err(errno::ENETDOWN);
        }
        Ok((link, protocol))
    }

    /// Sends frames one after the other, as [`send`](Self::send) does, and lets some arrive together (`sendmmsg`). How many
    /// were sent.
    ///
    /// # Errors
    /// As there, if it is the first that cannot be sent; those behind one that cannot are not tried.
    pub fn send_batch<'a>(
        &self,
        frames: impl IntoIterator<Item = &'a [u8]>,
        to: Option<&LinkAddr>,
    ) -> Result<usize, SocketError> {
        let sent = self.transmit_all(frames, to);
        self.0.stack.run_packets();
        Ok(sent?)
    }

    fn transmit_all<'a>(
        &self,
        frames: impl IntoIterator<Item = &'a [u8]>,
        to: Option<&LinkAddr>,
    ) -> Result<usize, i32> {
        let cx = self.0.cx().ok_or(errno::ENODEV)?;
        let (mut link, protocol) = self.way(cx, to)?;
        let mut manner = self.manner(protocol, &Said::default())?;
        let (mut sent, mut leaving) = (0, Vec::new());
        for bytes in frames {
            if leaving.is_empty() {
                leaving.reserve(AT_ONCE);
            }
            match self.frame(&link, &manner, bytes, to) {
                Ok(frame) => leaving.push(frame),
                Err(error) if sent == 0 => return Err(error),
                Err(_) => break,
            }
            sent += 1;
            if leaving.len() == AT_ONCE {
                xmit_list(cx, &link, &mut leaving);
                // They arrive while the processor has them at hand, and there is room again where they wait.
                self.0.stack.run_packets();
                match self.way(cx, to) {
                    Ok(way) => (link, manner.protocol) = way,
                    Err(_) => return Ok(sent),
                }
            }
        }
        xmit_list(cx, &link, &mut leaving);
        Ok(sent)
    }

    fn transmit(&self, bytes: &[u8], to: Option<&LinkAddr>, said: &Said) -> Result<usize, i32> {
        let cx = self.0.cx().ok_or(errno::ENODEV)?;
        let (link, protocol) = self.way(cx, to)?;
        let manner = self.manner(protocol, said)?;
        dev_queue_xmit(cx, &link, self.frame(&link, &manner, bytes, to)?)?;
        Ok(bytes.len())
    }

    /// Sends the frames that its ring has, up to the first place without one.
    fn transmit_ring(&self, to: Option<&LinkAddr>, said: &Said) -> Result<usize, i32> {
        let cx = self.0.cx().ok_or(errno::ENODEV)?;
        let (link, protocol) = self.way(cx, to)?;
        let manner = self.manner(protocol, said)?;
        let (mut sent, mut left) = (0, 0);
        loop {
            let mut state = self.0.lock();
            let (skips, by_offset) = (state.is_on(PACKET_LOSS), state.is_on(PACKET_TX_HAS_OFF));
            let offset = by_offset.then_some(self.0.cooked);
            let base = state.rings.tx_base();
            let rings = &mut state.rings;
            let (Some(memory), Some(tx)) = (rings.memory.clone(), rings.tx.as_mut()) else { return Ok(sent) };
            if left == 0 {
                // A program that fills places as fast as they become free keeps nobody here.
                left = tx.geometry.frame_nr + 1;
            }
            left -= 1;
            let next = tx.next_to_send(memory.as_ref(), base, offset).filter(|_| left > 0);
            let Some((place, bytes)) = next else { return Ok(sent) };
            // Not held while a frame is sent: it may come back to this same socket.
            drop(state);
            let result = bytes.and_then(|bytes| {
                dev_queue_xmit(cx, &link, self.frame(&link, &manner, &bytes, to)?)?;
                Ok(bytes.len())
            });
            let mut state = self.0.lock();
            if let Some(tx) = state.rings.tx.as_mut() {
                tx.sent(memory.as_ref(), place, result.is_err() && !skips);
            }
            match result {
                Ok(len) => sent += len,
                Err(_) if skips => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The frame that `bytes` are, or are the payload of, behind what is said before it.
    fn frame(&self, link: &Arc<Link>, manner: &Manner, bytes: &[u8], to: Option<&LinkAddr>) -> Result<Frame, i32> {
        let protocol = manner.protocol;
        let (before, bytes) = match manner.vnet {
            0 => (None, bytes),
            _ => {
                let (header, rest) = bytes.split_first_chunk().ok_or(errno::EINVAL)?;
                (Some(Before::read(header)?), rest)
            }
        };
        let own = link.address.as_bytes();
        let mut frame = Frame::with_payload(bytes);
        frame.protocol = protocol;
        frame.sender = self.0.id;
        (frame.mark, frame.priority) = (manner.mark, manner.priority);
        if let Some(before) = before {
            (frame.checksum, frame.segment) = (before.checksum, before.segment);
        }
        let whole = frame.segment.is_none();
        if self.0.cooked {
            if bytes.len() > link.mtu as usize {
                return Err(errno::EMSGSIZE);
            }
            // The device's header has room for an address of its own length.
            let dst = to.map(|to| to.addr.as_slice()).filter(|dst| dst.len() >= own.len()).ok_or(errno::EINVAL)?;
            crate::l2::push_header(&mut frame, dst, own);
        } else {
            if bytes.len() < ETHERNET_HEADER {
                return Err(errno::EINVAL);
            }
            if whole && bytes.len() > link.mtu as usize + ETHERNET_HEADER {
                return Err(errno::EMSGSIZE);
            }
            if protocol == 0 || protocol == ETH_P_ALL {
                frame.protocol = u16::from_be_bytes([bytes[12], bytes[13]]);
            }
            frame.set_network_at(ETHERNET_HEADER);
        }
        frame.stamps = self.stamps(manner.asked);
        Ok(frame)
    }
}

/// What a program is told of a frame's checksum and segments before it (`virtio_net_hdr_from_skb`). `link`: bytes of the
/// link-layer header.
pub(super) fn vnet_header(frame: &Frame, link: usize) -> [u8; VNET] {
    const DATA_VALID: u8 = 2;
    const TCP4: u8 = 1;
    const TCP6: u8 = 4;
    const UDP: u8 = 5;
    /// Of TCP's header: where its checksum is.
    const TCP_CHECKSUM: u16 = 16;
    let mut out = [0; VNET];
    let mut put = |at: usize, value: u16| out[at..at + 2].copy_from_slice(&value.to_ne_bytes());
    let mut flags = 0;
    let mut kind = 0;
    match frame.checksum {
        Checksum::Partial { start, offset } => {
            flags = NEEDS_CSUM;
            put(6, start + link as u16);
            put(8, offset);
            if let Some(segment) = frame.segment {
                let tcp = offset == TCP_CHECKSUM;
                kind = match (tcp, frame.protocol) {
                    (true, 0x86dd) => TCP6,
                    (true, _) => TCP4,
                    (false, _) => UDP,
                };
                put(2, start + link as u16 + if tcp { 20 } else { 8 });
                put(4, segment.get());
            }
        }
        Checksum::Right => flags = DATA_VALID,
        Checksum::Unknown => {}
    }
    (out[0], out[1]) = (flags, kind);
    out
}
