//! How the tables of ports spread what they find by. They are asked for every packet.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Folds words by multiplication, from a secret on: who is far away chooses what he is found by, and must not be able to
/// choose what falls together. The standard's own takes several times as long for as little as two addresses.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    begin: u64,
    factor: u64,
}

impl Default for Keyed {
    fn default() -> Self {
        let secret = RandomState::new();
        // Odd, so that no bit of a word is lost.
        Self { begin: secret.hash_one(0), factor: secret.hash_one(1) | 1 }
    }
}

impl BuildHasher for Keyed {
    type Hasher = Folding;

    fn build_hasher(&self) -> Folding {
        Folding { sum: self.begin, factor: self.factor }
    }
}

/// What was folded so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folding {
    sum: u64,
    factor: u64,
}

impl Hasher for Folding {
    fn write_u64(&mut self, word: u64) {
        let wide = u128::from(self.sum ^ word) * u128::from(self.factor);
        self.sum = wide as u64 ^ (wide >> 64) as u64;
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(word.into());
    }

    fn write_u16(&mut self, word: u16) {
        self.write_u64(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_u128(&mut self, word: u128) {
        self.write_u64(word as u64);
        self.write_u64((word >> 64) as u64);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.write_u64(u64::from_le_bytes(last) ^ (bytes.len() as u64) << 56);
    }

    fn finish(&self) -> u64 {
        let mut last = *self;
        last.write_u64(0);
        last.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::net::SocketAddr;

    #[test]
    fn neighbours_fall_far_apart_and_every_table_spreads_otherwise() {
        let (one, other) = (Keyed::default(), Keyed::default());
        let ends = |n: u32| {
            let near = SocketAddr::from(([10, 0, (n >> 14) as u8, 1], 80));
            (near, SocketAddr::from(([10, 0, 0, 2], (n & 0x3fff) as u16)))
        };
        // Of as many places as there are, about 63 in a hundred are taken by something.
        for bits in [|hash: u64| hash & 0xffff, |hash: u64| hash >> 48] {
            let taken: HashSet<u64> = (0..0x10000).map(|n| bits(one.hash_one(ends(n)))).collect();
            assert!((39_000..44_000).contains(&taken.len()), "{}", taken.len());
        }
        assert_ne!(one.hash_one(ends(1)), other.hash_one(ends(1)));
    }
}
