//! Policy tables: what each attribute of a message may look like (`struct nla_policy`).

use crate::extack::PolicyTlv;
use crate::uapi::*;

/// What an attribute must contain. Lengths are minimal for fixed types (excess is ignored, as in both validation
/// levels of this crate) and maximal for strings and binaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Any content, no check (a kernel table entry that was left empty).
    Any,
    /// At least one byte.
    U8,
    /// At least two bytes.
    U16,
    /// At least four bytes.
    U32,
    /// At least four bytes whose value, in the host's byte order, lies in `min..=max`.
    U32Range {
        /// Smallest accepted value.
        min: u32,
        /// Largest accepted value.
        max: u32,
    },
    /// At least eight bytes.
    U64,
    /// At least four bytes, signed.
    S32,
    /// At least four bytes whose signed value lies in `min..=max`.
    S32Range {
        /// Smallest accepted value.
        min: i32,
        /// Largest accepted value.
        max: i32,
    },
    /// At least eight bytes, signed.
    S64,
    /// No payload at all; its presence says yes.
    Flag,
    /// One to `max` bytes, a closing NUL not counted.
    String {
        /// Largest length in bytes without the NUL; 0 means no limit.
        max: u16,
    },
    /// A string that must contain its NUL within `max + 1` bytes.
    NulString {
        /// Largest length in bytes without the NUL; 0 means no limit.
        max: u16,
    },
    /// Between `min` and `max` bytes.
    Binary {
        /// Smallest length.
        min: u16,
        /// Largest length; 0 means no limit.
        max: u16,
    },
    /// At least `min` bytes of no particular type: too short answers without a policy TLV.
    MinLen {
        /// Smallest length.
        min: u16,
    },
    /// Empty, or at least one attribute header. The contents are judged by whoever parses them.
    Nested,
    /// As [`Nested`](Self::Nested), and the contents are validated at once against the inner table, with the outer
    /// strictness.
    NestedIn(&'static Policy),
    /// Never accepted from user space.
    Reject,
}

impl Kind {
    /// The description sent back when an attribute fails it, `None` where Linux sends none.
    pub(crate) const fn describe(&self) -> Option<PolicyTlv> {
        let none = PolicyTlv::new(NL_ATTR_TYPE_INVALID);
        Some(match *self {
            Self::Any | Self::MinLen { .. } | Self::Reject => return None,
            Self::Flag => PolicyTlv::new(NL_ATTR_TYPE_FLAG),
            Self::U8 => PolicyTlv::new(NL_ATTR_TYPE_U8).unsigned(0, u8::MAX as u64),
            Self::U16 => PolicyTlv::new(NL_ATTR_TYPE_U16).unsigned(0, u16::MAX as u64),
            Self::U32 => PolicyTlv::new(NL_ATTR_TYPE_U32).unsigned(0, u32::MAX as u64),
            Self::U32Range { min, max } => PolicyTlv::new(NL_ATTR_TYPE_U32).unsigned(min as u64, max as u64),
            Self::U64 => PolicyTlv::new(NL_ATTR_TYPE_U64).unsigned(0, u64::MAX),
            Self::S32 => PolicyTlv::new(NL_ATTR_TYPE_S32).signed(i32::MIN as i64, i32::MAX as i64),
            Self::S32Range { min, max } => PolicyTlv::new(NL_ATTR_TYPE_S32).signed(min as i64, max as i64),
            Self::S64 => PolicyTlv::new(NL_ATTR_TYPE_S64).signed(i64::MIN, i64::MAX),
            Self::String { max } => PolicyTlv { max_length: nonzero(max), ..PolicyTlv::new(NL_ATTR_TYPE_STRING) },
            Self::NulString { max } => {
                PolicyTlv { max_length: nonzero(max), ..PolicyTlv::new(NL_ATTR_TYPE_NUL_STRING) }
            }
            Self::Binary { min, max } => {
                PolicyTlv { ty: NL_ATTR_TYPE_BINARY, min_length: nonzero(min), max_length: nonzero(max), ..none }
            }
            Self::Nested | Self::NestedIn(_) => PolicyTlv::new(NL_ATTR_TYPE_NESTED),
        })
    }
}

const fn nonzero(value: u16) -> Option<u32> {
    if value == 0 { None } else { Some(value as u32) }
}

/// A table indexed by attribute type. `None` is a hole: the type is known to the message (it is at most
/// [`max_type`](Self::max_type)) but nothing is checked; types beyond the table are unknown. Type 0 is never valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy(pub &'static [Option<Kind>]);

impl Policy {
    /// The largest known attribute type.
    pub const fn max_type(&self) -> u16 {
        let len = self.0.len();
        if len == 0 { 0 } else { (len - 1) as u16 }
    }

    /// What type `ty` must look like.
    pub fn kind(&self, ty: u16) -> Option<Kind> {
        self.0.get(usize::from(ty)).copied().flatten()
    }
}
