//! Reading attributes by policy, with the kernel's two levels of rigour (`__nlmsg_parse`).

use alloc::vec;
use alloc::vec::Vec;

use crate::attr::{Attr, Attrs};
use crate::errno::Errno;
use crate::extack::ExtAck;
use crate::message::Msg;
use crate::policy::{Kind, Policy};

/// The texts of validation, as Linux words them.
pub mod text {
    /// A policy-typed attribute is too short (or, for strings and binaries, too long).
    pub const POLICY: &str = "Attribute failed policy validation";
    /// Strict level: a type beyond the table, or type 0.
    pub const UNKNOWN: &str = "Unknown attribute type";
    /// Bytes behind the last attribute: a warning in the legacy level, an error in the strict one.
    pub const LEFTOVER: &str = "bytes leftover after parsing attributes";
    /// A number outside the limits of its policy.
    pub const RANGE: &str = "integer out of range";
}

/// How strictly a message is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// `nlmsg_parse_deprecated`: unknown types, type 0 and excess bytes are skipped; leftover bytes leave a warning.
    Legacy,
    /// `nlmsg_parse_deprecated_strict`, what `NETLINK_GET_STRICT_CHK` asks for: the same, but unknown types, type 0 and
    /// leftover bytes are errors.
    Strict,
}

/// The attributes of a message by type; of several with one type the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttrTable<'a> {
    slots: Vec<Option<Attr<'a>>>,
}

impl<'a> AttrTable<'a> {
    /// The attribute of this type.
    pub fn get(&self, ty: u16) -> Option<Attr<'a>> {
        self.slots.get(usize::from(ty)).copied().flatten()
    }

    /// All that are present, by ascending type.
    pub fn iter(&self) -> impl Iterator<Item = Attr<'a>> + '_ {
        self.slots.iter().copied().flatten()
    }
}

/// Reads the attributes behind a family header of `body_len` bytes.
///
/// # Errors
/// `ERANGE` or `EINVAL`, with text, offset and policy in `ext`, exactly as Linux 6.18 answers. In the legacy level
/// leftover bytes are no error, but their text is recorded and becomes a warning on a successful ack.
pub fn parse<'a>(
    msg: &Msg<'a>,
    body_len: usize,
    policy: &Policy,
    how: Strictness,
    ext: &mut ExtAck,
) -> Result<AttrTable<'a>, Errno> {
    parse_nested(msg.attrs(body_len), policy, how, ext)
}

/// As [`parse`], for a run of attributes that is already at hand, such as the inside of a nest.
///
/// # Errors
/// As [`parse`].
pub fn parse_nested<'a>(
    mut attrs: Attrs<'a>,
    policy: &Policy,
    how: Strictness,
    ext: &mut ExtAck,
) -> Result<AttrTable<'a>, Errno> {
    // The table is as large as the policy, whatever the message says.
    let mut slots = vec![None; policy.0.len()];
    walk(&mut attrs, policy, how, ext, 0, |attr| {
        if let Some(slot) = slots.get_mut(usize::from(attr.ty)) {
            *slot = Some(attr);
        }
    })?;
    Ok(AttrTable { slots })
}

/// Nests deeper than this are refused. Policies here are static tables of small depth, but a table may contain itself.
const MAX_DEPTH: u32 = 10;

fn walk<'a>(
    attrs: &mut Attrs<'a>,
    policy: &Policy,
    how: Strictness,
    ext: &mut ExtAck,
    depth: u32,
    mut found: impl FnMut(Attr<'a>),
) -> Result<(), Errno> {
    for attr in attrs.by_ref() {
        if attr.ty == 0 || attr.ty > policy.max_type() {
            if how == Strictness::Strict {
                ext.set_msg_attr(text::UNKNOWN, &attr);
                return Err(Errno::EINVAL);
            }
            continue;
        }
        if let Some(kind) = policy.kind(attr.ty) {
            check(&attr, &kind, how, ext, depth)?;
        }
        found(attr);
    }
    if !attrs.leftover().is_empty() {
        ext.set_msg(text::LEFTOVER);
        if how == Strictness::Strict {
            return Err(Errno::EINVAL);
        }
    }
    Ok(())
}

