//! A program's `msghdr`: where the parts of a message are.

use crate::mem::Memory;

/// The largest message worth reading out of a program: four times the default send buffer, which refuses it anyway.
pub(crate) const LARGEST_MESSAGE: usize = 1 << 20;

/// The fields of a program's `msghdr`.
#[derive(Clone, Debug)]
pub(crate) struct MsgHeader {
    /// Address of the name.
    pub(crate) name: u64,
    /// Room for it, or its size.
    pub(crate) name_len: u32,
    /// Buffers: address and size.
    pub(crate) iov: Vec<(u64, usize)>,
    /// Address of the control data.
    pub(crate) control: u64,
    /// Room for it.
    pub(crate) control_len: usize,
}

impl MsgHeader {
    /// Size of the structure.
    pub(crate) const SIZE: u64 = 56;

    /// Reads a header and its vectors.
    ///
    /// # Errors
    /// EFAULT, EMSGSIZE for more than 1024 vectors, EINVAL for a total beyond what a call may move.
    pub(crate) fn read(memory: Memory, address: u64) -> Result<Self, i32> {
        let raw = memory.bytes(address, Self::SIZE as usize).map_err(|e| e.errno())?;
        let u64_at = |i: usize| u64::from_ne_bytes(raw[i..i + 8].try_into().unwrap_or_default());
        let count = u64_at(24) as usize;
        if count > 1024 {
            return Err(libc::EMSGSIZE);
        }
        let vectors = memory.bytes(u64_at(16), count * 16).map_err(|e| e.errno())?;
        let iov: Vec<(u64, usize)> = vectors
            .chunks_exact(16)
            .map(|v| {
                let at = |i: usize| u64::from_ne_bytes(v[i..i + 8].try_into().unwrap_or_default());
                (at(0), at(8) as usize)
            })
            .collect();
        if iov.iter().try_fold(0usize, |sum, (_, len)| sum.checked_add(*len)).is_none_or(|t| t > i64::MAX as usize) {
            return Err(libc::EINVAL);
        }
        Ok(Self {
            name: u64_at(0),
            name_len: u64_at(8) as u32,
            iov,
            control: u64_at(32),
            control_len: u64_at(40) as usize,
        })
    }

    /// Bytes that the vectors hold.
    pub(crate) fn room(&self) -> usize {
        self.iov.iter().map(|(_, len)| len).sum()
    }

    /// Gathers the vectors' content.
    ///
    /// # Errors
    /// EMSGSIZE if it is more than any message may be, EFAULT.
    pub(crate) fn gather(&self, memory: Memory) -> Result<Vec<u8>, i32> {
        if self.room() > LARGEST_MESSAGE {
            return Err(libc::EMSGSIZE);
        }
        let mut out = Vec::with_capacity(self.room());
        for &(address, len) in &self.iov {
            out.extend(memory.bytes(address, len).map_err(|e| e.errno())?);
        }
        Ok(out)
    }
}
