//! What holds for every input: no panic, no allocation beyond the input, and what was built is read back.

use pernet_wire::{
    Attrs, Builder, Errno, ExtAck, HEADER_LEN, Kind, Messages, MsgHeader, Policy, PolicyTlv, Reply, Strictness, align4,
    done, error_reply, parse,
};
use proptest::prelude::*;

static INNER: Policy = Policy(&[None, Some(Kind::U32), Some(Kind::NestedIn(&OUTER)), Some(Kind::Flag)]);
static OUTER: Policy = Policy(&[
    None,
    Some(Kind::S32),
    Some(Kind::String { max: 15 }),
    Some(Kind::NulString { max: 7 }),
    Some(Kind::Binary { min: 2, max: 9 }),
    Some(Kind::NestedIn(&INNER)),
    Some(Kind::U64),
    Some(Kind::Reject),
    Some(Kind::MinLen { min: 3 }),
    Some(Kind::S32Range { min: 1, max: 99 }),
    Some(Kind::U32Range { min: 1, max: 99 }),
    Some(Kind::Any),
    Some(Kind::Nested),
    Some(Kind::U8),
    Some(Kind::U16),
    Some(Kind::S64),
    None,
]);

/// Bytes that look enough like messages to reach deep code.
fn almost_messages() -> impl Strategy<Value = Vec<u8>> {
    let attr = (0u16..24, 0u16..20, prop::collection::vec(any::<u8>(), 0..20));
    let message = (0u32..100, any::<u16>(), prop::collection::vec(attr, 0..8));
    prop::collection::vec(message, 0..4).prop_map(|messages| {
        let mut out = Vec::new();
        for (len, ty, attrs) in messages {
            out.extend_from_slice(&MsgHeader { len, ..MsgHeader::request(ty, 5, 1) }.to_bytes());
            out.extend_from_slice(&[0; 4]);
            for (len, ty, payload) in attrs {
                out.extend_from_slice(&len.to_ne_bytes());
                out.extend_from_slice(&ty.to_ne_bytes());
                out.extend_from_slice(&payload);
            }
        }
        out
    })
}

/// Reads a datagram in every way there is.
fn read_everything(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut consumed = 0;
    for msg in Messages::new(bytes) {
        prop_assert_eq!(msg.raw.len(), msg.header.len as usize);
        consumed += align4(msg.raw.len());
        for body in [0, 1, 4, 16, 1000] {
            for how in [Strictness::Legacy, Strictness::Strict] {
                let mut ext = ExtAck::default();
                let result = parse(&msg, body, &OUTER, how, &mut ext);
                if let Ok(table) = &result {
                    for attr in table.iter() {
                        prop_assert!(attr.offset as usize + 4 + attr.payload.len() <= msg.raw.len());
                    }
                } else {
                    prop_assert!(ext.msg.is_some(), "a refusal says why");
                }
                let result = result.map(|_| ());
                let reply = error_reply(&msg, 7, result, &ext, true, false);
                let read = Reply::read(&Messages::new(&reply).next().unwrap()).unwrap();
                prop_assert_eq!(read.result, result);
                if result.is_err() {
                    prop_assert_eq!(read.ext, ext);
                }
            }
        }
        let _ = Reply::read(&msg);
        let _ = ExtAck::read_tlvs(msg.payload());
    }
    prop_assert!(consumed <= align4(bytes.len()));
    Ok(())
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_everything(&bytes)?;
    }

    #[test]
    fn almost_messages_never_panic(bytes in almost_messages()) {
        read_everything(&bytes)?;
    }

    #[test]
    fn attributes_never_reach_beyond_the_input(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut walk = Attrs::at(&bytes, 20);
        let mut end = 20;
        for attr in walk.by_ref() {
            prop_assert_eq!(attr.offset as usize, end);
            end += align4(attr.payload.len() + 4);
        }
        prop_assert!(walk.leftover().len() <= bytes.len());
    }

    #[test]
    fn what_was_built_is_read_back(
        ty in 16u16..200, flags: u16, seq: u32, portid: u32,
        attrs in prop::collection::vec((0u16..0x4000, prop::collection::vec(any::<u8>(), 0..50)), 0..20),
        body in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut out = Builder::message(&MsgHeader::new(ty, flags, seq, portid));
        out.put_raw(&body);
        for (ty, payload) in &attrs {
            out.put(*ty, payload);
        }
        let bytes = out.finish();
        let msg = Messages::new(&bytes).next().unwrap();
        prop_assert_eq!(msg.header, MsgHeader { len: bytes.len() as u32, ty, flags, seq, portid });
        let read: Vec<_> = msg.attrs(body.len()).map(|attr| (attr.ty, attr.payload.to_vec())).collect();
        prop_assert_eq!(read, attrs);
    }

    #[test]
    fn nests_are_read_back(depth in 0usize..200, value: u32) {
        fn go(out: &mut Builder, depth: usize, value: u32) {
            if depth == 0 { out.put_u32(1, value); } else { out.nest(2, |inner| go(inner, depth - 1, value)); }
        }
        let mut out = Builder::message(&MsgHeader::request(20, 1, 1));
        go(&mut out, depth, value);
        let bytes = out.finish();
        let mut attrs = Messages::new(&bytes).next().unwrap().attrs(0);
        for level in 0..depth {
            let nest = attrs.next().unwrap();
            prop_assert_eq!(nest.offset as usize, HEADER_LEN + 4 * level);
            attrs = nest.nested();
        }
        prop_assert_eq!(attrs.next().and_then(|attr| attr.u32()), Some(value));
    }

    #[test]
    fn extended_acks_are_read_back(
        msg in prop::option::of("[a-z ]{0,40}"), offset: Option<u32>, cookie in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
        miss_type: Option<u32>, miss_nest: Option<u32>, errno in 1i32..=4095,
        policy in prop::option::of((any::<u32>(), any::<Option<(i64, i64)>>(), any::<Option<(u64, u64)>>(), any::<Option<u32>>())),
    ) {
        let policy = policy.map(|(ty, signed, unsigned, max_length)| PolicyTlv { ty, signed, unsigned, min_length: None, max_length, mask: None });
        let ext = ExtAck { msg: msg.map(Into::into), offset, policy, cookie, miss_type, miss_nest };
        let result = Err(Errno::new(errno).unwrap());
        let bytes = done(1, 2, result, &ext, true);
        let read = Reply::read(&Messages::new(&bytes).next().unwrap()).unwrap();
        prop_assert_eq!(read, Reply { result, request: None, ext });
    }
}
