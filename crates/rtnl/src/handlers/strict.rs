//! Messages that came late to Linux are read strictly, whoever asks (`nlmsg_parse`): exact lengths, nests marked as nests, no
//! bits and no attributes that are unknown.

use pernet_wire::text;
use pernet_wire::uapi::*;
use pernet_wire::{Attr, Attrs, Errno, ExtAck, PolicyTlv};

use super::refuse;

/// What an attribute must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Must {
    /// No attribute that this message may have.
    Unsupported,
    /// One byte, at most this.
    U8(u8),
    /// Four bytes.
    U32,
    /// Four bytes with no other bits than these; what is known of them is sent back if their number is wrong.
    Mask(u32),
    /// At most so many bytes.
    Bytes(usize),
    /// Attributes, and marked so.
    Nested,
}

/// The attributes of a message by type; the first is number 1.
pub(crate) type Shape = [Must];

/// Reads attributes, in the order in which they were sent.
///
/// # Errors
/// As Linux says them.
pub(crate) fn read<'a>(mut attrs: Attrs<'a>, shape: &Shape, ext: &mut ExtAck) -> Result<Vec<Attr<'a>>, Errno> {
    let mut out = Vec::new();
    for attr in attrs.by_ref() {
        let place = usize::from(attr.ty).checked_sub(1);
        let Some(must) = place.and_then(|place| shape.get(place)) else {
            ext.set_msg_attr(text::UNKNOWN, &attr);
            return Err(Errno::EINVAL);
        };
        if let Some((text, policy, errno)) = wrong(&attr, *must) {
            ext.set_msg_attr(text, &attr);
            ext.policy = policy;
            return Err(errno);
        }
        out.push(attr);
    }
    if !attrs.leftover().is_empty() {
        return refuse(ext, text::LEFTOVER);
    }
    Ok(out)
}

/// The last attribute of a type.
pub(crate) fn find<'a>(attrs: &[Attr<'a>], ty: u16) -> Option<Attr<'a>> {
    attrs.iter().rev().find(|attr| attr.ty == ty).copied()
}

fn wrong(attr: &Attr<'_>, must: Must) -> Option<(&'static str, Option<PolicyTlv>, Errno)> {
    const LENGTH: &str = "invalid attribute length";
    let len = attr.payload.len();
    let u8_to = |max: u8| Some(PolicyTlv::new(NL_ATTR_TYPE_U8).unsigned(0, max.into()));
    let any_u32 = Some(PolicyTlv::new(NL_ATTR_TYPE_U32).unsigned(0, u32::MAX.into()));
    let nested = attr.raw_ty & NLA_F_NESTED != 0;
    let only = |mask| Some(PolicyTlv { mask: Some(mask), ..PolicyTlv::new(NL_ATTR_TYPE_U32) });
    let plain = |policy| nested.then_some(("NLA_F_NESTED not expected", policy, Errno::EINVAL));
    match must {
        Must::Unsupported => Some(("Unsupported attribute", None, Errno::EINVAL)),
        Must::U8(max) if len != 1 => Some((LENGTH, u8_to(max), Errno::EINVAL)),
        Must::U8(max) if attr.u8().is_some_and(|value| value > max) => Some((text::RANGE, u8_to(max), Errno::ERANGE)),
        Must::U8(max) => plain(u8_to(max)),
        Must::U32 if len != 4 => Some((LENGTH, any_u32, Errno::EINVAL)),
        Must::U32 => plain(any_u32),
        Must::Mask(mask) if len != 4 => Some((LENGTH, only(mask.into()), Errno::EINVAL)),
        Must::Mask(mask) if attr.u32().is_some_and(|value| value & !mask != 0) => {
            Some(("reserved bit set", None, Errno::EINVAL))
        }
        Must::Mask(mask) => plain(only(mask.into())),
        Must::Bytes(max) => {
            let policy = PolicyTlv { max_length: u32::try_from(max).ok(), ..PolicyTlv::new(NL_ATTR_TYPE_BINARY) };
            if len > max { Some((text::POLICY, Some(policy), Errno::ERANGE)) } else { plain(Some(policy)) }
        }
        Must::Nested if !nested => {
            Some(("NLA_F_NESTED is missing", Some(PolicyTlv::new(NL_ATTR_TYPE_NESTED)), Errno::EINVAL))
        }
        Must::Nested => None,
    }
}