fn check(attr: &Attr<'_>, kind: &Kind, how: Strictness, ext: &mut ExtAck, depth: u32) -> Result<(), Errno> {
    let len = attr.payload.len();
    let string = |max: u16| {
        // One closing NUL is free.
        let used = if attr.payload.last() == Some(&0) { len - 1 } else { len };
        len >= 1 && (max == 0 || used <= usize::from(max))
    };
    let fits = match *kind {
        Kind::Any => true,
        Kind::U8 => len >= 1,
        Kind::U16 => len >= 2,
        Kind::U32 | Kind::S32 | Kind::U32Range { .. } | Kind::S32Range { .. } => len >= 4,
        Kind::U64 | Kind::S64 => len >= 8,
        Kind::Flag => len == 0,
        Kind::String { max } => string(max),
        Kind::NulString { max } => {
            let room = if max == 0 { len } else { len.min(usize::from(max) + 1) };
            if !attr.payload[..room].contains(&0) {
                return refuse(attr, kind, text::POLICY, Errno::EINVAL, ext);
            }
            string(max)
        }
        Kind::Binary { min, max } => len >= usize::from(min) && (max == 0 || len <= usize::from(max)),
        Kind::MinLen { min } => len >= usize::from(min),
        Kind::Nested | Kind::NestedIn(_) => len == 0 || len >= 4,
        Kind::Reject => return refuse(attr, kind, text::POLICY, Errno::EINVAL, ext),
    };
    if !fits {
        return refuse(attr, kind, text::POLICY, Errno::ERANGE, ext);
    }
    match *kind {
        Kind::U32Range { min, max } if attr.u32().is_some_and(|value| value < min || value > max) => {
            refuse(attr, kind, text::RANGE, Errno::ERANGE, ext)
        }
        Kind::S32Range { min, max } if attr.i32().is_some_and(|value| value < min || value > max) => {
            refuse(attr, kind, text::RANGE, Errno::ERANGE, ext)
        }
        Kind::NestedIn(_) if depth + 1 >= MAX_DEPTH => {
            ext.set_msg_attr("allowed policy recursion depth exceeded", attr);
            Err(Errno::EINVAL)
        }
        Kind::NestedIn(inner) => walk(&mut attr.nested(), inner, how, ext, depth + 1, |_| {}),
        _ => Ok(()),
    }
}

