//! Calls that receive datagrams: how many they want, where they want what they get, and how long they wait for it.

use std::time::Instant;

use pernet_stack::ControlMessage;

use crate::inet::control;
use crate::listener::{Call, Notification};
use crate::mem::Memory;
use crate::msghdr::MsgHeader;
use crate::task::Task;
use crate::world::World;

/// "Restart, or EINTR, as the signal's handler says": the kernel's, never seen by a program.
pub(crate) const ERESTARTSYS: i32 = 512;

/// Where a receiving call wants what it gets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Receive {
    /// `recvmsg`: everything is in a `msghdr` at this address.
    Msg {
        /// Address of the `msghdr`.
        header: u64,
    },
    /// `recvfrom` with an address.
    From {
        /// Buffer.
        buffer: u64,
        /// Its size.
        len: usize,
        /// Where the sender's address goes.
        name: u64,
        /// Where its size is and goes.
        name_len: u64,
    },
    /// `recvmmsg`: headers in a row, each followed by its result.
    Many {
        /// Address of the first.
        headers: u64,
        /// How many.
        count: u32,
    },
}

impl Receive {
    /// Where the call of these arguments wants it.
    pub(crate) fn of(call: &Call) -> Self {
        match call.nr {
            libc::SYS_recvmsg => Self::Msg { header: call.args[1] },
            libc::SYS_recvfrom => Self::From {
                buffer: call.args[1],
                len: call.args[2] as usize,
                name: call.args[4],
                name_len: call.args[5],
            },
            _ => Self::Many { headers: call.args[1], count: (call.args[2] as u32).min(1024) },
        }
    }

    /// What the call returns, of which `one` receives one datagram: as many as are wanted and there. `None`: nothing is there.
    ///
    /// # Errors
    /// Those of `one` for the first, EFAULT.
    pub(crate) fn each(
        self,
        memory: Memory,
        mut one: impl FnMut(Self) -> Result<Option<i64>, i32>,
    ) -> Result<Option<i64>, i32> {
        let Self::Many { headers, count } = self else { return one(self) };
        for i in 0..u64::from(count) {
            let header = headers + i * (MsgHeader::SIZE + 8);
            let got = match one(Self::Msg { header }) {
                Ok(Some(n)) => n,
                Ok(None) => return Ok((i > 0).then_some(i as i64)),
                Err(e) if i == 0 => return Err(e),
                Err(_) => return Ok(Some(i as i64)),
            };
            memory.write(header + MsgHeader::SIZE, &(got as u32).to_ne_bytes()).map_err(|e| e.errno())?;
        }
        Ok(Some(i64::from(count)))
    }
}

/// The flags of a receiving call.
pub(crate) fn receive_flags(call: &Call) -> i32 {
    match call.nr {
        libc::SYS_recvmsg => call.int(2),
        _ => call.int(3),
    }
}

/// A receive that waits until something comes.
pub(crate) struct Parked {
    /// Its call.
    pub(crate) notification: Notification,
    /// What it wants.
    pub(crate) receive: Receive,
    /// How long it waits at most.
    pub(crate) deadline: Option<Instant>,
}

/// How a call ends that waits in vain: its time is over, or a signal waits for its caller.  `None`: it waits on.
pub(crate) fn released(world: &World, task: Task, deadline: Option<Instant>) -> Option<i32> {
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return Some(libc::EAGAIN);
    }
    if !world.killable {
        return None;
    }
    // With a time limit the kernel does not restart such a call.  Without one it does, if the signal's handler says so: that
    // errno is for the kernel's own signal path, and only safe where this very thread is on its way into it.
    let certain = task.signal_waits()?;
    Some(if certain && deadline.is_none() { ERESTARTSYS } else { libc::EINTR })
}

/// Where one datagram goes.
pub(crate) struct Target {
    /// Bytes that fit.
    pub(crate) room: usize,
    iov: Vec<(u64, usize)>,
    place: Receive,
    header: Option<MsgHeader>,
}

impl Target {
    /// Reads what the call says of it.
    ///
    /// # Errors
    /// Of the message's header.
    pub(crate) fn read(memory: Memory, place: Receive) -> Result<Self, i32> {
        match place {
            Receive::Msg { header } | Receive::Many { headers: header, .. } => {
                let h = MsgHeader::read(memory, header)?;
                Ok(Self { room: h.room(), iov: h.iov.clone(), place, header: Some(h) })
            }
            Receive::From { buffer, len, .. } => Ok(Self { room: len, iov: vec![(buffer, len)], place, header: None }),
        }
    }

