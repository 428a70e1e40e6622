//! Classic BPF, as sockets' filters are written in it (`sk_filter`).

use crate::errno;

/// An instruction (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterInstruction {
    /// What to do.
    pub code: u16,
    /// How many instructions to pass over if a test holds.
    pub jt: u8,
    /// And if it does not.
    pub jf: u8,
    /// The number that it takes.
    pub k: u32,
}

/// As many as a filter may have (`BPF_MAXINSNS`).
const LONGEST: usize = 4096;
/// From here on an offset means something about the packet (`SKF_AD_OFF`).
const ANCILLARY: u32 = (-0x1000i32).cast_unsigned();
/// From here on an offset is from the network header (`SKF_NET_OFF`), and from the link-layer header (`SKF_LL_OFF`).
const FROM_NETWORK: u32 = (-0x10_0000i32).cast_unsigned();
const FROM_LINK: u32 = (-0x20_0000i32).cast_unsigned();

/// A filter that was looked through: its jumps stay inside and it ends.
#[derive(Clone, Debug)]
pub(crate) struct Filter(Box<[FilterInstruction]>);

/// What a filter sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'p> {
    /// The bytes as the program gets them.
    pub(crate) data: &'p [u8],
    /// From the link-layer header on.
    pub(crate) link: &'p [u8],
    /// Where the network header is in `link`.
    pub(crate) network: usize,
    pub(crate) protocol: u16,
    pub(crate) kind: u8,
    pub(crate) ifindex: u32,
    pub(crate) mark: u32,
    pub(crate) hatype: u16,
}

impl Filter {
    /// Looks a program through (`bpf_check_classic`).
    ///
    /// # Errors
    /// `EINVAL`.
    pub(crate) fn new(program: &[FilterInstruction]) -> Result<Self, i32> {
        if program.is_empty() || program.len() > LONGEST {
            return Err(errno::EINVAL);
        }
        for (at, i) in program.iter().enumerate() {
            let left = program.len() - at - 1;
            let inside = match (i.code & 7, i.code) {
                (0x05, 0x05) => (i.k as usize) < left,
                (0x05, _) => usize::from(i.jt.max(i.jf)) < left,
                (0x04, 0x34 | 0x94) => i.k != 0,
                (0x00 | 0x01, code) if code & 0xe0 == 0x60 => i.k < 16,
                (0x02 | 0x03, _) => i.k < 16,
                _ => true,
            };
            if !inside {
                return Err(errno::EINVAL);
            }
        }
        let ends = program.last().is_some_and(|last| last.code & 7 == 0x06);
        if ends { Ok(Self(program.into())) } else { Err(errno::EINVAL) }
    }

    /// The program.
    pub(crate) const fn program(&self) -> &[FilterInstruction] {
        &self.0
    }

    /// How many bytes of the packet the program wants; 0 for none of it.
    pub(crate) fn run(&self, seen: &Seen<'_>) -> u32 {
        let (mut a, mut x, mut memory, mut pc) = (0u32, 0u32, [0u32; 16], 0usize);
        // Jumps go forward only: it ends.
        while let Some(i) = self.0.get(pc) {
            pc += 1;
            let k = i.k;
            match i.code {
                0x00 => a = k,
                0x01 => x = k,
                0x60 => a = memory[k as usize & 15],
                0x61 => x = memory[k as usize & 15],
                0x02 => memory[k as usize & 15] = a,
                0x03 => memory[k as usize & 15] = x,
                0x80 => a = seen.data.len() as u32,
                0x81 => x = seen.data.len() as u32,
                0x20 | 0x28 | 0x30 | 0x40 | 0x48 | 0x50 => {
                    let at = if i.code & 0x60 == 0x40 { k.wrapping_add(x) } else { k };
                    let size = match i.code & 0x18 {
                        0x00 => 4,
                        0x08 => 2,
                        _ => 1,
                    };
                    let Some(value) = seen.load(at, size, a, x) else { return 0 };
                    a = value;
                }
                0xb1 => {
                    let Some(byte) = seen.load(k, 1, a, x) else { return 0 };
                    x = (byte & 0xf) << 2;
                }
                0x07 => x = a,
                0x87 => a = x,
                0x06 => return k,
                0x16 => return a,
                0x0e => return x,
                0x05 => pc += k as usize,
                code if code & 7 == 0x05 => {
                    let operand = if code & 8 == 0 { k } else { x };
                    let holds = match code & 0xf0 {
                        0x10 => a == operand,
                        0x20 => a > operand,
                        0x30 => a >= operand,
                        _ => a & operand != 0,
                    };
                    pc += usize::from(if holds { i.jt } else { i.jf });
                }
                code if code & 7 == 0x04 => {
                    let operand = if code & 8 == 0 { k } else { x };
                    let Some(value) = compute(code & 0xf0, a, operand) else { return 0 };
                    a = value;
                }
                _ => return 0,
            }
        }
        0
    }
}

