//! The three netlink requests that are measured, and their answers. Both systems are sent these very bytes, one on a
//! socket of the kernel and one on a socket of pernet, so that what is compared is the work behind them.

use anyhow::{Context, Result, bail, ensure};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;

/// Length of the message header.
const HEADER: usize = 16;
/// Header and `struct rtgenmsg` with its padding: where the attributes start.
const ATTRS: usize = HEADER + 4;

fn request(ty: u16, flags: u16, seq: u32, attrs: &[(u16, i32)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ATTRS + 8 * attrs.len());
    bytes.extend(((ATTRS + 8 * attrs.len()) as u32).to_ne_bytes());
    bytes.extend(ty.to_ne_bytes());
    bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
    bytes.extend(seq.to_ne_bytes());
    bytes.extend([0; 4 + 4]);
    for (ty, value) in attrs {
        bytes.extend(8u16.to_ne_bytes());
        bytes.extend(ty.to_ne_bytes());
        bytes.extend(value.to_ne_bytes());
    }
    bytes
}

/// `RTM_NEWNSID`: call the namespace behind `fd` by `nsid`, and acknowledge.
pub(crate) fn name(fd: i32, nsid: i32) -> Vec<u8> {
    request(RTM_NEWNSID, NLM_F_ACK, 1, &[(NETNSA_FD, fd), (NETNSA_NSID, nsid)])
}

/// `RTM_GETNSID`: how is the namespace behind `fd` called?
pub(crate) fn find(fd: i32) -> Vec<u8> {
    request(RTM_GETNSID, 0, 1, &[(NETNSA_FD, fd)])
}

/// `RTM_GETNSID` dump: all names.
pub(crate) fn dump() -> Vec<u8> {
    request(RTM_GETNSID, NLM_F_DUMP, 2, &[])
}

/// What a datagram's messages say, one after the other.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// `NLMSG_ERROR`: 0 is an acknowledgement, else a negative errno.
    Status(i32),
    /// `RTM_NEWNSID` with its `NETNSA_NSID`.
    Nsid(i32),
    /// `NLMSG_DONE`.
    Done,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Calls `each` with every answer in `datagram`.
pub(crate) fn answers(mut datagram: &[u8], mut each: impl FnMut(Answer)) -> Result<()> {
    while !datagram.is_empty() {
        let len = i32_at(datagram, 0).context("a message shorter than its header")?;
        let len = usize::try_from(len).context("a message with a negative length")?;
        ensure!(len >= HEADER && len <= datagram.len(), "a message of {len} bytes in a datagram of {}", datagram.len());
        let (message, rest) = datagram.split_at(len);
        datagram = rest;
        match u16_at(message, 4) {
            Some(NLMSG_ERROR) => each(Answer::Status(i32_at(message, HEADER).context("an error without its code")?)),
            Some(NLMSG_DONE) => each(Answer::Done),
            Some(RTM_NEWNSID) => each(Answer::Nsid(nsid_in(message.get(ATTRS..).unwrap_or_default())?)),
            other => bail!("a message of the unexpected type {other:?}"),
        }
    }
    Ok(())
}

fn nsid_in(mut attrs: &[u8]) -> Result<i32> {
    loop {
        let len = usize::from(u16_at(attrs, 0).context("a reply without NETNSA_NSID")?);
        if u16_at(attrs, 2) == Some(NETNSA_NSID) {
            return i32_at(attrs, 4).context("NETNSA_NSID without its value");
        }
        ensure!(len >= 4, "an attribute of {len} bytes");
        attrs = attrs.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
}

/// The one answer of a datagram that must hold exactly one.
pub(crate) fn only(datagram: &[u8]) -> Result<Answer> {
    // Without an allocation: it would be measured with the request.
    let (mut found, mut count) = (None, 0);
    answers(datagram, |answer| {
        found = Some(answer);
        count += 1;
    })?;
    ensure!(count == 1, "{count} messages where one was expected");
    found.context("no answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_layout_of_the_headers() {
        let bytes = name(5, 7);
        assert_eq!(bytes.len(), 36);
        assert_eq!(bytes[..4], 36u32.to_ne_bytes());
        assert_eq!(bytes[6..8], (NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        assert_eq!(bytes[24..28], 5i32.to_ne_bytes());
        assert_eq!(bytes[32..36], 7i32.to_ne_bytes());
        assert_eq!(find(5).len(), 28);
        assert_eq!(dump().len(), 20);
    }

    #[test]
    fn an_answer_is_read_back() {
        let reply = request(RTM_NEWNSID, 0, 1, &[(4, -1), (NETNSA_NSID, 9)]);
        assert_eq!(only(&reply).expect("one answer"), Answer::Nsid(9));
        let both = [reply.clone(), reply].concat();
        assert!(only(&both).is_err());
    }

    #[test]
    fn a_cut_answer_is_an_error_and_not_a_loop() {
        let reply = request(RTM_NEWNSID, 0, 1, &[(NETNSA_NSID, 9)]);
        for len in 1..reply.len() {
            assert!(only(&reply[..len]).is_err(), "{len} bytes");
        }
        assert!(only(&request(RTM_NEWNSID, 0, 1, &[])).is_err());
    }
}
