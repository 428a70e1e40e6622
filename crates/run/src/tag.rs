//! What is written on a process: which namespace it is in.

/// A namespace's number within this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SpaceId(u32);

impl SpaceId {
    /// The number `raw`.
    pub(crate) fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The number itself.
    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

/// What is written on a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    /// The namespace it is in.
    pub(crate) space: SpaceId,
    /// It asked for a mount namespace that the kernel would not give: mounts of it pretend to succeed.
    pub(crate) pretends_mounts: bool,
}

const PRETENDS: u64 = 1 << 32;
const RUN_SHIFT: u32 = 33;

impl Tag {
    /// Bit 62 stays clear and the run number is never zero: neither "unlimited" nor a real limit looks like a tag.
    pub(crate) fn encode(self, run: u64) -> u64 {
        (run << RUN_SHIFT) | if self.pretends_mounts { PRETENDS } else { 0 } | u64::from(self.space.0)
    }

    /// What a limit says, if it is a tag of run number `run`.
    pub(crate) fn decode(raw: u64, run: u64) -> Option<Self> {
        (raw >> RUN_SHIFT == run).then_some(Self { space: SpaceId(raw as u32), pretends_mounts: raw & PRETENDS != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_and_is_no_one_elses() {
        for pretends_mounts in [false, true] {
            let tag = Tag { space: SpaceId(u32::MAX), pretends_mounts };
            assert_eq!(Tag::decode(tag.encode(77), 77), Some(tag));
            assert_eq!(Tag::decode(tag.encode(77), 78), None);
            assert!(tag.encode(0x1fff_ffff) < libc::RLIM64_INFINITY);
        }
        assert_eq!(Tag::decode(libc::RLIM64_INFINITY, 1), None);
        assert_eq!(Tag::decode(8192, 1), None);
    }
}
