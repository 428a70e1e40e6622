//! Acknowledgements, errors and the end of a dump: `NLMSG_ERROR` and `NLMSG_DONE`, built and read.

use alloc::vec::Vec;

use crate::attr::align4;
use crate::builder::Builder;
use crate::errno::Errno;
use crate::extack::ExtAck;
use crate::message::{HEADER_LEN, Msg, MsgHeader};
use crate::uapi::*;

/// Builds the `NLMSG_ERROR` that answers `request` for the socket with port `port`.
///
/// `result` is `Ok` for an ack and the errno otherwise. `ext_ack` and `cap_ack` are the requester's `NETLINK_EXT_ACK`
/// and `NETLINK_CAP_ACK`. A failure without `cap_ack` carries the whole request, everything else only its header and
/// the flag `NLM_F_CAPPED` (successful acks always do).
pub fn error_reply(
    request: &Msg<'_>,
    port: u32,
    result: Result<(), Errno>,
    ext: &ExtAck,
    ext_ack: bool,
    cap_ack: bool,
) -> Vec<u8> {
    let failed = result.is_err();
    let whole = failed && !cap_ack;
    let copied = if whole { request.raw } else { request.raw.get(..HEADER_LEN).unwrap_or(request.raw) };
    let tlvs = ext_ack && ext.has_tlvs(failed);
    let mut flags = if whole { 0 } else { NLM_F_CAPPED };
    if tlvs {
        flags |= NLM_F_ACK_TLVS;
    }
    let code = result.map_or_else(Errno::wire, |()| 0);
    let mut out = Builder::append_to(Vec::with_capacity(HEADER_LEN + 4 + align4(copied.len())));
    out.begin(&MsgHeader::new(NLMSG_ERROR, flags, request.header.seq, port));
    out.put_raw(&code.to_ne_bytes()).put_raw(copied);
    if tlvs {
        ext.write_tlvs(&mut out, failed);
    }
    out.finish()
}

/// Builds the `NLMSG_DONE` that ends a dump: flags `NLM_F_MULTI`, and for a failure the negative errno with, when
/// `ext_ack` is on, its TLVs (flag `NLM_F_ACK_TLVS`).
pub fn done(port: u32, seq: u32, result: Result<(), Errno>, ext: &ExtAck, ext_ack: bool) -> Vec<u8> {
    let failed = result.is_err();
    let tlvs = ext_ack && ext.has_tlvs(failed);
    let flags = NLM_F_MULTI | if tlvs { NLM_F_ACK_TLVS } else { 0 };
    let code = result.map_or_else(Errno::wire, |()| 0);
    let mut out = Builder::message(&MsgHeader::new(NLMSG_DONE, flags, seq, port));
    out.put_raw(&code.to_ne_bytes());
    if tlvs {
        ext.write_tlvs(&mut out, failed);
    }
    out.finish()
}

/// An `NLMSG_ERROR` or `NLMSG_DONE` as its receiver reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Success or the errno.
    pub result: Result<(), Errno>,
    /// The request's header, `None` in a `NLMSG_DONE`.
    pub request: Option<MsgHeader>,
    /// What was said beside the errno.
    pub ext: ExtAck,
}

impl Reply {
    /// Reads an answer; `None` when the message is neither an error nor an end of dump, or is cut short, or carries a
    /// number that is no errno.
    pub fn read(msg: &Msg<'_>) -> Option<Self> {
        let payload = msg.payload();
        let code = i32::from_ne_bytes(*payload.first_chunk()?);
        let result = match code {
            0 => Ok(()),
            _ => Err(Errno::new(code.checked_neg()?)?),
        };
        let (request, tlvs_at) = match msg.header.ty {
            NLMSG_DONE => (None, 4),
            NLMSG_ERROR => {
                let request = MsgHeader::read(payload.get(4..)?)?;
                let capped = msg.header.flags & NLM_F_CAPPED != 0;
                let copied = if capped { HEADER_LEN } else { align4(usize::try_from(request.len).ok()?) };
                (Some(request), copied.saturating_add(4))
            }
            _ => return None,
        };
        let ext = if msg.header.flags & NLM_F_ACK_TLVS != 0 {
            ExtAck::read_tlvs(payload.get(tlvs_at..).unwrap_or(&[]))
        } else {
            ExtAck::default()
        };
        Some(Self { result, request, ext })
    }
}
