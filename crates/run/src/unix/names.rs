//! What programs call their sockets, and what the kernel does.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pernet::NetRef;

use super::calls::Parked;
use super::peers::Peers;
use crate::world::lock;

/// The longest name that the kernel takes.
const LONGEST: usize = 107;
/// Six bits each, in letters that every listing can show.
const LETTERS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz-";
/// Of 32 bits.
const WORD: usize = 6;
/// How our names begin: the name follows, or, where that would be too long, what stands for it.
const WHOLE: &[u8; 3] = b"pn:";
const SHORT: &[u8; 3] = b"pn;";

fn letters(number: u64, count: usize) -> impl Iterator<Item = u8> {
    (0..count).map(move |at| LETTERS[(number >> (6 * at) & 63) as usize])
}

/// The names of a run.
pub(crate) struct Names {
    /// Tells this run's names from all others'.
    run: u32,
    /// Somebody has a name: from now on, names may come back.
    any: AtomicBool,
    /// Numbers of those who were given a name.
    given: AtomicU32,
    /// Names that are too long to be had whole, by what stands for them. A leaf lock.
    long: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    hasher: RandomState,
    /// Who asked for the connections that we made.
    pub(super) peers: Peers,
    /// Calls that wait. A leaf lock.
    pub(super) parked: Mutex<Vec<Parked>>,
}

impl Default for Names {
    fn default() -> Self {
        let hasher = RandomState::new();
        let run = hasher.hash_one(std::process::id()) as u32;
        Self {
            run,
            any: AtomicBool::new(false),
            given: AtomicU32::new(hasher.hash_one(run) as u32),
            long: Mutex::default(),
            hasher,
            peers: Peers::default(),
            parked: Mutex::default(),
        }
    }
}

impl Names {
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// What the kernel is to call it that is called `name` in `net`.
    pub(super) fn outside(&self, net: &NetRef, name: &[u8]) -> Vec<u8> {
        let mut out = WHOLE.to_vec();
        out.extend(letters(self.run.into(), WORD));
        out.extend(letters(net.cookie().get(), WORD));
        if out.len() + name.len() <= LONGEST {
            out.extend_from_slice(name);
            return out;
        }
        out[..SHORT.len()].copy_from_slice(SHORT);
        for part in 0..2u8 {
            out.extend(letters(self.hasher.hash_one((part, name)), 11));
        }
        lock(&self.long).insert(out.clone(), name.to_vec());
        out
    }

    /// What programs call it that the kernel calls `name`; `None` if it is not of this run.
    pub(super) fn inside(&self, name: &[u8]) -> Option<Vec<u8>> {
        let (begin, rest) = name.split_first_chunk::<3>()?;
        let rest = rest.strip_prefix(letters(self.run.into(), WORD).collect::<Vec<u8>>().as_slice())?;
        match begin {
            WHOLE => rest.get(WORD..).map(<[u8]>::to_vec),
            SHORT => lock(&self.long).get(name).cloned(),
            _ => None,
        }
    }

    /// Somebody has a name from now on.
    pub(super) fn taken(&self) {
        self.any.store(true, Ordering::Release);
    }

    /// A name for who did not ask for any: five digits, as the kernel's.
    pub(super) fn give(&self) -> String {
        format!("{:05x}", self.given.fetch_add(1, Ordering::Relaxed) & 0xf_ffff)
    }
}

#[cfg(test)]
mod tests {
    use pernet::Namespaces;

    use super::*;

    #[test]
    fn names_of_two_namespaces_differ_and_come_back_the_same() {
        let system = Namespaces::new();
        let (a, b) = (system.init_net(), system.create(&pernet::Cred::root(system.init_user_ns())).unwrap());
        let names = Names::default();
        for name in [&b""[..], b"x", b"with\0zeros", &[7; 92], &[7; 93], &[9; 107]] {
            let (in_a, in_b) = (names.outside(&a, name), names.outside(&b, name));
            assert!(in_a != in_b && in_a.len() <= LONGEST, "{name:?}");
            assert_eq!(names.inside(&in_a).as_deref(), Some(name));
            assert_eq!(names.inside(&in_b).as_deref(), Some(name));
            assert_eq!(names.outside(&a, name), in_a);
        }
        assert_eq!(names.inside(b"pn:somebody else's"), None);
        assert_eq!(Names { run: names.run ^ 1, ..Names::default() }.inside(&names.outside(&a, b"x")), None);
    }
}
