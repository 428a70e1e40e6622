//! One shard's part of the global list of namespaces, in order of publication.
//!
//! Entries are numbered from 1, in order, for ever. Chunks of 64 keep the tree small: to find, add
//! or remove one of a million costs a look into a tree of some ten thousand.

use crate::net::Net;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

const CHUNK: u64 = 64;

#[derive(Default)]
struct Chunk {
    /// At most [`CHUNK`]; grows in the last chunk only.
    nets: Vec<Option<Arc<Net>>>,
    living: u64,
}

/// Protected by its shard's lock.
#[derive(Default)]
pub(crate) struct NetList {
    chunks: BTreeMap<u64, Chunk>,
    last: u64,
    len: usize,
}

impl NetList {
    /// The number it got.
    pub(crate) fn append(&mut self, net: Arc<Net>) -> u64 {
        self.last += 1;
        let chunk = self.chunks.entry(self.last / CHUNK).or_default();
        // The first number is 1: the place of number 0 stays empty.
        chunk.nets.resize((self.last % CHUNK) as usize, None);
        chunk.nets.push(Some(net));
        chunk.living += 1;
        self.len += 1;
        self.last
    }

    pub(crate) fn get(&self, at: u64) -> Option<&Arc<Net>> {
        self.chunks.get(&(at / CHUNK))?.nets.get((at % CHUNK) as usize)?.as_ref()
    }

    pub(crate) fn remove(&mut self, at: u64) -> Option<Arc<Net>> {
        let chunk = self.chunks.get_mut(&(at / CHUNK))?;
        let net = chunk.nets.get_mut((at % CHUNK) as usize)?.take()?;
        chunk.living -= 1;
        self.len -= 1;
        if chunk.living == 0 {
            self.chunks.remove(&(at / CHUNK));
        }
        Some(net)
    }

    /// Up to `max` entries with numbers from `from` on, ascending.
    pub(crate) fn from(&self, from: u64, max: usize) -> impl Iterator<Item = (u64, &Arc<Net>)> {
        self.chunks
            .range(from / CHUNK..)
            .flat_map(|(chunk, entries)| (chunk * CHUNK..).zip(&entries.nets))
            .filter_map(move |(at, net)| (at >= from).then_some(at).zip(net.as_ref()))
            .take(max)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}
