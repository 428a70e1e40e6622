//! Options at level `SOL_NETLINK` (270).

use std::sync::atomic::Ordering::*;

use pernet::Cap;
use pernet_wire::uapi::*;

use crate::endpoint::flag;
use crate::error::SockError;
use crate::peer::Client;
use crate::protocols::Protocol;
use crate::socket::Socket;

impl Socket {
    /// Sets an option. Numbers are four bytes; fewer count as zero, more are ignored.
    ///
    /// # Errors
    /// [`SockError::NoSuchOption`], [`SockError::NoSuchGroup`], [`SockError::NotPermitted`] (restricted groups need
    /// CAP_NET_ADMIN, `NETLINK_LISTEN_ALL_NSID` CAP_NET_BROADCAST, for setting and for clearing).
    pub fn setsockopt(&self, opt: i32, val: &[u8], client: &dyn Client) -> Result<(), SockError> {
        let value = val.first_chunk().copied().map_or(0, u32::from_ne_bytes);
        let permitted = |cap| client.cred().capable(self.net.owner(), cap);
        match opt {
            NETLINK_ADD_MEMBERSHIP | NETLINK_DROP_MEMBERSHIP => {
                let protocol = self.ep.protocol;
                if !protocol.anyone_joins() && !permitted(Cap::NetAdmin) {
                    return Err(SockError::NotPermitted);
                }
                self.ep.grouped.store(true, Relaxed);
                if !(1..=protocol.groups()).contains(&value) {
                    return Err(SockError::NoSuchGroup);
                }
                let join = opt == NETLINK_ADD_MEMBERSHIP;
                if join && protocol.restricted_group(value) && !permitted(Cap::NetAdmin) {
                    return Err(SockError::NotPermitted);
                }
                let bit = 1u64 << (value - 1);
                if let Some(bus) = self.bus() {
                    bus.set_groups(&self.ep, |groups| if join { groups | bit } else { groups & !bit });
                }
                return Ok(());
            }
            NETLINK_LISTEN_ALL_NSID if !permitted(Cap::NetBroadcast) => {
                return Err(SockError::NotPermitted);
            }
            _ => {}
        }
        let bit = flag_of(opt).ok_or(SockError::NoSuchOption)?;
        if opt == NETLINK_LISTEN_ALL_NSID {
            self.shared.bus.listen_all(&self.net, &self.ep, value != 0);
            return Ok(());
        }
        self.ep.set(bit, value != 0);
        if opt == NETLINK_NO_ENOBUFS && value != 0 {
            // Who does not want to hear of gaps has no reason to wait for the queue to be drained.
            self.ep.queue().forget_congestion();
        }
        Ok(())
    }

    /// Reads an option into a buffer of `len` bytes. Flags are four bytes.
    ///
    /// `NETLINK_LIST_MEMBERSHIPS` returns the whole bitmap (bit g-1 of 32-bit words for group g) whatever `len`
    /// is: its length is the one to report, and of its words as many are to be copied as fit whole.
    ///
    /// # Errors
    /// [`SockError::NoSuchOption`]; [`SockError::OptionTooShort`] for a flag read into fewer than four bytes.
    pub fn getsockopt(&self, opt: i32, len: usize) -> Result<Vec<u8>, SockError> {
        if opt == NETLINK_LIST_MEMBERSHIPS {
            return Ok(self.memberships());
        }
        let bit = flag_of(opt).ok_or(SockError::NoSuchOption)?;
        if len < 4 {
            return Err(SockError::OptionTooShort);
        }
        Ok(u32::from(self.ep.has(bit)).to_ne_bytes().to_vec())
    }

    /// The bitmap as long as the kernel's: empty before a group was named by bind or by an option.
    fn memberships(&self) -> Vec<u8> {
        let words = if self.ep.grouped.load(Relaxed) { self.ep.protocol.groups().div_ceil(32) } else { 0 };
        let groups = self.ep.groups();
        (0..words).flat_map(|word| ((groups >> (32 * word)) as u32).to_ne_bytes()).collect()
    }
}

fn flag_of(opt: i32) -> Option<u32> {
    Some(match opt {
        NETLINK_PKTINFO => flag::PKTINFO,
        NETLINK_BROADCAST_ERROR => flag::BROADCAST_ERROR,
        NETLINK_NO_ENOBUFS => flag::NO_ENOBUFS,
        NETLINK_LISTEN_ALL_NSID => flag::LISTEN_ALL_NSID,
        NETLINK_CAP_ACK => flag::CAP_ACK,
        NETLINK_EXT_ACK => flag::EXT_ACK,
        NETLINK_GET_STRICT_CHK => flag::STRICT,
        _ => return None,
    })
}

const _: () = assert!(Protocol::Generic.groups() <= 64, "memberships are kept in 64 bits");
