//! Control messages in a program's memory.

use pernet_stack::ControlMessage;

use crate::mem::Memory;
use crate::msghdr::MsgHeader;

/// Before the data of each: its length with this, level and kind.
const HEADER: usize = 16;
/// More control data than `net.core.optmem_max` lets anybody send.
const LONGEST: usize = 131_072;

/// What a program sends along with a message.
///
/// # Errors
/// EINVAL for lengths that do not fit, ENOBUFS for too much, EFAULT.
pub(crate) fn read(memory: Memory, header: &MsgHeader) -> Result<Vec<ControlMessage>, i32> {
    if header.control == 0 || header.control_len < HEADER {
        return Ok(Vec::new());
    }
    if header.control_len > LONGEST {
        return Err(libc::ENOBUFS);
    }
    let raw = memory.bytes(header.control, header.control_len).map_err(|e| e.errno())?;
    parse(&raw)
}

fn parse(mut raw: &[u8]) -> Result<Vec<ControlMessage>, i32> {
    let mut out = Vec::new();
    while let Some((head, _)) = raw.split_first_chunk::<HEADER>() {
        let [a, b, c, d, e, f, g, h, level @ .., i, j, k, l] = *head;
        let len = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
        let len = usize::try_from(len).ok().filter(|&len| len >= HEADER && len <= raw.len()).ok_or(libc::EINVAL)?;
        let kind = i32::from_ne_bytes([i, j, k, l]);
        out.push(ControlMessage { level: i32::from_ne_bytes(level), kind, data: raw[HEADER..len].to_vec() });
        raw = raw.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    Ok(out)
}

/// As much as fits into `room` bytes, and whether that was not all (MSG_CTRUNC).
pub(crate) fn bytes(messages: &[ControlMessage], room: usize) -> (Vec<u8>, bool) {
    let mut out: Vec<u8> = Vec::new();
    for message in messages {
        let left = room.saturating_sub(out.len());
        if left < HEADER {
            return (out, true);
        }
        let whole = HEADER + message.data.len();
        let len = whole.min(left);
        out.extend((len as u64).to_ne_bytes());
        out.extend(message.level.to_ne_bytes());
        out.extend(message.kind.to_ne_bytes());
        out.extend(&message.data[..len - HEADER]);
        if len < whole {
            return (out, true);
        }
        out.resize(out.len().next_multiple_of(8).min(room), 0);
    }
    (out, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_form_of_the_kernel() {
        let message = |kind, data: &[u8]| ControlMessage { level: 0, kind, data: data.to_vec() };
        let all = vec![message(8, b"abcdefghijkl"), message(2, b"x"), message(1, b"")];
        let (raw, cut) = bytes(&all, 200);
        assert!(!cut);
        assert_eq!(parse(&raw), Ok(all.clone()));
        let (raw, cut) = bytes(&all, 20);
        assert!(cut);
        assert_eq!(parse(&raw), Ok(vec![message(8, b"abcd")]));
        assert_eq!(parse(&[0; 24]), Err(libc::EINVAL));
    }
}
