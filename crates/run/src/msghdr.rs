//! A program's `msghdr`: where the parts of a message are.
//!
//! Header, vectors, name and content lie in four places, each known from the one before: four reads of another process's
//! memory.  But a program that talks to netlink makes the same call from the same place over and over.  So what the last
//! header pointed to is read along with the next one, by one call, and used if that points there too.  What it does not
//! point to any more is read anew, and the guess is not looked at.

use std::cell::Cell;

use crate::mem::{Memory, PAGE};

/// The largest message worth reading out of a program: four times the default send buffer, which refuses it anyway.
pub(crate) const LARGEST_MESSAGE: usize = 1 << 20;
/// Size of a `sockaddr_nl`.
const NAME: usize = 12;
/// Size of one vector.
const VECTOR: usize = 16;
/// As much content as is read along: most requests are shorter.
const CONTENT: usize = 512;

/// What the header of the last call at some place pointed to.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    tid: u32,
    header: u64,
    vectors: u64,
    name: u64,
    buffer: u64,
}

thread_local! {
    /// Of the last receive and the last send that this thread served.
    static SEEN: Cell<[Seen; 2]> = const { Cell::new([NOTHING; 2]) };
}

const NOTHING: Seen = Seen { tid: 0, header: 0, vectors: 0, name: 0, buffer: 0 };

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
    /// The name, if it was read along.
    early_name: Option<[u8; NAME]>,
    /// The beginning of the first buffer, as far as it was read along.
    early: Vec<u8>,
}

impl MsgHeader {
    /// Size of the structure.
    pub(crate) const SIZE: u64 = 56;

    /// Reads a header and its vectors.
    ///
    /// # Errors
    /// EFAULT, EMSGSIZE for more than 1024 vectors, EINVAL for a total beyond what a call may move, or for a name of less than
    /// nothing.
    pub(crate) fn read(memory: Memory, address: u64) -> Result<Self, i32> {
        Self::read_with(memory, address, false)
    }

    /// As [`Self::read`], of a message to be sent: what it consists of may come along.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn read_sent(memory: Memory, address: u64) -> Result<Self, i32> {
        Self::read_with(memory, address, true)
    }

    fn read_with(memory: Memory, address: u64, sent: bool) -> Result<Self, i32> {
        let (mut raw, mut vector) = ([0; Self::SIZE as usize], [0; VECTOR]);
        let (mut name, mut content) = ([0; NAME], [0; CONTENT]);
        let mut seen = SEEN.get()[usize::from(sent)];
        if (seen.tid, seen.header) != (memory.tid(), address) {
            seen = NOTHING;
        }
        // Of a buffer not beyond its page: the message may end before that, and nothing be behind it.
        let long = if sent { CONTENT.min((PAGE - seen.buffer % PAGE) as usize) } else { 0 };
        let parts = [
            (address, &mut raw[..]),
            (seen.vectors, &mut vector[..]),
            (seen.name, &mut name[..if sent { NAME } else { 0 }]),
            (seen.buffer, &mut content[..long]),
        ];
        let guessed = if seen.tid == 0 { None } else { memory.read_at_once(parts) };
        // How much of what was guessed is there, behind the header.
        let got = guessed.and_then(|n| n.checked_sub(Self::SIZE as usize));
        if got.is_none() {
            memory.read(address, &mut raw).map_err(|e| e.errno())?;
        }
        let got = got.unwrap_or(0);

        let u64_at = |i: usize| u64::from_ne_bytes(raw[i..i + 8].try_into().unwrap_or_default());
        let (named, name_len) = (u64_at(0), u64_at(8) as u32);
        if named != 0 && name_len.cast_signed() < 0 {
            return Err(libc::EINVAL);
        }
        let (vectors, count) = (u64_at(16), u64_at(24) as usize);
        if count > 1024 {
            return Err(libc::EMSGSIZE);
        }
        let right = got >= VECTOR && count == 1 && vectors == seen.vectors;
        let iov =
            if right { parse(&vector) } else { parse(&memory.bytes(vectors, count * VECTOR).map_err(|e| e.errno())?) };
        if iov.iter().try_fold(0usize, |sum, (_, len)| sum.checked_add(*len)).is_none_or(|t| t > i64::MAX as usize) {
            return Err(libc::EINVAL);
        }
        let buffer = iov.first().map_or(0, |&(at, _)| at);
        let early_name = sent && got >= VECTOR + NAME && named == seen.name && named != 0;
        let mut early = Vec::new();
        if sent && right && buffer == seen.buffer && got > VECTOR + NAME {
            early.extend_from_slice(&content[..got - VECTOR - NAME]);
        }
        let mut all = SEEN.get();
        all[usize::from(sent)] = Seen { tid: memory.tid(), header: address, vectors, name: named, buffer };
        SEEN.set(all);
        Ok(Self {
            name: named,
            name_len,
            iov,
            control: u64_at(32),
            control_len: u64_at(40) as usize,
            early_name: early_name.then_some(name),
            early,
        })
    }

    /// The name, if it is a `sockaddr_nl` that was read along.
    pub(crate) fn early_name(&self) -> Option<&[u8]> {
        self.early_name.as_ref().filter(|_| self.name_len as usize == NAME).map(<[u8; NAME]>::as_slice)
    }

    /// Bytes that the vectors hold.
    pub(crate) fn room(&self) -> usize {
        self.iov.iter().fold(0, |room, &(_, len)| room.saturating_add(len))
    }

    /// Gathers the vectors' content.
    ///
    /// # Errors
    /// EMSGSIZE if it is more than any message may be, EFAULT.
    pub(crate) fn gather(&self, memory: Memory) -> Result<Vec<u8>, i32> {
        if self.room() > LARGEST_MESSAGE {
            return Err(libc::EMSGSIZE);
        }
        self.gather_first(memory, LARGEST_MESSAGE)
    }

    /// The first bytes of what it points to, `most` of them.
    ///
    /// # Errors
    /// errno of reading them.
    pub(crate) fn gather_first(&self, memory: Memory, most: usize) -> Result<Vec<u8>, i32> {
        if let [(_, len)] = self.iov[..]
            && let Some(first) = self.early.get(..len.min(most))
        {
            return Ok(first.to_vec());
        }
        let mut out = Vec::with_capacity(self.room().min(most));
        for &(address, len) in &self.iov {
            out.extend(memory.bytes(address, len.min(most - out.len())).map_err(|e| e.errno())?);
        }
        Ok(out)
    }
}