    /// Writes payload, address, control messages and flags: by one call, if all of it can be written.
    ///
    /// # Errors
    /// EFAULT; EINVAL for an address that has room for less than nothing.
    pub(crate) fn write(
        &self,
        memory: Memory,
        bytes: &[u8],
        name: &[u8],
        messages: &[ControlMessage],
        flags: i32,
    ) -> Result<(), i32> {
        let mut parts: Vec<(u64, &[u8])> = Vec::with_capacity(self.iov.len() + 4);
        let mut rest = bytes;
        for &(address, len) in &self.iov {
            let (now, later) = rest.split_at(len.min(rest.len()));
            parts.push((address, now));
            rest = later;
        }
        let name_len = (name.len() as u32).to_ne_bytes();
        match (self.place, &self.header) {
            (Receive::From { name: at, name_len: len_at, .. }, _) if at != 0 => {
                let room = memory.room_at(len_at).map_err(|e| e.errno())?;
                parts.push((len_at, &name_len));
                parts.push((at, &name[..name.len().min(room)]));
            }
            (Receive::Msg { header }, Some(h)) => {
                if h.name != 0 {
                    parts.push((header + 8, &name_len));
                    parts.push((h.name, &name[..name.len().min(h.name_len as usize)]));
                }
                let room = if h.control == 0 { 0 } else { h.control_len };
                let (control, cut) = control::bytes(messages, room);
                let told = end(&control, flags | if cut { libc::MSG_CTRUNC } else { 0 });
                let before = parts.len();
                parts.push((h.control, &control));
                parts.push((header + 40, &told));
                let written = memory.write_parts(&parts);
                if written.is_ok() || control.is_empty() {
                    return written.map_err(|e| e.errno());
                }
                // As in the kernel, control messages that cannot be written are none; for all else it is a fault.
                parts.truncate(before);
                let told = end(&[], flags);
                parts.push((header + 40, &told));
                return memory.write_parts(&parts).map_err(|e| e.errno());
            }
            _ => {}
        }
        memory.write_parts(&parts).map_err(|e| e.errno())
    }
}

/// The end of a header: the length of the control data, and the flags.
fn end(control: &[u8], flags: i32) -> [u8; 12] {
    let mut end = [0; 12];
    end[..8].copy_from_slice(&(control.len() as u64).to_ne_bytes());
    end[8..].copy_from_slice(&flags.to_ne_bytes());
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `msghdr` of this process with room for so much of a name and of control data, and what is in it after a packet of
    /// three bytes from "name" with one control message came.
    fn received(named: bool, name_len: u32, control: Option<u64>, control_len: u64) -> (Result<(), i32>, [u64; 7]) {
        let memory = Memory::of(std::process::id());
        let (mut payload, mut name, mut room) = ([0u8; 8], [0u8; 8], [0u8; 64]);
        let vectors = [payload.as_mut_ptr() as u64, 8];
        let mut header = [
            if named { name.as_mut_ptr() as u64 } else { 0 },
            name_len.into(),
            vectors.as_ptr() as u64,
            1,
            control.unwrap_or(room.as_mut_ptr() as u64),
            control_len,
            0x7777,
        ];
        let at = header.as_mut_ptr() as u64;
        let messages = [ControlMessage { level: 1, kind: 2, data: vec![3; 4] }];
        let written = Target::read(memory, Receive::Msg { header: at })
            .and_then(|target| target.write(memory, b"abc", b"name", &messages, libc::MSG_TRUNC));
        assert_eq!(&payload[..3], if written == Err(libc::EINVAL) { b"\0\0\0" } else { b"abc" });
        (written, std::hint::black_box(header))
    }

    fn told(header: [u64; 7]) -> (u64, u64, i32) {
        (header[1], header[5], header[6] as i32)
    }

    #[test]
    fn a_header_says_what_there_was() {
        let (written, header) = received(true, 8, None, 64);
        assert_eq!((written, told(header)), (Ok(()), (4, 24, libc::MSG_TRUNC)));
        // Less room than there was: what fits, and a word of it.
        let (written, header) = received(true, 2, None, 18);
        assert_eq!((written, told(header)), (Ok(()), (4, 18, libc::MSG_TRUNC | libc::MSG_CTRUNC)));
        // Who does not ask for the name is not told how long it is.
        let (written, header) = received(false, 55, Some(0), 64);
        assert_eq!((written, told(header)), (Ok(()), (55, 0, libc::MSG_TRUNC | libc::MSG_CTRUNC)));
    }

    #[test]
    fn control_data_that_cannot_be_written_are_none() {
        let (written, header) = received(true, 8, Some(8), 64);
        assert_eq!((written, told(header)), (Ok(()), (4, 0, libc::MSG_TRUNC)));
    }

    #[test]
    fn a_name_of_less_than_nothing_is_refused() {
        assert_eq!(received(true, u32::MAX, None, 64).0, Err(libc::EINVAL));
        assert_eq!(received(false, u32::MAX, None, 64).0, Ok(()));
    }
}
