//! The requests of the group `control`, as bytes: both systems are sent the same.

use anyhow::{Context, Result, bail, ensure};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `RTM_NEWLINK`.
pub(crate) const NEWLINK: u16 = 16;
/// `RTM_NEWROUTE`.
pub(crate) const NEWROUTE: u16 = 24;
const GETLINK: u16 = 18;
const GETROUTE: u16 = 26;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const CREATE_EXCL: u16 = 0x600;

/// Length of the message header.
const HEADER: usize = 16;

/// A message under construction: nests are closed by [`Bytes::end`].
struct Bytes(Vec<u8>);

impl Bytes {
    fn new(ty: u16, flags: u16, family_header: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&ty.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes[8] = 1;
        bytes.extend(family_header);
        Self(bytes)
    }

    fn attr(&mut self, ty: u16, value: &[u8]) -> &mut Self {
        let at = self.begin(ty);
        self.0.extend(value);
        self.end(at)
    }

    fn begin(&mut self, ty: u16) -> usize {
        let at = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(ty.to_ne_bytes());
        at
    }

    fn end(&mut self, at: usize) -> &mut Self {
        let len = (self.0.len() - at) as u16;
        self.0[at..at + 2].copy_from_slice(&len.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn done(mut self) -> Vec<u8> {
        let len = self.0.len() as u32;
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        self.0
    }
}

/// `struct ifinfomsg`.
fn ifinfo(index: u32, flags: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

/// The names of the two ends of a pair.
pub(crate) fn ends(pair: u64) -> [String; 2] {
    [format!("v{pair}a"), format!("v{pair}b")]
}

/// A string attribute's value.
fn text(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// `ip link add v7a type veth peer name v7b`.
pub(crate) fn veth(pair: u64) -> Vec<u8> {
    let [near, far] = ends(pair).map(|name| text(&name));
    let mut bytes = Bytes::new(NEWLINK, ACK | CREATE_EXCL, &ifinfo(0, 0));
    bytes.attr(3, &near);
    let info = bytes.begin(18);
    bytes.attr(1, b"veth\0");
    let data = bytes.begin(2);
    let peer = bytes.begin(1);
    bytes.0.extend(ifinfo(0, 0));
    bytes.attr(3, &far).end(peer).end(data).end(info);
    bytes.done()
}

/// `ip link set up` of the device with that index.
pub(crate) fn up(index: u32) -> Vec<u8> {
    Bytes::new(NEWLINK, ACK, &ifinfo(index, 1)).done()
}

/// All devices.
pub(crate) fn links() -> Vec<u8> {
    Bytes::new(GETLINK, DUMP, &ifinfo(0, 0)).done()
}

/// Where the route of that number leads: below 10.0.0.0/8, so up to 16 million.
fn destination(route: u64) -> [u8; 4] {
    let [.., a, b, c] = route.to_be_bytes();
    [10, a, b, c]
}

/// `ip route add 10.a.b.c dev DEV`.
pub(crate) fn route(number: u64, device: u32) -> Vec<u8> {
    // Family, bits of the destination, table main, protocol boot, scope link, unicast.
    let mut bytes = Bytes::new(NEWROUTE, ACK | CREATE_EXCL, &[2, 32, 0, 0, 254, 3, 253, 1, 0, 0, 0, 0]);
    bytes.attr(1, &destination(number)).attr(4, &device.to_ne_bytes());
    bytes.done()
}

/// `ip route get 10.a.b.c`.
pub(crate) fn route_get(number: u64) -> Vec<u8> {
    let mut bytes = Bytes::new(GETROUTE, 0, &[2, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.attr(1, &destination(number));
    bytes.done()
}

/// All IPv4 routes.
pub(crate) fn routes() -> Vec<u8> {
    Bytes::new(GETROUTE, DUMP, &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).done()
}

/// What a datagram holds of a type, and whether it ends a dump.
///
/// # Errors
/// It holds an error, or is not made of messages.
pub(crate) fn count(mut datagram: &[u8], wanted: u16) -> Result<(u64, bool)> {
    let (mut found, mut done) = (0, false);
    while !datagram.is_empty() {
        let len = datagram.first_chunk().map(|len| u32::from_ne_bytes(*len)).context("a message without a header")?;
        let len = usize::try_from(len)?;
        ensure!(len >= HEADER && len <= datagram.len(), "a message of {len} bytes in {}", datagram.len());
        let status = || datagram.get(HEADER..HEADER + 4)?.try_into().ok().map(i32::from_ne_bytes);
        match u16::from_ne_bytes([datagram[4], datagram[5]]) {
            NLMSG_DONE => done = true,
            NLMSG_ERROR if status() != Some(0) => bail!("refused: {:?}", status()),
            ty => found += u64::from(ty == wanted),
        }
        datagram = datagram.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok((found, done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_veth_request_is_what_ip_sends() {
        let bytes = veth(7);
        assert_eq!(bytes[..8], [88, 0, 0, 0, 16, 0, 5, 6]);
        assert_eq!(bytes[32..40], [8, 0, 3, 0, b'v', b'7', b'a', 0]);
        assert_eq!(bytes[40..56], *b"\x30\0\x12\0\x09\0\x01\0veth\0\0\0\0");
        assert_eq!(bytes[56..64], [32, 0, 2, 0, 28, 0, 1, 0]);
        assert_eq!(bytes[80..], [8, 0, 3, 0, b'v', b'7', b'b', 0]);
    }

    #[test]
    fn an_error_is_one_and_an_ack_is_none() {
        let mut answer = vec![20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(count(&answer, NEWLINK).expect("an ack"), (0, false));
        answer[16..].copy_from_slice(&(-17i32).to_ne_bytes());
        assert!(count(&answer, NEWLINK).is_err());
        assert!(count(&answer[..19], NEWLINK).is_err());
        assert_eq!(count(&links()[..], 18).expect("a message"), (1, false));
    }
}