fn refuse(attr: &Attr<'_>, kind: &Kind, text: &'static str, errno: Errno, ext: &mut ExtAck) -> Result<(), Errno> {
    ext.set_msg_attr(text, attr);
    ext.policy = kind.describe();
    Err(errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::Builder;
    use crate::extack::PolicyTlv;
    use Strictness::{Legacy, Strict};

    static LOOP: Policy = Policy(&[None, Some(Kind::NestedIn(&LOOP))]);

    fn run(bytes: &[u8], policy: &Policy, how: Strictness) -> (Result<usize, Errno>, ExtAck) {
        let mut ext = ExtAck::default();
        let result = parse_nested(Attrs::at(bytes, 20), policy, how, &mut ext).map(|table| table.iter().count());
        (result, ext)
    }

    fn one(kind: Kind, payload: &[u8]) -> (Option<Errno>, ExtAck) {
        let slots: &'static [Option<Kind>] = alloc::boxed::Box::leak(alloc::boxed::Box::new([None, Some(kind)]));
        let mut out = Builder::bare();
        out.put(1, payload);
        let (result, ext) = run(&out.finish(), &Policy(slots), Legacy);
        (result.err(), ext)
    }

    #[test]
    fn short_numbers_fail_with_their_limits() {
        let (errno, ext) = one(Kind::U8, &[]);
        assert_eq!(errno, Some(Errno::ERANGE));
        assert_eq!(ext.policy, Some(PolicyTlv::new(2).unsigned(0, 255)));
        assert_eq!((ext.msg.as_deref(), ext.offset), (Some(text::POLICY), Some(20)));
        assert_eq!(one(Kind::U8, &[1, 2, 3]).0, None, "excess bytes are ignored");
        assert_eq!(one(Kind::U64, &[0; 7]).0, Some(Errno::ERANGE));
        assert_eq!(one(Kind::S64, &[0; 8]).0, None);
    }

    #[test]
    fn string_limits_do_not_count_one_nul() {
        let name = Kind::String { max: 15 };
        assert_eq!(one(name, &[b'a'; 15]).0, None);
        assert_eq!(one(name, b"aaaaaaaaaaaaaaa\0").0, None);
        assert_eq!(one(name, &[b'a'; 16]).0, Some(Errno::ERANGE));
        let (errno, ext) = one(name, b"");
        assert_eq!(errno, Some(Errno::ERANGE));
        assert_eq!(ext.policy, Some(PolicyTlv { max_length: Some(15), ..PolicyTlv::new(11) }));
        assert_eq!(one(Kind::NulString { max: 15 }, b"aa").0, Some(Errno::EINVAL));
        assert_eq!(one(Kind::NulString { max: 15 }, b"aa\0").0, None);
    }

    #[test]
    fn some_failures_carry_no_policy() {
        let (errno, ext) = one(Kind::Reject, &[1]);
        assert_eq!((errno, ext.policy, ext.offset), (Some(Errno::EINVAL), None, Some(20)));
        let (errno, ext) = one(Kind::MinLen { min: 28 }, &[1]);
        assert_eq!((errno, ext.policy), (Some(Errno::ERANGE), None));
    }

    #[test]
    fn numbers_can_be_bounded() {
        let kind = Kind::S32Range { min: 1, max: i32::MAX };
        let (errno, ext) = one(kind, &(-1i32).to_ne_bytes());
        assert_eq!((errno, ext.msg.as_deref()), (Some(Errno::ERANGE), Some(text::RANGE)));
        assert_eq!(ext.policy, Some(PolicyTlv::new(8).signed(1, i64::from(i32::MAX))));
        assert_eq!(one(kind, &1i32.to_ne_bytes()).0, None);
        assert_eq!(one(Kind::U32Range { min: 193, max: u32::MAX }, &[1, 0, 0, 0]).0, Some(Errno::ERANGE));
    }

    #[test]
    fn nests_are_judged_inside_with_offsets_from_the_request() {
        static INNER: Policy = Policy(&[None, Some(Kind::U32)]);
        static OUTER: Policy = Policy(&[None, Some(Kind::NestedIn(&INNER))]);
        let mut out = Builder::bare();
        out.nest(1, |nest| {
            nest.put_u16(1, 5);
        });
        let (result, ext) = run(&out.finish(), &OUTER, Legacy);
        assert_eq!((result, ext.offset), (Err(Errno::ERANGE), Some(24)));
        assert_eq!(one(Kind::Nested, b"abc").0, Some(Errno::ERANGE));
        assert_eq!(one(Kind::Nested, b"").0, None);
    }

    #[test]
    fn a_table_that_contains_itself_is_not_followed_for_ever() {
        fn deeper(out: &mut Builder, left: u32) {
            out.nest(1, |nest| {
                if left > 0 {
                    deeper(nest, left - 1)
                }
            });
        }
        let mut out = Builder::bare();
        deeper(&mut out, 1000);
        assert_eq!(run(&out.finish(), &LOOP, Legacy).0, Err(Errno::EINVAL));
    }

    #[test]
    fn strictness_is_about_unknown_types_and_leftover() {
        static POLICY: Policy = Policy(&[None, Some(Kind::U32), None]);
        for ty in [0, 3, 0x3fff] {
            let mut out = Builder::bare();
            out.put_u32(1, 9).put(ty, &[]);
            let bytes = out.finish();
            assert_eq!(run(&bytes, &POLICY, Legacy).0, Ok(1));
            let (result, ext) = run(&bytes, &POLICY, Strict);
            assert_eq!((result, ext.msg.as_deref(), ext.offset), (Err(Errno::EINVAL), Some(text::UNKNOWN), Some(28)));
        }
        let mut bytes = Builder::bare();
        bytes.put(2, b"any");
        let mut bytes = bytes.finish();
        bytes.extend_from_slice(&[1, 2]);
        let (result, ext) = run(&bytes, &POLICY, Legacy);
        assert_eq!((result, ext.msg.as_deref(), ext.offset), (Ok(1), Some(text::LEFTOVER), None));
        assert_eq!(run(&bytes, &POLICY, Strict).0, Err(Errno::EINVAL));
    }

    #[test]
    fn the_last_of_a_type_wins() {
        static POLICY: Policy = Policy(&[None, Some(Kind::U32)]);
        let mut out = Builder::bare();
        out.put_u32(1, 1).put_u32(1, 2);
        let bytes = out.finish();
        let table = parse_nested(Attrs::at(&bytes, 20), &POLICY, Strict, &mut ExtAck::default()).unwrap();
        assert_eq!(table.get(1).unwrap().u32(), Some(2));
    }
}
