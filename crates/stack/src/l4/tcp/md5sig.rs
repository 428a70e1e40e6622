//! Signatures of segments (RFC 2385, `TCP_MD5SIG`): routers ask them of each other, so that nobody else ends their sessions.

use std::net::{IpAddr, Ipv6Addr};

use md5::{Digest, Md5};

use super::segment::{HEADER_LEN, Header, PROTOCOL};
use crate::errno;
use crate::l2::Frame;
use crate::l3::Received;
use crate::mib::TcpExt;

/// What a signature takes of each segment.
pub(super) const ROOM: u16 = 20;
/// The longest header.
const MOST_HEADER: usize = 60;
/// Option, its length, and the bytes before it that bring it to a boundary.
const BEGINS: [u8; 4] = [1, 1, 19, 18];
const LEN: usize = 16;
/// `TCP_MD5SIG_MAXKEYLEN`.
const LONGEST: usize = 80;
/// What the kernel reckons for one key, of all that a socket's options may take (`net.core.optmem_max`).
const KEY_COST: u32 = 136;

/// What signs the segments to some peers and from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Md5Key {
    /// The peers, of which the first bits count.
    pub addr: IpAddr,
    /// How many.
    pub prefix_len: u8,
    /// It was said that the device counts (`TCP_MD5SIG_FLAG_IFINDEX`). That tells it from one of which this was not said, and is
    /// all: there is no domain of routes but the one.
    pub by_device: bool,
    /// What both sides know.
    pub secret: Vec<u8>,
}

impl Md5Key {
    fn fits(&self, peer: IpAddr) -> bool {
        let apart = match (self.addr, peer) {
            (IpAddr::V4(own), IpAddr::V4(peer)) => (own.to_bits() ^ peer.to_bits()).leading_zeros(),
            (IpAddr::V6(own), IpAddr::V6(peer)) => (own.to_bits() ^ peer.to_bits()).leading_zeros(),
            _ => return false,
        };
        apart >= self.prefix_len.into()
    }
}

/// The keys of a socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys(Vec<Md5Key>);

impl Keys {
    /// That of a peer: the one that names the fewest.
    pub(super) fn of(&self, peer: IpAddr) -> Option<&Md5Key> {
        self.0.iter().filter(|key| key.fits(peer)).max_by_key(|key| key.prefix_len)
    }

    /// The last one first, as they are listed.
    pub(super) fn listed(&self) -> Vec<Md5Key> {
        self.0.iter().rev().cloned().collect()
    }

    /// Does what a program asks for; `room`: bytes for the options of a socket.
    ///
    /// # Errors
    /// `ENOENT`: the key that is to go is not there; `ENOMEM`.
    pub(super) fn change(&mut self, asked: Md5Key, room: u32) -> Result<(), i32> {
        let same =
            |key: &Md5Key| (key.addr, key.prefix_len, key.by_device) == (asked.addr, asked.prefix_len, asked.by_device);
        let known = self.0.iter().position(same);
        match known {
            Some(at) if asked.secret.is_empty() => drop(self.0.remove(at)),
            Some(at) => self.0[at] = asked,
            None if asked.secret.is_empty() => return Err(errno::ENOENT),
            None if self.0.len() >= (room / KEY_COST) as usize => return Err(errno::ENOMEM),
            None => self.0.push(asked),
        }
        Ok(())
    }

    /// Those of a connection with one of the peers.
    pub(super) fn alone(&self, peer: IpAddr) -> Option<Self> {
        let prefix_len = if peer.is_ipv4() { 32 } else { 128 };
        Some(Self(vec![Md5Key { addr: peer, prefix_len, ..self.of(peer)?.clone() }]))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads `struct tcp_md5sig`; `extended`: the number of bits and the device in it count (`TCP_MD5SIG_EXT`).
///
/// # Errors
/// `EINVAL`: too short, of another family than the socket, more bits than an address has, a key that is too long, or a device
/// that is no domain of routes, as none is here.
pub(super) fn read(bytes: &[u8], v6: bool, extended: bool) -> Result<Md5Key, i32> {
    const SIZE: usize = 216;
    const INET: u16 = 2;
    const INET6: u16 = 10;
    let said: &[u8; SIZE] = bytes.first_chunk().ok_or(errno::EINVAL)?;
    let family = u16::from_ne_bytes([said[0], said[1]]);
    if family != if v6 { INET6 } else { INET } {
        return Err(errno::EINVAL);
    }
    let addr = if v6 {
        Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|i| said[8 + i])).to_canonical()
    } else {
        IpAddr::from([said[4], said[5], said[6], said[7]])
    };
    let most = if addr.is_ipv4() { 32 } else { 128 };
    let (flags, len) = (said[128], usize::from(u16::from_ne_bytes([said[130], said[131]])));
    let has = |flag| extended && flags & flag != 0;
    let prefix_len = if has(1) { said[129] } else { most };
    if prefix_len > most || has(2) && said[132..136] != [0; 4] {
        return Err(errno::EINVAL);
    }
    let secret = said[136..].get(..len).filter(|_| len <= LONGEST).ok_or(errno::EINVAL)?.to_vec();
    Ok(Md5Key { addr, prefix_len, by_device: has(2), secret })
}

