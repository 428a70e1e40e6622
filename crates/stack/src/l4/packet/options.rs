//! What programs set of a packet socket (`packet_setsockopt`, `packet_getsockopt`).

use std::sync::Arc;

use pernet::Origin;

use super::super::options::int;
use super::ring::{Receiver, RingMemory, Version};
use super::{Charge, Membership, PacketSocket, SOL_PACKET, State};
use crate::dev::IfFlags;
use crate::errno;
use crate::l2::Cx;
use crate::l4::user::SocketError;

const PACKET_ADD_MEMBERSHIP: i32 = 1;
const PACKET_DROP_MEMBERSHIP: i32 = 2;
const PACKET_RX_RING: i32 = 5;
const PACKET_STATISTICS: i32 = 6;
const PACKET_COPY_THRESH: i32 = 7;
pub(super) const PACKET_AUXDATA: i32 = 8;
const PACKET_ORIGDEV: i32 = 9;
const PACKET_VERSION: i32 = 10;
const PACKET_HDRLEN: i32 = 11;
const PACKET_RESERVE: i32 = 12;
const PACKET_TX_RING: i32 = 13;
pub(super) const PACKET_LOSS: i32 = 14;
const PACKET_VNET_HDR: i32 = 15;
const PACKET_TIMESTAMP: i32 = 17;
const PACKET_FANOUT: i32 = 18;
pub(super) const PACKET_TX_HAS_OFF: i32 = 19;
const PACKET_QDISC_BYPASS: i32 = 20;
const PACKET_ROLLOVER_STATS: i32 = 21;
const PACKET_FANOUT_DATA: i32 = 22;
const PACKET_IGNORE_OUTGOING: i32 = 23;
const PACKET_VNET_HDR_SZ: i32 = 24;
const MR_PROMISC: u16 = 1;
const MR_ALLMULTI: u16 = 2;
/// `struct virtio_net_hdr`.
pub(super) const VNET: usize = 10;

/// Bits by which `packet_diag` tells of options.
const SHOWN: [(u32, i32); 4] =
    [(0x02, PACKET_AUXDATA), (0x04, PACKET_ORIGDEV), (0x08, PACKET_VNET_HDR), (0x10, PACKET_LOSS)];

impl State {
    pub(super) fn number(&self, name: i32) -> i32 {
        self.numbers.get(&name).copied().unwrap_or(0)
    }

    pub(super) fn is_on(&self, name: i32) -> bool {
        self.number(name) != 0
    }

    /// Bytes that are said of checksums before each frame.
    pub(super) fn vnet(&self) -> usize {
        if self.is_on(PACKET_VNET_HDR) { VNET } else { 0 }
    }

    /// What `packet_diag` says of options: bits, the length below which frames are not copied, and whence times come.
    pub(super) fn shown(&self) -> (u32, u32, u32) {
        let bits = SHOWN.iter().filter(|(_, name)| self.is_on(*name)).map(|(bit, _)| bit).sum();
        (bits, self.number(PACKET_COPY_THRESH) as u32, self.number(PACKET_TIMESTAMP) as u32)
    }
}

impl PacketSocket {
    /// Gives it the memory that its rings are to be made of. Without, there are none.
    pub fn share(&self, memory: Arc<dyn RingMemory>) {
        self.0.lock().rings.memory = Some(memory);
    }

    /// Whether an option is a ring, for which the socket needs [memory](Self::share).
    #[must_use]
    pub const fn is_ring_option(name: i32) -> bool {
        matches!(name, PACKET_RX_RING | PACKET_TX_RING)
    }

    /// Bytes of its rings; 0 if it has none.
    #[must_use]
    pub fn ring_len(&self) -> usize {
        self.0.lock().rings.len()
    }

    /// Whether its program has something to read in the ring that receives; `None` if there is no such ring.
    #[must_use]
    pub fn ring_readable(&self) -> Option<bool> {
        let state = self.0.lock();
        let memory = state.rings.memory.as_deref()?;
        Some(state.rings.rx.as_ref()?.is_readable(memory))
    }

    /// `setsockopt` of level `SOL_PACKET`.
    ///
    /// # Errors
    /// `ENOPROTOOPT` for what there is not, `EINVAL`, `ENODEV`, `EBUSY` of what rings depend on, `ENOMEM`.
    pub fn set_option(&self, name: i32, value: &[u8]) -> Result<(), SocketError> {
        let number = || int(SOL_PACKET, value);
        let mut state = match name {
            PACKET_ADD_MEMBERSHIP | PACKET_DROP_MEMBERSHIP => {
                return Ok(self.membership(name == PACKET_ADD_MEMBERSHIP, value)?);
            }
            PACKET_FANOUT => return Ok(self.join_fanout(value)?),
            PACKET_FANOUT_DATA => return Err(self.fanout_data(value).into()),
            _ => self.0.lock(),
        };
        match name {
            PACKET_RX_RING | PACKET_TX_RING => {
                state.rings.set(name == PACKET_TX_RING, value)?;
                // What waited to be received by calls is lost.
                state.queue.clear();
                state.charge = Charge::default();
                let now = self.0.cx().map_or(std::time::Duration::ZERO, crate::l4::cmsg::wall_now);
                let rings = &mut state.rings;
                if let (Some(Receiver::Blocks(blocks)), Some(memory)) = (&mut rings.rx, &rings.memory) {
                    blocks.open(memory.as_ref(), now);
                }
            }
            PACKET_VERSION => {
                let version = Version::of(number()?).ok_or(errno::EINVAL)?;
                state.no_rings()?;
                state.rings.version = version;
            }
            PACKET_RESERVE => {
                let reserve = u32::try_from(number()?).map_err(|_| errno::EINVAL)?;
                state.no_rings()?;
                state.rings.reserve = reserve;
            }
            PACKET_LOSS | PACKET_VNET_HDR => {
                if name == PACKET_VNET_HDR && self.0.cooked {
                    return Err(errno::EINVAL.into());
                }
                let on = number()? != 0;
                state.no_rings()?;
                state.numbers.insert(name, on.into());
            }
            PACKET_AUXDATA | PACKET_ORIGDEV | PACKET_TX_HAS_OFF | PACKET_QDISC_BYPASS => {
                let on = number()? != 0;
                state.numbers.insert(name, on.into());
            }
            PACKET_COPY_THRESH | PACKET_TIMESTAMP => {
                let number = number()?;
                state.numbers.insert(name, number);
            }
            PACKET_IGNORE_OUTGOING => state.ignore_outgoing = number()? != 0,
            _ => return Err(errno::ENOPROTOOPT.into()),
        }
        Ok(())
    }

