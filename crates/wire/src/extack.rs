//! Extended acknowledgements: what went wrong, in words and bytes (`struct netlink_ext_ack`, `NLMSGERR_ATTR_*`).

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use crate::attr::{Attr, Attrs};
use crate::builder::Builder;
use crate::uapi::*;

/// The description of the policy an attribute failed (`NLMSGERR_ATTR_POLICY`). The type tag is an `NL_ATTR_TYPE_*`
/// number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyTlv {
    /// `NL_ATTR_TYPE_*`.
    pub ty: u32,
    /// Signed limits.
    pub signed: Option<(i64, i64)>,
    /// Unsigned limits.
    pub unsigned: Option<(u64, u64)>,
    /// Smallest length in bytes.
    pub min_length: Option<u32>,
    /// Largest length in bytes.
    pub max_length: Option<u32>,
    /// Bits that may be set.
    pub mask: Option<u64>,
}

impl PolicyTlv {
    /// A description that names nothing but the type.
    pub const fn new(ty: u32) -> Self {
        Self { ty, signed: None, unsigned: None, min_length: None, max_length: None, mask: None }
    }

    /// With signed limits.
    #[must_use]
    pub const fn signed(mut self, min: i64, max: i64) -> Self {
        self.signed = Some((min, max));
        self
    }

    /// With unsigned limits.
    #[must_use]
    pub const fn unsigned(mut self, min: u64, max: u64) -> Self {
        self.unsigned = Some((min, max));
        self
    }

    /// Writes the nested attribute, limits before the type: the kernel's order. Eight-byte limits are not aligned.
    pub fn write(&self, out: &mut Builder) {
        out.nest_flagged(NLMSGERR_ATTR_POLICY, |nest| {
            if let Some((min, max)) = self.signed {
                nest.put(NL_POLICY_TYPE_ATTR_MIN_VALUE_S, &min.to_ne_bytes());
                nest.put(NL_POLICY_TYPE_ATTR_MAX_VALUE_S, &max.to_ne_bytes());
            }
            if let Some((min, max)) = self.unsigned {
                nest.put(NL_POLICY_TYPE_ATTR_MIN_VALUE_U, &min.to_ne_bytes());
                nest.put(NL_POLICY_TYPE_ATTR_MAX_VALUE_U, &max.to_ne_bytes());
            }
            if let Some(min) = self.min_length {
                nest.put_u32(NL_POLICY_TYPE_ATTR_MIN_LENGTH, min);
            }
            if let Some(max) = self.max_length {
                nest.put_u32(NL_POLICY_TYPE_ATTR_MAX_LENGTH, max);
            }
            if let Some(mask) = self.mask {
                nest.put_u64(NL_POLICY_TYPE_ATTR_MASK, mask);
            }
            nest.put_u32(NL_POLICY_TYPE_ATTR_TYPE, self.ty);
        });
    }

    fn read(attr: &Attr<'_>) -> Self {
        let (mut out, mut smin, mut smax, mut umin, mut umax) = (Self::default(), None, None, None, None);
        for inner in attr.nested() {
            match inner.ty {
                NL_POLICY_TYPE_ATTR_TYPE => out.ty = inner.u32().unwrap_or(0),
                NL_POLICY_TYPE_ATTR_MIN_VALUE_S => smin = inner.u64().map(u64::cast_signed),
                NL_POLICY_TYPE_ATTR_MAX_VALUE_S => smax = inner.u64().map(u64::cast_signed),
                NL_POLICY_TYPE_ATTR_MIN_VALUE_U => umin = inner.u64(),
                NL_POLICY_TYPE_ATTR_MAX_VALUE_U => umax = inner.u64(),
                NL_POLICY_TYPE_ATTR_MIN_LENGTH => out.min_length = inner.u32(),
                NL_POLICY_TYPE_ATTR_MAX_LENGTH => out.max_length = inner.u32(),
                NL_POLICY_TYPE_ATTR_MASK => out.mask = inner.u64(),
                _ => {}
            }
        }
        out.signed = smin.zip(smax);
        out.unsigned = umin.zip(umax);
        out
    }
}

/// What a handler wants to say beside an errno. Sent only to sockets with `NETLINK_EXT_ACK`; on success only the text
/// (a warning) and the cookie travel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtAck {
    /// One sentence.
    pub msg: Option<Cow<'static, str>>,
    /// Offset of the offending attribute from the start of the request's header, in bytes.
    pub offset: Option<u32>,
    /// The policy it failed.
    pub policy: Option<PolicyTlv>,
    /// Opaque bytes a handler hands back.
    pub cookie: Option<Vec<u8>>,
    /// Type of a missing attribute.
    pub miss_type: Option<u32>,
    /// Offset of the nest it is missing from.
    pub miss_nest: Option<u32>,
}