/// What is signed: the ends, the header without options and checksum, and the data.
fn digest(key: &Md5Key, (src, dst): (IpAddr, IpAddr), bytes: &[u8], data: &[u8]) -> [u8; LEN] {
    let mut digest = Md5::new();
    let len = bytes.len() as u32;
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            digest.update([src.octets(), dst.octets()].as_flattened());
            digest.update([0, PROTOCOL]);
            digest.update((len as u16).to_be_bytes());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            digest.update([src.octets(), dst.octets()].as_flattened());
            digest.update(len.to_be_bytes());
            digest.update([0, 0, 0, PROTOCOL]);
        }
        _ => {}
    }
    let mut header = bytes.first_chunk::<HEADER_LEN>().copied().unwrap_or_default();
    header[16..18].fill(0);
    digest.update(header);
    digest.update(data);
    digest.update(&key.secret);
    digest.finalize().into()
}

/// Signs a segment that is whole but for its checksum. `last`: behind the other options, as in what no connection sends.
pub(super) fn sign(frame: &mut Frame, ends: (IpAddr, IpAddr), key: &Md5Key, last: bool) {
    let Some(header) = Header::parse(frame.data()) else { return };
    let Some(mut fixed) = frame.data().first_chunk::<HEADER_LEN>().copied() else { return };
    let mut others = frame.data().get(HEADER_LEN..header.len).unwrap_or_default().to_vec();
    if HEADER_LEN + usize::from(ROOM) + others.len() > MOST_HEADER {
        // What may be acknowledged beside, which nothing depends on, is all that is so long.
        others.clear();
    }
    let mut signature = BEGINS.to_vec();
    signature.resize(BEGINS.len() + LEN, 0);
    let at = HEADER_LEN + BEGINS.len() + if last { others.len() } else { 0 };
    let options = if last { [others, signature].concat() } else { [signature, others].concat() };
    fixed[12] = fixed[12] & 0x0f | ((HEADER_LEN + options.len()) as u8 / 4) << 4;
    if frame.pull(header.len).is_none() {
        return;
    }
    let room = frame.push(HEADER_LEN + options.len());
    room[..HEADER_LEN].copy_from_slice(&fixed);
    room[HEADER_LEN..].copy_from_slice(&options);
    let bytes = frame.data();
    let signed = digest(key, ends, bytes, &bytes[HEADER_LEN + options.len()..]);
    frame.data_mut()[at..at + LEN].copy_from_slice(&signed);
}

/// The signature of a segment.
fn signature<'s>(bytes: &'s [u8], header: &Header) -> Option<&'s [u8; LEN]> {
    let mut rest = bytes.get(HEADER_LEN..header.len)?;
    // As nearly all are: nothing, or a timestamp alone.
    if let [] | [1, 1, 8, 10, _, _, _, _, _, _, _, _] = rest {
        return None;
    }
    loop {
        rest = match rest {
            [] | [0, ..] => return None,
            [1, after @ ..] => after,
            [19, 18, after @ ..] => return after.first_chunk(),
            [_, len, ..] => rest.get(usize::from(*len).max(2)..)?,
            _ => return None,
        };
    }
}

/// Is this segment signed, rightly or not?
pub(super) fn is_signed(packet: &Received, header: &Header) -> bool {
    signature(packet.frame.data(), header).is_some()
}

