//! Options of a header (RFC 791, 3.1): whether they are sound, and whether this host obeys them.

use super::header::HLEN;

const END: u8 = 0;
const NOP: u8 = 1;
const RECORD_ROUTE: u8 = 7;
const TIMESTAMP: u8 = 68;
const LOOSE_ROUTE: u8 = 131;
const STRICT_ROUTE: u8 = 137;
const ROUTER_ALERT: u8 = 148;

/// What is in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// The sender says by which stations the packet goes.
    pub(super) source_route: bool,
    /// Where the next address is to be recorded, if there is room: from the header on.
    pub(super) record_at: Option<usize>,
}

/// Reads the options of a header (`ip_options_compile`).
///
/// # Errors
/// Where the fault is, from the header on.
pub(super) fn parse(header: &[u8]) -> Result<Options, u8> {
    let mut out = Options::default();
    let mut at = HLEN;
    while let Some(&ty) = header.get(at) {
        if ty == END {
            break;
        }
        if ty == NOP {
            at += 1;
            continue;
        }
        let here = at as u8;
        let Some(option) = header.get(at + 1).and_then(|len| header.get(at..at + usize::from(*len))) else {
            return Err(here);
        };
        if option.len() < 2 {
            return Err(here);
        }
        let len = option.len();
        match ty {
            LOOSE_ROUTE | STRICT_ROUTE | RECORD_ROUTE => {
                if len < 3 {
                    return Err(here + 1);
                }
                let pointer = usize::from(option[2]);
                if pointer < 4 || pointer <= len && pointer + 3 > len {
                    return Err(here + 2);
                }
                out.source_route |= ty != RECORD_ROUTE;
                if ty == RECORD_ROUTE && pointer <= len {
                    out.record_at = Some(at);
                }
            }
            TIMESTAMP => {
                if len < 4 {
                    return Err(here + 1);
                }
                if option[2] < 5 {
                    return Err(here + 2);
                }
            }
            ROUTER_ALERT if len < 4 => return Err(here + 1),
            _ => {}
        }
        at += len;
    }
    Ok(out)
}

/// Writes an address into the record of the route at `at`; the header's checksum is to be written anew.
pub(super) fn record(packet: &mut [u8], at: usize, address: [u8; 4]) {
    let Some(&pointer) = packet.get(at + 2) else { return };
    let place = at + usize::from(pointer).saturating_sub(1);
    if let Some(field) = packet.get_mut(place..place + 4) {
        field.copy_from_slice(&address);
        packet[at + 2] = pointer.saturating_add(4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(options: &[u8]) -> Result<Options, u8> {
        let mut header = vec![0; HLEN];
        header.extend_from_slice(options);
        parse(&header)
    }

    #[test]
    fn options_are_sound_or_the_fault_is_told() {
        assert_eq!(with(&[]), Ok(Options::default()));
        assert_eq!(with(&[1, 1, 148, 4, 0, 0, 0, 0]), Ok(Options::default()));
        assert_eq!(with(&[131, 7, 4, 10, 0, 0, 1, 0]), Ok(Options { source_route: true, record_at: None }));
        assert_eq!(with(&[1, 7, 7, 4, 0, 0, 0, 0]), Ok(Options { source_route: false, record_at: Some(21) }));
        assert_eq!(with(&[7, 7, 8, 1, 2, 3, 4, 0]), Ok(Options::default()));
        assert_eq!(with(&[7, 40, 4, 0]), Err(20));
        assert_eq!(with(&[1, 7, 7, 3, 0, 0, 0, 0]), Err(23));
        assert_eq!(with(&[7, 1, 0, 0]), Err(20));
        assert_eq!(with(&[68, 8, 4, 0, 0, 0, 0, 0]), Err(22));
    }

    #[test]
    fn an_address_is_recorded_where_there_is_room() {
        let mut packet = vec![0; HLEN];
        packet.extend([7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        record(&mut packet, HLEN, [10, 0, 0, 1]);
        record(&mut packet, HLEN, [10, 0, 0, 2]);
        assert_eq!(packet[20..], [7, 11, 12, 10, 0, 0, 1, 10, 0, 0, 2, 0]);
        assert_eq!(parse(&packet), Ok(Options::default()));
    }
}