impl ExtAck {
    /// Sets the text (`NL_SET_ERR_MSG`).
    pub fn set_msg(&mut self, msg: impl Into<Cow<'static, str>>) {
        self.msg = Some(msg.into());
    }

    /// Points at an attribute (`NL_SET_BAD_ATTR`). As in the kernel this forgets the policy of an earlier complaint.
    pub fn set_bad(&mut self, attr: &Attr<'_>) {
        self.offset = Some(attr.offset);
        self.policy = None;
    }

    /// Text and attribute at once (`NL_SET_ERR_MSG_ATTR`).
    pub fn set_msg_attr(&mut self, msg: impl Into<Cow<'static, str>>, attr: &Attr<'_>) {
        self.set_msg(msg);
        self.set_bad(attr);
    }

    /// Whether [`write_tlvs`](Self::write_tlvs) would write anything.
    pub fn has_tlvs(&self, failed: bool) -> bool {
        self.msg.is_some()
            || self.cookie.is_some()
            || (failed
                && (self.offset.is_some()
                    || self.policy.is_some()
                    || self.miss_type.is_some()
                    || self.miss_nest.is_some()))
    }

    /// Writes the TLVs in the kernel's order: text and cookie always, the rest only for a failure.
    pub fn write_tlvs(&self, out: &mut Builder, failed: bool) {
        if let Some(msg) = &self.msg {
            out.put_str(NLMSGERR_ATTR_MSG, msg);
        }
        if let Some(cookie) = &self.cookie {
            out.put(NLMSGERR_ATTR_COOKIE, cookie);
        }
        if !failed {
            return;
        }
        if let Some(offset) = self.offset {
            out.put_u32(NLMSGERR_ATTR_OFFS, offset);
        }
        if let Some(policy) = &self.policy {
            policy.write(out);
        }
        if let Some(ty) = self.miss_type {
            out.put_u32(NLMSGERR_ATTR_MISS_TYPE, ty);
        }
        if let Some(nest) = self.miss_nest {
            out.put_u32(NLMSGERR_ATTR_MISS_NEST, nest);
        }
    }

    /// Reads the TLVs of an answer. Unknown ones are skipped, a text that is not UTF-8 is read lossily.
    pub fn read_tlvs(bytes: &[u8]) -> Self {
        let mut out = Self::default();
        for attr in Attrs::at(bytes, 0) {
            match attr.ty {
                NLMSGERR_ATTR_MSG => {
                    out.msg = Some(Cow::Owned(String::from_utf8_lossy(attr.str_bytes()).into_owned()));
                }
                NLMSGERR_ATTR_OFFS => out.offset = attr.u32(),
                NLMSGERR_ATTR_COOKIE => out.cookie = Some(attr.payload.to_vec()),
                NLMSGERR_ATTR_POLICY => out.policy = Some(PolicyTlv::read(&attr)),
                NLMSGERR_ATTR_MISS_TYPE => out.miss_type = attr.u32(),
                NLMSGERR_ATTR_MISS_NEST => out.miss_nest = attr.u32(),
                _ => {}
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_said_is_read_back() {
        let ext = ExtAck {
            msg: Some("no".into()),
            offset: Some(20),
            policy: Some(PolicyTlv { max_length: Some(15), ..PolicyTlv::new(NL_ATTR_TYPE_STRING) }),
            cookie: Some([1, 2, 3].to_vec()),
            miss_type: Some(4),
            miss_nest: Some(8),
        };
        let mut out = Builder::bare();
        ext.write_tlvs(&mut out, true);
        assert_eq!(ExtAck::read_tlvs(&out.finish()), ext);
    }

    #[test]
    fn success_speaks_only_text_and_cookie() {
        let ext = ExtAck { msg: Some("careful".into()), offset: Some(20), ..ExtAck::default() };
        let mut out = Builder::bare();
        ext.write_tlvs(&mut out, false);
        assert_eq!(ExtAck::read_tlvs(&out.finish()).offset, None);
        assert!(!ExtAck { offset: Some(1), ..ExtAck::default() }.has_tlvs(false));
    }

    #[test]
    fn pointing_elsewhere_forgets_the_policy() {
        let mut ext = ExtAck { policy: Some(PolicyTlv::new(4)), ..ExtAck::default() };
        ext.set_bad(&Attr { ty: 1, raw_ty: 1, offset: 24, payload: &[] });
        assert_eq!((ext.offset, ext.policy), (Some(24), None));
    }
}
