//! The vectors captured from Linux 6.18 (little-endian), byte for byte.
#![cfg(target_endian = "little")]

use pernet_wire::uapi::*;
use pernet_wire::{
    Builder, Errno, ExtAck, Kind, Messages, Msg, MsgHeader, Policy, Reply, Strictness, done, error_reply, parse,
};

const NSID_POLICY: Policy =
    Policy(&[None, Some(Kind::S32), Some(Kind::U32), Some(Kind::U32), Some(Kind::S32), Some(Kind::Any)]);

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn request(bytes: &[u8]) -> Msg<'_> {
    Messages::new(bytes).next().expect("a message")
}

/// NEWNSID nsid=6 fd=12, seq 0x69, flags 5.
fn new_nsid() -> Vec<u8> {
    hex("24000000 5800 0500 69000000 00000000 00000000 08000100 06000000 08000300 0c000000")
}

fn named_already() -> ExtAck {
    ExtAck { msg: Some("Peer netns already has a nsid assigned".into()), offset: Some(28), ..ExtAck::default() }
}

const PORT: u32 = 3547;

#[test]
fn the_request() {
    let mut out = Builder::message(&MsgHeader::request(RTM_NEWNSID, NLM_F_REQUEST | NLM_F_ACK, 0x69));
    out.put_raw(&[0; 4]).put_i32(NETNSA_NSID, 6).put_u32(NETNSA_FD, 12);
    assert_eq!(out.finish(), new_nsid());
}

#[test]
fn success() {
    let bytes = hex("24000000 5800 0500 65000000 00000000 00000000 08000100 05000000 08000300 0c000000");
    let ack = error_reply(&request(&bytes), PORT, Ok(()), &ExtAck::default(), true, false);
    assert_eq!(ack, hex("240000000200000165000000db0d00000000000024000000580005006500000000000000"));
}

#[test]
fn failure_with_extended_ack() {
    let bytes = new_nsid();
    let reply = error_reply(&request(&bytes), PORT, Err(Errno::EEXIST), &named_already(), true, false);
    let expected = hex(
        "6c0000000200000269000000db0d0000efffffff24000000580005006900000000000000000000000800010006000000080003000c000000\
         2b000100 50656572206e65746e7320616c7265616479206861732061206e7369642061737369676e6564 00 00 08000200 1c000000",
    );
    assert_eq!(reply, expected);
}

#[test]
fn failure_in_the_other_three_moods() {
    let bytes = new_nsid();
    for (ext_ack, cap_ack, len, flags) in [(false, false, 56, 0), (true, true, 88, 0x300), (false, true, 36, 0x100)] {
        let reply = error_reply(&request(&bytes), PORT, Err(Errno::EEXIST), &named_already(), ext_ack, cap_ack);
        let header = MsgHeader::read(&reply).unwrap();
        assert_eq!((reply.len(), header.len as usize, header.flags), (len, len, flags));
    }
}

#[test]
fn a_request_of_odd_length_is_copied_exactly_and_padded() {
    let bytes = hex("11000000 5800 0500 69000000 00000000 00");
    let ext = ExtAck { msg: Some("nsid is missing".into()), ..ExtAck::default() };
    let reply = error_reply(&request(&bytes), PORT, Err(Errno::EINVAL), &ext, true, false);
    assert_eq!(reply.len(), 60);
    assert_eq!(Reply::read(&request(&reply)).unwrap().ext, ext);
}

#[test]
fn events_replies_and_dump_entries() {
    let body = |header: MsgHeader, nsid: i32, current: Option<i32>| {
        let mut out = Builder::message(&header);
        out.put_raw(&[0; 4]).put_i32(NETNSA_NSID, nsid);
        if let Some(current) = current {
            out.put_i32(NETNSA_CURRENT_NSID, current);
        }
        out.finish()
    };
    assert_eq!(
        body(MsgHeader::new(RTM_NEWNSID, 0, 0x65, 0x11ad), 4, None),
        hex("1c0000005800000065000000ad110000000000000800010004000000")
    );
    assert_eq!(
        body(MsgHeader::new(RTM_NEWNSID, 0, 0x74, 0x0e07), 30, Some(3)),
        hex("240000005800000074000000070e000000000000080001001e0000000800050003000000")
    );
    assert_eq!(
        body(MsgHeader::new(RTM_NEWNSID, NLM_F_MULTI, 0x85, 0x0e07), 3, None),
        hex("1c0000005800020085000000070e0000000000000800010003000000")
    );
}