    /// `getsockopt` of level `SOL_PACKET`. `given`: what stood where the answer goes.
    ///
    /// # Errors
    /// `ENOPROTOOPT` for what there is not, `EINVAL`.
    pub fn option(&self, name: i32, room: usize, given: &[u8]) -> Result<Vec<u8>, SocketError> {
        if name == PACKET_ROLLOVER_STATS {
            let mut bytes = self.rollover_stats()?;
            bytes.truncate(room);
            return Ok(bytes);
        }
        let mut state = self.0.lock();
        let value = match name {
            PACKET_STATISTICS => {
                let mut counts = vec![std::mem::take(&mut state.seen), std::mem::take(&mut state.drops)];
                if let Some(Receiver::Blocks(blocks)) = &mut state.rings.rx {
                    counts.push(std::mem::take(&mut blocks.freezes));
                }
                let bytes: Vec<u8> = counts.into_iter().flat_map(u32::to_ne_bytes).collect();
                return Ok(bytes[..bytes.len().min(room)].to_vec());
            }
            PACKET_HDRLEN => {
                let version = given.first_chunk().filter(|_| room >= 4).map(|&raw| i32::from_ne_bytes(raw));
                version.and_then(Version::of).ok_or(errno::EINVAL)?.header() as i32
            }
            PACKET_VERSION => state.rings.version as i32,
            PACKET_RESERVE => state.rings.reserve as i32,
            PACKET_IGNORE_OUTGOING => state.ignore_outgoing.into(),
            PACKET_VNET_HDR_SZ => state.vnet() as i32,
            PACKET_FANOUT => state.group.as_ref().map_or(0, |group| group.said()).cast_signed(),
            PACKET_COPY_THRESH | PACKET_AUXDATA | PACKET_ORIGDEV | PACKET_LOSS | PACKET_VNET_HDR | PACKET_TIMESTAMP
            | PACKET_TX_HAS_OFF | PACKET_QDISC_BYPASS => state.number(name),
            _ => return Err(errno::ENOPROTOOPT.into()),
        };
        Ok(value.to_ne_bytes()[..room.min(4)].to_vec())
    }

    fn membership(&self, add: bool, value: &[u8]) -> Result<(), i32> {
        let cx = self.0.cx().ok_or(errno::ENODEV)?;
        let request: &[u8; 16] = value.first_chunk().ok_or(errno::EINVAL)?;
        let [a, b, c, d, e, f, g, h, addr @ ..] = *request;
        let len = usize::from(u16::from_ne_bytes([g, h]));
        let member = Membership {
            ifindex: u32::from_ne_bytes([a, b, c, d]),
            kind: u16::from_ne_bytes([e, f]),
            addr: addr.get(..len).ok_or(errno::EINVAL)?.to_vec(),
        };
        let mut state = self.0.lock();
        if add {
            let link = cx.state.links.by_index(member.ifindex).ok_or(errno::ENODEV)?;
            if member.addr.len() > link.address.as_bytes().len() {
                return Err(errno::EINVAL);
            }
            watch(cx, &member, true);
            state.members.push(member);
        } else if let Some(at) = state.members.iter().position(|known| *known == member) {
            // What was never joined may be left all the same.
            let member = state.members.remove(at);
            watch(cx, &member, false);
        }
        Ok(())
    }
}

impl State {
    /// Some options cannot be changed any more when there are rings.
    fn no_rings(&self) -> Result<(), i32> {
        if self.rings.any() { Err(errno::EBUSY) } else { Ok(()) }
    }
}

/// Makes a device listen to more than its own, or no more (`packet_dev_mc`).
pub(super) fn watch(cx: Cx<'_>, member: &Membership, on: bool) {
    let flag = match member.kind {
        MR_PROMISC => IfFlags::PROMISC,
        MR_ALLMULTI => IfFlags::ALLMULTI,
        // Groups and further addresses of its own: our devices hear all that they are sent.
        _ => return,
    };
    let mut rtnl = cx.stack.rtnl(Origin::KERNEL);
    crate::dev::listen_to_all(&mut rtnl, cx.ns(), member.ifindex, flag, on);
}
