//! `SIOCETHTOOL`: the older way to ask what ethtool asks.
//!
//! A request is a structure in the caller's memory that begins with the command; the answer goes into the same place.

use pernet::{Cap, NetRef, Origin};
use pernet_stack::{ETH_SS_FEATURES, EthChannels, Link, eth_names};

use super::Outcome;
use crate::mem::Memory;
use crate::task::Task;
use crate::world::World;

const GSET: u32 = 0x01;
const GDRVINFO: u32 = 0x03;
const GLINK: u32 = 0x0a;
const GSTRINGS: u32 = 0x1b;
const GSTATS: u32 = 0x1d;
const GPERMADDR: u32 = 0x20;
const GFLAGS: u32 = 0x25;
const SFLAGS: u32 = 0x26;
const GSSET_INFO: u32 = 0x37;
const GFEATURES: u32 = 0x3a;
const SFEATURES: u32 = 0x3b;
const GCHANNELS: u32 = 0x3c;
const GET_TS_INFO: u32 = 0x41;
const GLINKSETTINGS: u32 = 0x4c;

/// Commands that ask whether any of these features is on; the next number switches them.
const SWITCHES: [(u32, u64); 6] = [
    (0x14, 1 << 40),
    (0x16, 1 << 1 | 1 << 3 | 1 << 4 | 1 << 36 | 1 << 37),
    (0x18, 1),
    (0x1e, 1 << 16 | 1 << 18 | 1 << 19 | 1 << 20),
    (0x23, 1 << 11),
    (0x2b, 1 << 14),
];

/// Bits of `GFLAGS`, and the features they are.
const FLAGS: [(u32, u64); 5] =
    [(1 << 7, 1 << 7), (1 << 8, 1 << 8), (1 << 15, 1 << 15), (1 << 27, 1 << 38), (1 << 28, 1 << 39)];

/// Set of the driver's own counters.
const STATS: u32 = 1;
/// Bytes of a name.
const NAME: usize = 32;

/// What to put into the caller's memory, and where.
type Answer = Result<Vec<(u64, Vec<u8>)>, i32>;

struct Asked<'a> {
    world: &'a World,
    task: Task,
    net: &'a NetRef,
    link: &'a Link,
    at: u64,
}

impl Asked<'_> {
    fn word(&self, offset: u64) -> Result<u32, i32> {
        Memory::of(self.task.tid).u32(self.at + offset).map_err(|e| e.errno())
    }

    fn strings(&self, set: u32) -> Vec<String> {
        if set == STATS {
            return self.link.eth_counters().into_iter().map(|c| c.0).collect();
        }
        eth_names(set).unwrap_or_default().iter().map(|n| (*n).to_owned()).collect()
    }

    fn active(&self) -> u64 {
        self.world.stack.eth_features(self.net, self.link).active
    }

    /// Switches the features of `mask`.
    fn switch(&self, mask: u64, values: u64) -> Result<pernet_stack::EthFeaturesChange, i32> {
        if !self.world.users.cred(self.task).capable(self.net.owner(), Cap::NetAdmin) {
            return Err(libc::EPERM);
        }
        Ok(self.world.stack.rtnl(Origin::KERNEL).set_eth_features(self.net, self.link, mask, values))
    }
}

/// Answers a request about `link`, whose structure is at `at`.
pub(super) fn handle(world: &World, task: Task, net: &NetRef, link: &Link, at: u64) -> Outcome {
    let asked = Asked { world, task, net, link, at };
    let answer = asked.word(0).and_then(|command| answer(&asked, command));
    match answer {
        Err(e) => Outcome::Errno(e),
        Ok(parts) => {
            for (offset, bytes) in parts {
                if let Err(e) = Memory::of(task.tid).write(at + offset, &bytes) {
                    return Outcome::Errno(e.errno());
                }
            }
            Outcome::Value(0)
        }
    }
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_ne_bytes()).collect()
}

/// The value behind the command.
fn value(value: u32) -> Answer {
    Ok(vec![(4, words(&[value]))])
}

