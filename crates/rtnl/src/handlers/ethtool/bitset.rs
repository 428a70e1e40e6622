//! Sets of named bits, in words or bit by bit.

use pernet_stack::{ETH_SS_FEATURES, eth_names};
use pernet_wire::{Attr, Builder, Errno, ExtAck};

const NOMASK: u16 = 1;
const SIZE: u16 = 2;
const BITS: u16 = 3;
const VALUE: u16 = 4;
const MASK: u16 = 5;
const BIT: u16 = 1;
const BIT_INDEX: u16 = 1;
const BIT_NAME: u16 = 2;
const BIT_VALUE: u16 = 3;

/// A set of `size` bits: those of `mask` are told, as in `values`; without a mask, those that are set.
pub(super) struct Bits<'a> {
    pub(super) size: u32,
    pub(super) values: u64,
    pub(super) mask: Option<u64>,
    pub(super) names: &'a [&'a str],
    pub(super) compact: bool,
}

impl Bits<'_> {
    pub(super) fn put(&self, out: &mut Builder, ty: u16) {
        out.nest_flagged(ty, |set| {
            if self.mask.is_none() {
                set.put_flag(NOMASK);
            }
            set.put_u32(SIZE, self.size);
            if self.compact {
                set.put(VALUE, &self.words(self.values));
                if let Some(mask) = self.mask {
                    set.put(MASK, &self.words(mask));
                }
                return;
            }
            set.nest_flagged(BITS, |bits| {
                let told = self.mask.unwrap_or(self.values);
                for index in (0..self.size.min(64)).filter(|i| told >> i & 1 == 1) {
                    bits.nest_flagged(BIT, |bit| {
                        bit.put_u32(BIT_INDEX, index);
                        bit.put_str(BIT_NAME, self.names.get(index as usize).copied().unwrap_or_default());
                        if self.mask.is_some() && self.values >> index & 1 == 1 {
                            bit.put_flag(BIT_VALUE);
                        }
                    });
                }
            });
        });
    }

    /// In words of 32 bits.
    fn words(&self, bits: u64) -> Vec<u8> {
        let mut bytes = bits.to_ne_bytes().to_vec();
        bytes.resize(self.size.div_ceil(32) as usize * 4, 0);
        bytes
    }
}

/// Reads a set of features: which are meant, and their values.
pub(super) fn read(attr: &Attr<'_>, ext: &mut ExtAck) -> Result<(u64, u64), Errno> {
    let inside = |ty| attr.nested().find(|a| a.ty == ty);
    let word = |attr: Option<Attr<'_>>| {
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(attr.map_or(&[][..], |a| a.payload)) {
            *to = *from;
        }
        u64::from_ne_bytes(bytes)
    };
    let whole = inside(NOMASK).is_some();
    let Some(bits) = inside(BITS) else {
        if inside(SIZE).is_none() || inside(VALUE).is_none() {
            return Err(Errno::EINVAL);
        }
        let mask = if whole { u64::MAX } else { word(inside(MASK)) };
        return Ok((mask, word(inside(VALUE)) & mask));
    };
    let names = eth_names(ETH_SS_FEATURES).unwrap_or_default();
    let (mut mask, mut values) = (if whole { u64::MAX } else { 0 }, 0);
    for bit in bits.nested().filter(|a| a.ty == BIT) {
        let part = |ty| bit.nested().find(|a| a.ty == ty);
        let index = match (part(BIT_INDEX), part(BIT_NAME)) {
            (Some(index), _) => match index.u32().filter(|i| *i < 64) {
                Some(index) => index,
                None => {
                    ext.set_msg_attr("bit index too high", &index);
                    return Err(Errno::EOPNOTSUPP);
                }
            },
            (None, Some(name)) => {
                let at = names.iter().position(|n| !n.is_empty() && n.as_bytes() == name.str_bytes());
                match at.and_then(|at| u32::try_from(at).ok()) {
                    Some(at) => at,
                    None => {
                        ext.set_msg_attr("bit name not found", &name);
                        return Err(Errno::EOPNOTSUPP);
                    }
                }
            }
            (None, None) => {
                ext.set_msg_attr("neither bit index nor name specified", &bit);
                return Err(Errno::EINVAL);
            }
        };
        mask |= 1 << index;
        if whole || part(BIT_VALUE).is_some() {
            values |= 1 << index;
        }
    }
    Ok((mask, values))
}
