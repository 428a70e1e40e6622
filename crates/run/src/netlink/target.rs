//! Where a receiving call wants one datagram, and what is told beside it.

use super::{Meta, Receive, sockaddr_nl};
use crate::mem::Memory;
use crate::msghdr::MsgHeader;

/// Where one datagram goes.
pub(super) struct Target {
    pub(super) room: usize,
    iov: Vec<(u64, usize)>,
    place: Receive,
    header: Option<MsgHeader>,
}

impl Target {
    pub(super) fn read(memory: Memory, place: Receive) -> Result<Self, i32> {
        match place {
            Receive::Msg { header } => {
                let h = MsgHeader::read(memory, header)?;
                Ok(Self { room: h.room(), iov: h.iov.clone(), place, header: Some(h) })
            }
            Receive::Many { headers, .. } => Self::read(memory, Receive::Msg { header: headers }),
            Receive::From { buffer, len, .. } => Ok(Self { room: len, iov: vec![(buffer, len)], place, header: None }),
        }
    }

    pub(super) fn write(
        &self,
        memory: Memory,
        bytes: &[u8],
        whole: usize,
        meta: Meta,
        passcred: bool,
    ) -> Result<(), crate::mem::MemError> {
        let mut parts: Vec<(u64, &[u8])> = Vec::with_capacity(self.iov.len() + 3);
        let mut rest = bytes;
        for &(address, len) in &self.iov {
            let (now, later) = rest.split_at(len.min(rest.len()));
            if !now.is_empty() {
                parts.push((address, now));
            }
            rest = later;
        }
        let name = sockaddr_nl(meta.from);
        match (self.place, &self.header) {
            (Receive::Msg { header }, Some(h)) => {
                let mut flags = if whole > self.room { libc::MSG_TRUNC } else { 0 };
                let mut control = Vec::new();
                if let Some(group) = meta.pktinfo_group {
                    put_cmsg(&mut control, 270, 3, &group.to_ne_bytes());
                }
                if let Some(nsid) = meta.origin_nsid {
                    put_cmsg(&mut control, 270, 8, &nsid.to_ne_bytes());
                }
                if passcred {
                    // The kernel speaks as root of the initial namespace, with no process behind it.
                    put_cmsg(&mut control, libc::SOL_SOCKET, libc::SCM_CREDENTIALS, &[0; 12]);
                }
                if control.len() > h.control_len || (h.control == 0 && !control.is_empty()) {
                    flags |= libc::MSG_CTRUNC;
                    control.clear();
                }
                let fits = name.len().min(h.name_len as usize);
                if h.name != 0 && fits > 0 {
                    parts.push((h.name, &name[..fits]));
                }
                let name_len = if h.name == 0 { 0 } else { name.len() as u32 }.to_ne_bytes();
                parts.push((header + 8, &name_len));
                if !control.is_empty() {
                    parts.push((h.control, &control));
                }
                // The control data's length, and the flags behind it.
                let mut end = [0; 12];
                end[..8].copy_from_slice(&(control.len() as u64).to_ne_bytes());
                end[8..].copy_from_slice(&flags.to_ne_bytes());
                parts.push((header + 40, &end));
                memory.write_parts(&parts)
            }
            (Receive::From { name: at, name_len, .. }, _) => {
                memory.write_parts(&parts)?;
                if at == 0 { Ok(()) } else { memory.write_sized(at, name_len, &name) }
            }
            _ => memory.write_parts(&parts),
        }
    }
}

fn put_cmsg(out: &mut Vec<u8>, level: i32, kind: i32, data: &[u8]) {
    out.extend((16 + data.len() as u64).to_ne_bytes());
    out.extend(level.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(data);
    out.resize(out.len().next_multiple_of(8), 0);
}