/// May a segment be taken by a socket with these keys (`tcp_inbound_hash`)?
///
/// # Errors
/// What is counted of one that may not.
pub(super) fn check(keys: Option<&Keys>, packet: &Received, header: &Header) -> Result<(), TcpExt> {
    let bytes = packet.frame.data();
    let key = keys.and_then(|keys| keys.of(packet.src));
    match (key, signature(bytes, header)) {
        (None, None) => Ok(()),
        (Some(_), None) => Err(TcpExt::TCPMD5NotFound),
        (None, Some(_)) => Err(TcpExt::TCPMD5Unexpected),
        (Some(key), Some(signed)) => {
            let right = digest(key, (packet.src, packet.dst), bytes, &bytes[header.len..]) == *signed;
            if right { Ok(()) } else { Err(TcpExt::TCPMD5Failure) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(addr: [u8; 4], prefix_len: u8, secret: &[u8]) -> Md5Key {
        Md5Key { addr: addr.into(), prefix_len, by_device: false, secret: secret.to_vec() }
    }

    #[test]
    fn the_key_that_names_the_fewest_counts() {
        let mut keys = Keys::default();
        for (addr, len, secret) in [([10, 0, 0, 0], 8, b"a"), ([10, 1, 0, 0], 16, b"b"), ([10, 1, 0, 1], 32, b"c")] {
            keys.change(key(addr, len, secret), 1000).unwrap();
        }
        let of = |addr: [u8; 4]| keys.of(addr.into()).map(|key| key.secret[0]);
        assert_eq!([of([10, 2, 0, 1]), of([10, 1, 0, 2]), of([10, 1, 0, 1])], [Some(b'a'), Some(b'b'), Some(b'c')]);
        assert_eq!((of([11, 0, 0, 1]), keys.of(Ipv6Addr::LOCALHOST.into())), (None, None));
    }

    #[test]
    fn keys_come_change_and_go() {
        let mut keys = Keys::default();
        let (one, other) = (key([10, 0, 0, 1], 32, b"x"), key([10, 0, 0, 1], 24, b"y"));
        assert_eq!(keys.change(key([10, 0, 0, 1], 32, b""), 1000), Err(errno::ENOENT));
        keys.change(one.clone(), 272).unwrap();
        keys.change(Md5Key { secret: b"z".to_vec(), ..one.clone() }, 272).unwrap();
        keys.change(other.clone(), 272).unwrap();
        assert_eq!(keys.change(key([10, 0, 0, 2], 32, b"x"), 272), Err(errno::ENOMEM));
        assert_eq!(keys.listed(), [other, Md5Key { secret: b"z".to_vec(), ..one.clone() }]);
        keys.change(Md5Key { secret: Vec::new(), ..one }, 272).unwrap();
        assert!(!keys.is_empty());
    }

    /// Segments that Linux signed with "secret", from port 40,000 to port 179 of its loopback.
    #[test]
    fn signatures_are_those_of_linux() {
        let segments = [
            "9c4000b3e7fbf09f00000000d002ffd7fe3c0000010113127e9af68da1cae5a1667030555cecbc0b0204ffd7010104020103030a",
            "9c4000b3e7fbf0a0f589cf24a0180040fe3500000101131200b5ac758e3ae7a3ea937fb40ddb9ceb68656c6c6f",
            "9c4000b3f47d2a5900000000d002ffc4003c0000010113120c8fa613a75522e7759f4e65ca5fe8390204ffc4010104020103030a",
            "9c4000b3f47d2a5a6f6479c2a01800400035000001011312882a725c4a9f19aec7857aae3dfce79768656c6c6f",
        ];
        for (n, segment) in segments.into_iter().enumerate() {
            let bytes: Vec<u8> =
                (0..segment.len()).step_by(2).map(|at| u8::from_str_radix(&segment[at..at + 2], 16).unwrap()).collect();
            let lo: IpAddr = if n < 2 { [127, 0, 0, 1].into() } else { Ipv6Addr::LOCALHOST.into() };
            let header = Header::parse(&bytes).unwrap();
            let key = Md5Key { addr: lo, ..key([0; 4], 32, b"secret") };
            assert_eq!(digest(&key, (lo, lo), &bytes, &bytes[header.len..]), *signature(&bytes, &header).unwrap());
        }
    }

    #[test]
    fn signatures_are_found_among_options() {
        let mut bytes = vec![0; 20];
        bytes.extend([1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 19, 18]);
        bytes.extend(1..=16);
        bytes[12] = 13 << 4;
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(signature(&bytes, &header).map(|found| (found[0], found[15])), Some((1, 16)));
        // Cut short, or of another length.
        for (at, value) in [(34, 0), (34, 9), (35, 10), (35, 200), (23, 0), (23, 250)] {
            let mut broken = bytes.clone();
            broken[at] = value;
            assert_eq!(signature(&broken, &header), None, "{at}: {value}");
        }
    }

    #[test]
    fn what_was_signed_is_taken_and_nothing_else() {
        let ends = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let secret = key([10, 0, 0, 1], 32, b"secret");
        for (options, last) in [
            (&[][..], false),
            (&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], false),
            (&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], true),
        ] {
            let mut bytes = vec![7; 20];
            bytes[12] = (((20 + options.len()) / 4) << 4) as u8;
            bytes.extend(options);
            bytes.extend(b"data");
            let mut frame = Frame::with_payload(&bytes);
            sign(&mut frame, ends, &secret, last);
            let header = Header::parse(frame.data()).unwrap();
            assert_eq!((header.len, header.payload), (40 + options.len(), 4));
            let signed = *signature(frame.data(), &header).unwrap();
            let of = |bytes: &[u8], ends, key: &Md5Key| digest(key, ends, bytes, &bytes[header.len..]);
            assert_eq!(of(frame.data(), ends, &secret), signed);
            assert_ne!(of(frame.data(), (ends.1, ends.0), &secret), signed);
            assert_ne!(of(frame.data(), ends, &key([10, 0, 0, 1], 32, b"secreT")), signed);
            for at in [0, 4, 8, 13, 15, 18, header.len] {
                let mut other = frame.data().to_vec();
                other[at] ^= 1;
                assert_ne!(of(&other, ends, &secret), signed, "{at}");
            }
        }
    }
}