fn answer(asked: &Asked<'_>, command: u32) -> Answer {
    let link = asked.link;
    if let Some((_, mask)) = SWITCHES.iter().find(|s| s.0 == command) {
        return value(u32::from(asked.active() & mask != 0));
    }
    if let Some((_, mask)) = SWITCHES.iter().find(|s| s.0 + 1 == command) {
        let on = asked.word(4)? != 0;
        asked.switch(*mask, if on { *mask } else { 0 })?;
        return Ok(Vec::new());
    }
    match command {
        GDRVINFO => drvinfo(link),
        GLINK => value(u32::from(link.eth_link().ok_or(libc::EOPNOTSUPP)?)),
        GSET => {
            let settings = link.eth_settings().ok_or(libc::EOPNOTSUPP)?;
            let mut out = [0; 44];
            out[..4].copy_from_slice(&GSET.to_ne_bytes());
            out[12..16].copy_from_slice(&(settings.speed & 0xffff).to_ne_bytes());
            (out[14], out[15]) = (settings.duplex, settings.port);
            // struct ethtool_cmd keeps the upper half of the speed elsewhere.
            out[28..30].copy_from_slice(&((settings.speed >> 16) as u16).to_ne_bytes());
            Ok(vec![(0, out.to_vec())])
        }
        GLINKSETTINGS => link_settings(asked),
        GSTRINGS => {
            let names = asked.strings(asked.word(4)?);
            if names.is_empty() {
                return Err(libc::EOPNOTSUPP);
            }
            let fixed = |name: &String| {
                let mut out = [0; NAME];
                let len = name.len().min(NAME - 1);
                out[..len].copy_from_slice(&name.as_bytes()[..len]);
                out
            };
            Ok(vec![(8, words(&[names.len() as u32])), (12, names.iter().flat_map(fixed).collect())])
        }
        GSTATS => {
            let counters = link.eth_counters();
            if counters.is_empty() {
                return Err(libc::EOPNOTSUPP);
            }
            let values = counters.iter().flat_map(|c| c.1.to_ne_bytes()).collect();
            Ok(vec![(4, words(&[counters.len() as u32])), (8, values)])
        }
        GSSET_INFO => sset_info(asked),
        GPERMADDR => {
            let len = link.address.as_bytes().len();
            if (asked.word(4)? as usize) < len {
                return Err(libc::EINVAL);
            }
            let mut address = link.permanent_address.as_bytes().to_vec();
            address.resize(len, 0);
            Ok(vec![(4, words(&[len as u32])), (8, address)])
        }
        GFLAGS => {
            let active = asked.active();
            value(FLAGS.iter().filter(|f| active & f.1 != 0).fold(0, |sum, f| sum | f.0))
        }
        SFLAGS => {
            let wanted = asked.word(4)?;
            let known = FLAGS.iter().fold(0, |sum, f| sum | f.0);
            if wanted & !known != 0 {
                return Err(libc::EINVAL);
            }
            let mask = FLAGS.iter().fold(0, |sum, f| sum | f.1);
            let values = FLAGS.iter().filter(|f| wanted & f.0 != 0).fold(0, |sum, f| sum | f.1);
            let unable = (asked.active() ^ values) & mask & !asked.world.stack.eth_features(asked.net, link).hw;
            if unable != 0 {
                return Err(libc::EINVAL);
            }
            asked.switch(mask, values)?;
            Ok(Vec::new())
        }
        GFEATURES => {
            let features = asked.world.stack.eth_features(asked.net, link);
            let room = asked.word(4)? as usize;
            let sets = [features.hw, features.wanted, features.active, features.nochange];
            let block = |i: u32| sets.map(|s| (s >> (32 * i)) as u32);
            let blocks: Vec<u32> = (0..2).take(room).flat_map(block).collect();
            Ok(vec![(4, words(&[2])), (8, words(&blocks))])
        }
        SFEATURES => {
            if asked.word(4)? != 2 {
                return Err(libc::EINVAL);
            }
            let part =
                |offset| Ok::<u64, i32>(u64::from(asked.word(offset)?) | u64::from(asked.word(offset + 8)?) << 32);
            let (valid, requested) = (part(8)?, part(12)?);
            if valid >> eth_names(ETH_SS_FEATURES).map_or(64, <[_]>::len).min(63) > 1 {
                return Err(libc::EINVAL);
            }
            asked.switch(valid, requested)?;
            Ok(Vec::new())
        }
        GCHANNELS => {
            let counts = match link.eth_channels().ok_or(libc::EOPNOTSUPP)? {
                EthChannels::Apart { rx_max, tx_max, rx, tx } => [rx_max, tx_max, 0, 0, rx, tx, 0, 0],
                EthChannels::Combined { max, now } => [0, 0, 0, max, 0, 0, 0, now],
            };
            Ok(vec![(4, words(&counts))])
        }
        // No clock of its own: index -1.
        GET_TS_INFO => {
            let mut out = vec![link.eth_timestamping(), u32::MAX];
            out.resize(10, 0);
            Ok(vec![(4, words(&out))])
        }
        _ => Err(libc::EOPNOTSUPP),
    }
}

fn drvinfo(link: &Link) -> Answer {
    let driver = link.eth_driver().ok_or(libc::EOPNOTSUPP)?;
    let mut out = [0; 196];
    out[..4].copy_from_slice(&GDRVINFO.to_ne_bytes());
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let version = if driver.version.is_empty() { &release } else { driver.version };
    for (place, text) in [driver.name, version, driver.firmware, driver.bus].into_iter().enumerate() {
        let at = 4 + place * NAME;
        let len = text.len().min(NAME - 1);
        out[at..at + len].copy_from_slice(&text.as_bytes()[..len]);
    }
    out[180..184].copy_from_slice(&(link.eth_counters().len() as u32).to_ne_bytes());
    Ok(vec![(0, out.to_vec())])
}

fn link_settings(asked: &Asked<'_>) -> Answer {
    /// Words of each of the three masks of link modes.
    const WORDS: i8 = 4;
    let settings = asked.link.eth_settings().ok_or(libc::EOPNOTSUPP)?;
    let [.., given] = asked.word(12)?.to_ne_bytes();
    let mut out = [0; 48 + 3 * 4 * WORDS as usize];
    out[..4].copy_from_slice(&GLINKSETTINGS.to_ne_bytes());
    if given.cast_signed() != WORDS {
        // First the caller is told how much room it needs.
        out[15] = (-WORDS).cast_unsigned();
        return Ok(vec![(0, out[..48].to_vec())]);
    }
    out[4..8].copy_from_slice(&settings.speed.to_ne_bytes());
    (out[8], out[9], out[15]) = (settings.duplex, settings.port, WORDS.cast_unsigned());
    Ok(vec![(0, out.to_vec())])
}

/// Which of the sets asked for there are, and how large they are.
fn sset_info(asked: &Asked<'_>) -> Answer {
    let wanted = u64::from(asked.word(8)?) | u64::from(asked.word(12)?) << 32;
    let (mut known, mut counts) = (0u64, Vec::new());
    for set in (0..64).filter(|set| wanted >> set & 1 == 1) {
        let count = asked.strings(set).len();
        if count > 0 {
            known |= 1 << set;
            counts.push(count as u32);
        }
    }
    Ok(vec![(8, known.to_ne_bytes().to_vec()), (16, words(&counts))])
}