fn parse(vectors: &[u8]) -> Vec<(u64, usize)> {
    let word = |v: &[u8], i: usize| u64::from_ne_bytes(v[i..i + 8].try_into().unwrap_or_default());
    vectors.chunks_exact(VECTOR).map(|v| (word(v, 0), word(v, 8) as usize)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of this process, as a program would describe it.
    struct Sent {
        name: [u8; NAME],
        content: Vec<u8>,
        vectors: Vec<[u64; 2]>,
        header: [u64; 7],
    }

    impl Sent {
        fn new(name: u8, content: &[u8]) -> Box<Self> {
            let mut it =
                Box::new(Self { name: [name; NAME], content: content.to_vec(), vectors: vec![], header: [0; 7] });
            it.describe();
            it
        }

        fn describe(&mut self) {
            self.vectors = vec![[self.content.as_ptr() as u64, self.content.len() as u64]];
            let at = self.vectors.as_ptr() as u64;
            self.header = [self.name.as_ptr() as u64, NAME as u64, at, 1, 0, 0, 0];
        }

        fn read(&self) -> (Option<Vec<u8>>, Vec<u8>) {
            let memory = Memory::of(std::process::id());
            let header = MsgHeader::read_sent(memory, self.header.as_ptr() as u64).unwrap();
            assert_eq!(header.name, self.name.as_ptr() as u64);
            (header.early_name().map(<[u8]>::to_vec), header.gather(memory).unwrap())
        }
    }

    #[test]
    fn what_was_guessed_is_what_is_there() {
        let mut sent = Sent::new(1, b"first");
        assert_eq!(sent.read(), (None, b"first".to_vec()));
        sent.content.copy_from_slice(b"other");
        sent.name = [2; NAME];
        assert_eq!(sent.read(), (Some(vec![2; NAME]), b"other".to_vec()));
        // Shorter, and at last nothing.
        sent.vectors[0][1] = 2;
        assert_eq!(sent.read().1, b"ot");
        sent.vectors[0][1] = 0;
        assert_eq!(sent.read().1, b"");
    }

    #[test]
    fn a_guess_that_is_wrong_is_not_looked_at() {
        let mut sent = Sent::new(1, b"first");
        sent.read();
        // The buffer, the vectors and the name are elsewhere now, each in turn.
        let other = b"longer than the first".to_vec();
        sent.vectors[0] = [other.as_ptr() as u64, other.len() as u64];
        assert_eq!(sent.read().1, other);
        let vectors = [[other.as_ptr() as u64, 6], [sent.content.as_ptr() as u64, 5]];
        sent.header[2] = vectors.as_ptr() as u64;
        sent.header[3] = 2;
        assert_eq!(sent.read().1, b"longerfirst");
        sent.header[3] = 1;
        assert_eq!(sent.read().1, b"longer");
        assert_eq!(sent.read().1, b"longer");
        // Longer than what is read along.
        let long = vec![7; 3 * CONTENT];
        let vectors = [[long.as_ptr() as u64, long.len() as u64]];
        sent.header[2] = vectors.as_ptr() as u64;
        assert_eq!(sent.read().1, long);
        assert_eq!(sent.read().1, long);
    }

    #[test]
    fn what_is_not_mapped_any_more_is_a_fault_only_if_it_is_meant() {
        let memory = Memory::of(std::process::id());
        let mut sent = Sent::new(1, b"first");
        sent.vectors[0] = [8, 0];
        sent.header[0] = 8;
        assert_eq!(MsgHeader::read_sent(memory, sent.header.as_ptr() as u64).unwrap().name, 8);
        sent.describe();
        // The vectors moved, the guesses for name and content are wild.
        assert_eq!(sent.read().1, b"first");
        sent.header[2] = 8;
        assert_eq!(MsgHeader::read_sent(memory, sent.header.as_ptr() as u64).unwrap_err(), libc::EFAULT);
    }
}
