//! Who makes a call on a datagram socket, where it wants what it gets, and other things that programs point to.

use pernet::{Cap, NetRef};
use pernet_stack::{Caller, ControlMessage, FilterInstruction};

use super::control;
use crate::mem::Memory;
use crate::msghdr::MsgHeader;
use crate::netlink::Receive;
use crate::task::Task;
use crate::world::World;

/// Options of level SOL_SOCKET that the stand-in has of its own: it answers what they are.
pub(super) const NATIVE_TOO: [i32; 8] = [
    libc::SO_REUSEADDR,
    libc::SO_BROADCAST,
    libc::SO_DONTROUTE,
    libc::SO_RCVBUF,
    libc::SO_SNDBUF,
    libc::SO_TIMESTAMP,
    libc::SO_TIMESTAMPNS,
    libc::SO_RXQ_OVFL,
];

/// Who makes a call, asked when it matters.
pub(super) struct TaskCaller<'w> {
    pub(super) world: &'w World,
    pub(super) task: Task,
    pub(super) net: &'w NetRef,
}

impl Caller for TaskCaller<'_> {
    fn capable(&self, cap: Cap) -> bool {
        self.world.users.cred(self.task).capable(self.net.owner(), cap)
    }
}

/// The instructions that a `sock_fprog` points to.
///
/// # Errors
/// EINVAL, EFAULT.
pub(super) fn read_program(task: Task, value: &[u8]) -> Result<Vec<FilterInstruction>, i32> {
    let whole: &[u8; 16] = value.first_chunk().ok_or(libc::EINVAL)?;
    let [low, high, _, _, _, _, _, _, pointer @ ..] = *whole;
    let count = usize::from(u16::from_ne_bytes([low, high]));
    let raw = Memory::of(task.tid).bytes(u64::from_ne_bytes(pointer), count * 8).map_err(|e| e.errno())?;
    let instruction = |&[a, b, jt, jf, k @ ..]: &[u8; 8]| FilterInstruction {
        code: u16::from_ne_bytes([a, b]),
        jt,
        jf,
        k: u32::from_ne_bytes(k),
    };
    Ok(raw.as_chunks().0.iter().map(instruction).collect())
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

    /// Writes payload, address, control messages and flags.
    ///
    /// # Errors
    /// EFAULT.
    pub(crate) fn write(
        &self,
        memory: Memory,
        bytes: &[u8],
        name: &[u8],
        messages: &[ControlMessage],
        mut flags: i32,
    ) -> Result<(), i32> {
        let fault = |e: crate::mem::MemError| e.errno();
        let mut parts: Vec<(u64, &[u8])> = Vec::with_capacity(self.iov.len() + 5);
        let mut rest = bytes;
        for &(address, len) in &self.iov {
            let (now, later) = rest.split_at(len.min(rest.len()));
            parts.push((address, now));
            rest = later;
        }
        let name_size = (name.len() as u32).to_ne_bytes();
        match (self.place, &self.header) {
            (Receive::Msg { header }, Some(h)) => {
                if h.name != 0 {
                    parts.push((h.name, &name[..name.len().min(h.name_len as usize)]));
                    parts.push((header + 8, &name_size));
                }
                let room = if h.control == 0 { 0 } else { h.control_len };
                let (control, cut) = control::bytes(messages, room);
                if cut {
                    flags |= libc::MSG_CTRUNC;
                }
                let (size, flags) = ((control.len() as u64).to_ne_bytes(), flags.to_ne_bytes());
                parts.extend([(h.control, &control[..]), (header + 40, &size), (header + 48, &flags)]);
                memory.write_parts(&parts).map_err(fault)
            }
            (Receive::From { name: at, name_len, .. }, _) if at != 0 && name_len != 0 => {
                let room = memory.room_at(name_len).map_err(fault)?;
                parts.extend([(at, &name[..name.len().min(room)]), (name_len, &name_size)]);
                memory.write_parts(&parts).map_err(fault)
            }
            _ => memory.write_parts(&parts).map_err(fault),
        }
    }
}