#[test]
fn the_end_of_a_dump() {
    assert_eq!(done(0x0e07, 0x85, Ok(()), &ExtAck::default(), true), hex("140000000300020085000000070e000000000000"));
    let ext =
        ExtAck { msg: Some("Unsupported attribute in dump request".into()), offset: Some(20), ..ExtAck::default() };
    let failed = done(1, 2, Err(Errno::EINVAL), &ext, true);
    let header = MsgHeader::read(&failed).unwrap();
    assert_eq!((failed.len(), header.flags), (72, 0x202));
    let mut expected = hex("48000000 0300 0202 02000000 01000000 eaffffff 2a000100");
    expected.extend_from_slice(b"Unsupported attribute in dump request\0\0\0");
    expected.extend_from_slice(&hex("08000200 14000000"));
    assert_eq!(failed, expected);
    assert_eq!(done(1, 2, Err(Errno::EINVAL), &ext, false), hex("14000000 0300 0200 02000000 01000000 eaffffff"));
}

#[test]
fn a_short_attribute_is_answered_with_its_policy() {
    let bytes = hex("1c000000 5800 0500 69000000 00000000 00000000 06000100 06000000");
    let mut ext = ExtAck::default();
    let msg = request(&bytes);
    assert_eq!(parse(&msg, 1, &NSID_POLICY, Strictness::Legacy, &mut ext), Err(Errno::ERANGE));
    let mut tlvs = Builder::bare();
    ext.write_tlvs(&mut tlvs, true);
    let mut expected = hex("27000100");
    expected.extend_from_slice(b"Attribute failed policy validation\0\0");
    expected.extend_from_slice(&hex("08000200 14000000"));
    expected.extend_from_slice(&hex("24000480 0c000200 00000080ffffffff 0c000300 ffffff7f00000000 08000100 08000000"));
    assert_eq!(tlvs.finish(), expected);
}

#[test]
fn leftover_bytes_are_a_warning_on_success() {
    let bytes = hex("1e000000 5a00 0500 80000000 00000000 00000000 08000300 0c000000 6162");
    let mut ext = ExtAck::default();
    let msg = request(&bytes);
    assert!(parse(&msg, 1, &NSID_POLICY, Strictness::Legacy, &mut ext).is_ok());
    let ack = error_reply(&msg, PORT, Ok(()), &ext, true, false);
    assert_eq!((ack.len(), MsgHeader::read(&ack).unwrap().flags), (80, 0x300));
    let reply = Reply::read(&request(&ack)).unwrap();
    assert_eq!(reply.ext.msg.as_deref(), Some("bytes leftover after parsing attributes"));
    assert_eq!(reply.result, Ok(()));
}

#[test]
fn the_policy_of_a_name() {
    // GETLINK with a name of 20 bytes.
    const LINK: Policy = Policy(&[None, None, None, Some(Kind::String { max: 15 })]);
    let mut out = Builder::message(&MsgHeader::request(RTM_GETLINK, NLM_F_REQUEST, 0x65));
    out.put_raw(&hex("00000000 01000000 00000000 00000000")).put(IFLA_IFNAME, &[b'a'; 20]);
    let bytes = out.finish();
    let mut ext = ExtAck::default();
    let result = parse(&request(&bytes), 16, &LINK, Strictness::Legacy, &mut ext).map(|_| ());
    let reply = error_reply(&request(&bytes), PORT, result, &ext, true, false);
    assert_eq!(reply.len(), 144);
    assert!(reply.ends_with(&hex("08000200 20000000 14000480 08000700 0f000000 08000100 0b000000")));
}