/// `None` for a division by nothing.
fn compute(operation: u16, a: u32, operand: u32) -> Option<u32> {
    Some(match operation {
        0x00 => a.wrapping_add(operand),
        0x10 => a.wrapping_sub(operand),
        0x20 => a.wrapping_mul(operand),
        0x30 => a.checked_div(operand)?,
        0x40 => a | operand,
        0x50 => a & operand,
        0x60 => a.wrapping_shl(operand),
        0x70 => a.wrapping_shr(operand),
        0x80 => a.wrapping_neg(),
        0x90 => a.checked_rem(operand)?,
        _ => a ^ operand,
    })
}

impl Seen<'_> {
    fn load(&self, at: u32, size: usize, a: u32, x: u32) -> Option<u32> {
        if at >= ANCILLARY {
            return self.ancillary(at - ANCILLARY, a, x);
        }
        let (bytes, at) = if at >= FROM_NETWORK {
            (self.link, self.network + (at - FROM_NETWORK) as usize)
        } else if at >= FROM_LINK {
            (self.link, (at - FROM_LINK) as usize)
        } else {
            (self.data, at as usize)
        };
        let bytes = bytes.get(at..)?.get(..size)?;
        Some(bytes.iter().fold(0, |sum, &byte| sum << 8 | u32::from(byte)))
    }

    /// `SKF_AD_*`.
    fn ancillary(&self, what: u32, _a: u32, x: u32) -> Option<u32> {
        Some(match what {
            0 => self.protocol.into(),
            4 => self.kind.into(),
            8 => self.ifindex,
            20 => self.mark,
            28 => self.hatype.into(),
            40 => x,
            // Payload's offset, queue, hash, CPU, VLAN tags: nothing is told of them.
            _ => 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(text: &[(u16, u8, u8, u32)]) -> Vec<FilterInstruction> {
        text.iter().map(|&(code, jt, jf, k)| FilterInstruction { code, jt, jf, k }).collect()
    }

    fn seen(data: &[u8]) -> Seen<'_> {
        Seen { data, link: data, network: 14, protocol: 0x800, kind: 4, ifindex: 7, mark: 0, hatype: 1 }
    }

    /// `tcpdump -d udp port 53` over Ethernet, its IPv4 half.
    #[test]
    fn a_filter_of_tcpdumps_decides() {
        let filter = Filter::new(&program(&[
            (0x28, 0, 0, 12),
            (0x15, 0, 8, 0x800),
            (0x30, 0, 0, 23),
            (0x15, 0, 6, 17),
            (0x28, 0, 0, 20),
            (0x45, 4, 0, 0x1fff),
            (0xb1, 0, 0, 14),
            (0x48, 0, 0, 16),
            (0x15, 0, 1, 53),
            (0x06, 0, 0, 262_144),
            (0x06, 0, 0, 0),
        ]))
        .unwrap();
        let mut packet = [0; 42];
        packet[12..15].copy_from_slice(&[8, 0, 0x45]);
        packet[23] = 17;
        packet[36..38].copy_from_slice(&[0, 53]);
        assert_eq!(filter.run(&seen(&packet)), 262_144);
        packet[37] = 54;
        assert_eq!(filter.run(&seen(&packet)), 0);
        assert_eq!(filter.run(&seen(&packet[..30])), 0);
    }

    #[test]
    fn what_is_known_beside_the_bytes_can_be_asked() {
        let kind = Filter::new(&program(&[(0x28, 0, 0, ANCILLARY + 4), (0x16, 0, 0, 0)])).unwrap();
        assert_eq!(kind.run(&seen(&[])), 4);
        let network = Filter::new(&program(&[(0x30, 0, 0, FROM_NETWORK), (0x16, 0, 0, 0)])).unwrap();
        let mut packet = [0; 20];
        packet[14] = 9;
        assert_eq!(network.run(&seen(&packet)), 9);
    }

    #[test]
    fn jumps_out_of_the_program_are_refused() {
        for bad in
            [&[(0x05, 0, 0, 1), (0x06, 0, 0, 0)][..], &[(0x15, 5, 0, 0), (0x06, 0, 0, 0)], &[(0x00, 0, 0, 0)], &[]]
        {
            assert_eq!(Filter::new(&program(bad)).err(), Some(errno::EINVAL), "{bad:?}");
        }
    }
}
