//! The devices of one namespace.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::relations::Relations;
use super::{IfName, LOOPBACK, Link, LinkError, LinkRefused, NameAssign};
use crate::errno;
use crate::state::{Changing, Generation};

/// Names are looked up by walking the table up to this many devices; beyond, an index is kept. Most namespaces have a
/// handful of devices and should not pay for a hash table.
const WALK_UP_TO: usize = 8;

/// Highest interface index (`INT_MAX`).
const MAX_INDEX: u32 = i32::MAX as u32;

/// A stretch of the table for a dump, taken in one look.
#[derive(Clone, Debug)]
pub struct LinkPage {
    /// Devices in ascending order of their index.
    pub links: Vec<Arc<Link>>,
    /// The table's [generation](Links::generation) at that look. A dump whose pages differ in it was interrupted
    /// (`NLM_F_DUMP_INTR`).
    pub generation: u32,
}

/// The device table of a namespace (`dev_base_head`, the two hashes beside it, `ifindex` and `dev_base_seq`).
#[derive(Debug)]
pub struct Links {
    /// Made by whoever asks first: most namespaces are created and dropped without anybody looking at their devices.
    ///
    /// The lock protects the whole table, and nothing else. It ranks with its namespace's stack in the lock order (below
    /// the namespace list, above the peer table and the netlink bus). Nothing is called while it is held but the closure
    /// of [`Links::update`], which only edits a value.
    table: OnceLock<Box<Place>>,
    /// A number that differs between namespaces; see [`Links::salt`].
    salt: u32,
    /// When the loopback device came, in hundredths of a second of the monotonic clock; `None` for a table without.
    born: Option<u32>,
}

#[derive(Debug)]
struct Place {
    table: RwLock<Table>,
    changes: Generation,
}

#[derive(Debug)]
pub(super) struct Table {
    /// Ascending by index. New devices nearly always have the highest index, so inserting is appending.
    by_index: Vec<Arc<Link>>,
    /// Every name and alternative name → index; only kept beyond [`WALK_UP_TO`] devices.
    by_name: Option<HashMap<Box<str>, u32>>,
    /// Where to begin looking for a free number, for patterns that were used lately.
    hints: Vec<Hint>,
    /// Who is stacked on whom; made when somebody is.
    pub(super) relations: Option<Box<Relations>>,
    /// Last index handed out automatically.
    last_index: u32,
    /// `dev_base_seq`: 1 at first, never 0.
    generation: u32,
}

/// Numbers below this are found by looking.
const HINT_FROM: u32 = 16;
/// Patterns remembered at once.
const MAX_HINTS: usize = 4;
/// Numbers that a pattern is tried with: as many as there are bits in a page, eight times.
const MAX_NUMBERED: u32 = 8 * 4096;

/// All names of a pattern with numbers below `from` are taken.
#[derive(Debug)]
struct Hint {
    before: Box<str>,
    after: Box<str>,
    from: u32,
}

impl Hint {
    fn is(&self, before: &str, after: &str) -> bool {
        *self.before == *before && *self.after == *after
    }

    /// A name is free again.
    fn freed(&mut self, name: &str) {
        let number = name.strip_prefix(&*self.before).and_then(|rest| rest.strip_suffix(&*self.after));
        if let Some(number) = number.and_then(|n| n.parse().ok()) {
            self.from = self.from.min(number);
        }
    }
}

impl Links {
    /// An empty table. `salt` is a number that differs from namespace to namespace.
    #[must_use]
    pub const fn new(salt: u32) -> Self {
        Self { table: OnceLock::new(), salt, born: None }
    }

    /// A table that begins with the loopback device, index 1, which came at `now` (hundredths of a second of the
    /// monotonic clock).
    #[must_use]
    pub(super) const fn with_loopback(salt: u32, now: u32) -> Self {
        Self { table: OnceLock::new(), salt, born: Some(now) }
    }

    /// The namespace's salt, for values that must differ between namespaces but mean nothing (obscured pointers).
    #[must_use]
    pub const fn salt(&self) -> u32 {
        self.salt
    }

    /// Puts `link` into the table with the index `wanted`, or with the next free one, and returns it as it stands there
    /// (`register_netdevice`).
    ///
    /// Automatic indexes go upwards and start over at 1 after the largest; an explicit one does not move the sequence,
    /// and a freed one is not given out again before the sequence comes round.
    ///
    /// # Errors
    /// If the index or one of the link's names is in use, or no index is left.
    pub fn insert(&self, link: Link, wanted: Option<u32>) -> Result<Arc<Link>, LinkError> {
        self.write().insert(link, wanted)
    }

    /// Takes a device out of the table (`unlist_netdevice`); those who hold it keep their reading.
    ///
    /// # Errors
    /// [`LinkError::NoSuchLink`].
    pub fn remove(&self, index: u32) -> Result<Arc<Link>, LinkError> {
        let mut table = self.write();
        let place = table.at(index).map_err(|_| LinkError::NoSuchLink)?;
        let link = table.by_index.remove(place);
        table.unlisted(&link);
        table.bump();
        Ok(link)
    }

    /// The index that a device which moves here gets: its own if that is free, else the next.
    pub(super) fn index_for(&self, own: u32) -> Result<u32, LinkError> {
        let mut table = self.write();
        if table.at(own).is_err() { Ok(own) } else { table.next_index() }
    }

    /// Whether a device has that name or alternative name.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.read().named(name).is_some()
    }

    /// Devices of a group, in order of their indexes.
    pub(super) fn of_group(&self, group: u32) -> Vec<u32> {
        self.read().by_index.iter().filter(|l| l.group == group).map(|l| l.index).collect()
    }

    /// Changes a device: `edit` gets a copy, which then takes the place of the old reading. Names go through
    /// [`Links::rename`] and [`Links::set_alt_names`], which can refuse.
    ///
    /// # Errors
    /// [`LinkError::NoSuchLink`].
    pub fn update(&self, index: u32, edit: impl FnOnce(&mut Link)) -> Result<Arc<Link>, LinkError> {
        let mut table = self.write();
        let place = table.at(index).map_err(|_| LinkError::NoSuchLink)?;
        let mut link = Link::clone(&table.by_index[place]);
        edit(&mut link);
        let link = Arc::new(link);
        table.by_index[place] = Arc::clone(&link);
        Ok(link)
    }

    /// Gives a device another name (`dev_change_name`).
    ///
    /// # Errors
    /// [`LinkError::NoSuchLink`]; [`LinkError::NameTaken`] if the name is that of another device or anyone's
    /// alternative name.
    pub fn rename(&self, index: u32, name: IfName) -> Result<Arc<Link>, LinkError> {
        let mut table = self.write();
        let place = table.at(index).map_err(|_| LinkError::NoSuchLink)?;
        let old = Arc::clone(&table.by_index[place]);
        if old.name == name {
            return Ok(old);
        }
        if table.named(name.as_str()).is_some() {
            return Err(LinkError::NameTaken);
        }
        let mut link = Link::clone(&old);
        link.name = name;
        Ok(table.replace_names(place, link))
    }

    /// Gives a device these alternative names in place of those it has (`IFLA_PROP_LIST`).
    ///
    /// # Errors
    /// [`LinkError::NoSuchLink`]; [`LinkError::NameTaken`] if one of them is in use or stands twice in the list.
    pub fn set_alt_names(&self, index: u32, alt_names: Vec<Box<str>>) -> Result<Arc<Link>, LinkError> {
        let mut table = self.write();
        let place = table.at(index).map_err(|_| LinkError::NoSuchLink)?;
        let old = Arc::clone(&table.by_index[place]);
        for (i, name) in alt_names.iter().enumerate() {
            let kept = old.alt_names.contains(name);
            if alt_names[..i].contains(name) || (!kept && table.named(name).is_some()) {
                return Err(LinkError::NameTaken);
            }
        }
        let mut link = Link::clone(&old);
        link.alt_names = alt_names;
        Ok(table.replace_names(place, link))
    }

    /// The name that a request for `name` gives (`dev_prep_valid_name`): itself if it is free, or if it contains a `%d`,
    /// with the lowest number that makes one that is free.
    ///
    /// # Errors
    /// It is no name, it is taken, or no number is free.
    pub(super) fn name_for(&self, name: &str) -> Result<IfName, LinkRefused> {
        let valid = IfName::new(name)?;
        let Some((before, after)) = name.split_once('%') else {
            return if self.read().named(name).is_some() { Err(LinkError::NameTaken.into()) } else { Ok(valid) };
        };
        // One number, and nothing else that begins with a percent sign.
        let after = after.strip_prefix('d').filter(|after| !after.contains('%'));
        let after = after.ok_or(LinkRefused::plain(errno::EINVAL))?;
        self.write().numbered(before, after)
    }

    /// Forgets every device: the namespace is gone.
    pub(super) fn clear(&self) {
        *self.write() = Table::new(None);
    }

    /// Whether nobody has looked yet: there is the loopback device at most.
    pub(super) fn untouched(&self) -> bool {
        self.table.get().is_none()
    }

    /// The device with that index (`dev_get_by_index`).
    #[must_use]
    pub fn by_index(&self, index: u32) -> Option<Arc<Link>> {
        let table = self.read();
        table.at(index).ok().map(|place| Arc::clone(&table.by_index[place]))
    }

    /// The device with that name or alternative name (`dev_get_by_name`).
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<Arc<Link>> {
        self.read().named(name).cloned()
    }

    /// Up to `max` devices from index `start` on, in order. A dump goes on at the last index it saw plus one, so it
    /// skips none that stays and repeats none, whatever comes and goes meanwhile.
    #[must_use]
    pub fn from_index(&self, start: u32, max: usize) -> LinkPage {
        let table = self.read();
        let place = table.by_index.partition_point(|l| l.index < start);
        let links = table.by_index[place..].iter().take(max).cloned().collect();
        LinkPage { links, generation: table.generation }
    }

    /// All devices in order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Link>> {
        self.from_index(0, usize::MAX).links
    }

    /// The number of devices.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().by_index.len()
    }

    /// Whether there is no device.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `dev_base_seq`: changes with every device that comes, goes or gets another name; never 0.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.read().generation
    }

    // A panic while the lock is held can only be one of `edit`'s, which works on a copy: the table is whole.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.place().table.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> Changing<'_, Table> {
        let place = self.place();
        Changing::new(&place.table, &place.changes)
    }

    /// To change who is stacked on whom, and who is behind which port: packets do that, and no way is found by it.
    pub(super) fn write_relations(&self) -> RwLockWriteGuard<'_, Table> {
        self.place().table.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves with every change of any device.
    pub(crate) fn generation_of_all(&self) -> u64 {
        self.table.get().map_or(0, |place| place.changes.get())
    }

    fn place(&self) -> &Place {
        self.table.get_or_init(|| {
            let table = Table::new(self.born.map(|born| loopback(self.salt, born)));
            Box::new(Place { table: RwLock::new(table), changes: Generation::new() })
        })
    }
}

/// The loopback device as it came to be at `born`.
fn loopback(salt: u32, born: u32) -> Link {
    let mut lo = Link::new(&LOOPBACK, IfName::LO);
    lo.name_assign = NameAssign::Predictable;
    lo.inet6_changed = born;
    // RFC 4861 wants ReachableTime spread over half to one and a half of 30 s; the salt is as random as it needs.
    lo.inet6_reachable_ms = 15_000 + salt % 30_000;
    lo
}

impl Table {
    fn new(first: Option<Link>) -> Self {
        let mut table = Self {
            by_index: Vec::new(),
            by_name: None,
            hints: Vec::new(),
            relations: None,
            last_index: 0,
            generation: 1,
        };
        if let Some(first) = first {
            table.by_index.reserve_exact(1);
            // Into an empty table: no name and no index can be taken.
            let _ = table.insert(first, None);
        }
        table
    }

    fn insert(&mut self, mut link: Link, wanted: Option<u32>) -> Result<Arc<Link>, LinkError> {
        let mut names = std::iter::once(link.name.as_str()).chain(link.alt_names.iter().map(AsRef::as_ref));
        if names.any(|name| self.named(name).is_some()) {
            return Err(LinkError::NameTaken);
        }
        link.index = match wanted {
            Some(index) if index == 0 || index > MAX_INDEX => return Err(LinkError::BadIndex),
            Some(index) if self.at(index).is_ok() => return Err(LinkError::IndexTaken),
            Some(index) => index,
            None => self.next_index()?,
        };
        let link = Arc::new(link);
        let place = self.by_index.partition_point(|l| l.index < link.index);
        self.by_index.insert(place, Arc::clone(&link));
        self.listed(&link);
        Ok(link)
    }

    /// The place of the device with that index, or the place where it belongs.
    pub(super) fn find(&self, index: u32) -> Option<&Arc<Link>> {
        self.at(index).ok().map(|place| &self.by_index[place])
    }

    fn at(&self, index: u32) -> Result<usize, usize> {
        // Numbers are given in a row from 1 on, so where none was taken back the place is known; in a table of 10,000 a
        // search misses the processor's cache at each of its steps.
        let guess = (index as usize).wrapping_sub(1);
        if self.by_index.get(guess).is_some_and(|l| l.index == index) {
            return Ok(guess);
        }
        self.by_index.binary_search_by_key(&index, |l| l.index)
    }

    fn named(&self, name: &str) -> Option<&Arc<Link>> {
        match &self.by_name {
            Some(map) => self.at(*map.get(name)?).ok().map(|place| &self.by_index[place]),
            None => self.by_index.iter().find(|l| names_of(l).any(|n| n == name)),
        }
    }

    /// The name with the lowest number between `before` and `after` that is free.
    fn numbered(&mut self, before: &str, after: &str) -> Result<IfName, LinkRefused> {
        let mut number = self.hints.iter().find(|h| h.is(before, after)).map_or(0, |h| h.from);
        while number < MAX_NUMBERED {
            let name = format!("{before}{number}{after}");
            if self.named(&name).is_none() {
                // Whether the name fits is found out at the first number that is free.
                let name = IfName::new(&name).map_err(|_| LinkRefused::plain(errno::EINVAL))?;
                self.hint(before, after, number);
                return Ok(name);
            }
            number += 1;
        }
        Err(LinkError::Full.into())
    }

    /// Remembers that every number below `from` is taken.
    fn hint(&mut self, before: &str, after: &str, from: u32) {
        if let Some(hint) = self.hints.iter_mut().find(|h| h.is(before, after)) {
            hint.from = from;
        } else if from >= HINT_FROM {
            if self.hints.len() >= MAX_HINTS {
                self.hints.remove(0);
            }
            self.hints.push(Hint { before: before.into(), after: after.into(), from });
        }
    }

    /// The index after the last one given out that is free, coming round after the largest.
    fn next_index(&mut self) -> Result<u32, LinkError> {
        if self.by_index.len() as u64 >= u64::from(MAX_INDEX) {
            return Err(LinkError::Full);
        }
        let mut index = self.last_index;
        loop {
            index = if index >= MAX_INDEX { 1 } else { index + 1 };
            if self.at(index).is_err() {
                self.last_index = index;
                return Ok(index);
            }
        }
    }

    /// Puts `link`, which has other names, in its place.
    fn replace_names(&mut self, place: usize, link: Link) -> Arc<Link> {
        let link = Arc::new(link);
        let old = std::mem::replace(&mut self.by_index[place], Arc::clone(&link));
        self.unlisted(&old);
        self.listed(&link);
        link
    }

    /// After `link` came into the table: its names into the index, which begins with the device too many to walk.
    fn listed(&mut self, link: &Link) {
        if let Some(map) = &mut self.by_name {
            map.extend(names_of(link).map(|n| (n.into(), link.index)));
        } else if self.by_index.len() > WALK_UP_TO {
            let all = self.by_index.iter();
            self.by_name = Some(all.flat_map(|l| names_of(l).map(|n| (n.into(), l.index))).collect());
        }
        self.bump();
    }

    /// After `link` left the table: its names out of the index.
    fn unlisted(&mut self, link: &Link) {
        for hint in &mut self.hints {
            names_of(link).for_each(|name| hint.freed(name));
        }
        if let Some(map) = &mut self.by_name {
            for name in names_of(link) {
                map.remove(name);
            }
        }
    }

    fn bump(&mut self) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
    }
}

fn names_of(link: &Link) -> impl Iterator<Item = &str> {
    std::iter::once(link.name.as_str()).chain(link.alt_names.iter().map(AsRef::as_ref))
}

#[cfg(test)]
mod tests {
    use super::super::LOOPBACK;
    use super::*;

    fn named(name: &str) -> Link {
        Link::new(&LOOPBACK, IfName::new(name).unwrap())
    }

    fn indexes(page: &LinkPage) -> Vec<u32> {
        page.links.iter().map(|l| l.index()).collect()
    }

    #[test]
    fn c175_indexes_go_up_and_are_not_reused_at_once() {
        let links = Links::new(0);
        for (name, index) in [("lo", 1), ("a0", 2), ("a1", 3)] {
            assert_eq!(links.insert(named(name), None).unwrap().index(), index);
        }
        links.remove(3).unwrap();
        assert_eq!(links.insert(named("a2"), None).unwrap().index(), 4);
        assert_eq!(links.insert(named("far"), Some(50)).unwrap().index(), 50);
        assert_eq!(links.insert(named("next"), None).unwrap().index(), 5);
        assert_eq!(links.insert(named("six"), Some(6)).unwrap().index(), 6);
        assert_eq!(links.insert(named("skips"), None).unwrap().index(), 7);
        assert_eq!(indexes(&links.from_index(0, 99)), [1, 2, 4, 5, 6, 7, 50]);
    }

    #[test]
    fn the_sequence_comes_round() {
        let links = Links::new(0);
        links.insert(named("lo"), None).unwrap();
        links.write().last_index = MAX_INDEX - 1;
        assert_eq!(links.insert(named("last"), None).unwrap().index(), MAX_INDEX);
        assert_eq!(links.insert(named("round"), None).unwrap().index(), 2);
    }

    #[test]
    fn refusals_change_nothing() {
        let links = Links::new(0);
        links.insert(named("lo"), None).unwrap();
        let generation = links.generation();
        let refused = |link: Link, index| links.insert(link, index).map(|l| l.index());
        assert_eq!(refused(named("lo"), None), Err(LinkError::NameTaken));
        assert_eq!(refused(named("x"), Some(1)), Err(LinkError::IndexTaken));
        assert_eq!(refused(named("x"), Some(0)), Err(LinkError::BadIndex));
        assert_eq!(refused(named("x"), Some(1 << 31)), Err(LinkError::BadIndex));
        assert_eq!(links.remove(9).map(|l| l.index()), Err(LinkError::NoSuchLink));
        assert_eq!((links.len(), links.generation()), (1, generation));
    }

    #[test]
    fn names_are_found_whether_walked_or_indexed() {
        let links = Links::new(0);
        for i in 0..40 {
            let index = links.insert(named(&format!("d{i}")), None).unwrap().index();
            links.set_alt_names(index, vec![format!("alternative-{i}").into()]).unwrap();
            for j in 0..=i {
                assert_eq!(links.by_name(&format!("d{j}")).map(|l| l.index()), Some(j + 1));
                assert_eq!(links.by_name(&format!("alternative-{j}")).map(|l| l.index()), Some(j + 1));
            }
            assert!(links.by_name(&format!("d{}", i + 1)).is_none());
        }
        links.rename(40, IfName::new("other").unwrap()).unwrap();
        assert!(links.by_name("d39").is_none());
        assert_eq!(links.by_name("other").unwrap().index(), 40);
        links.remove(40).unwrap();
        assert!(links.by_name("other").is_none() && links.by_name("alternative-39").is_none());
    }

    #[test]
    fn a_name_has_one_owner() {
        let links = Links::new(0);
        links.insert(named("a"), None).unwrap();
        links.insert(named("b"), None).unwrap();
        let alt = |names: &[&str]| links.set_alt_names(1, names.iter().map(|&n| n.into()).collect()).map(|_| ());
        assert_eq!(alt(&["b"]), Err(LinkError::NameTaken));
        assert_eq!(alt(&["x", "x"]), Err(LinkError::NameTaken));
        assert_eq!(alt(&["x"]), Ok(()));
        assert_eq!(alt(&["x", "y"]), Ok(()));
        let rename = |index, name| links.rename(index, IfName::new(name).unwrap()).map(|_| ());
        assert_eq!(rename(2, "a"), Err(LinkError::NameTaken));
        assert_eq!(rename(2, "y"), Err(LinkError::NameTaken));
        assert_eq!(rename(2, "b"), Ok(()));
        assert_eq!(rename(9, "z"), Err(LinkError::NoSuchLink));
    }

    #[test]
    fn an_idle_namespace_has_no_device_in_memory_and_a_loopback_when_asked() {
        let links = Links::with_loopback(40_007, 1234);
        assert!(size_of::<Links>() <= 32 && links.table.get().is_none());
        assert_eq!((links.salt(), links.table.get().is_none()), (40_007, true), "the salt is no reason to make it");
        let lo = links.by_index(1).unwrap();
        assert_eq!((lo.name().as_str(), lo.inet6_changed, lo.inet6_reachable_ms), ("lo", 1234, 25_007));
        assert_eq!((links.len(), links.generation()), (1, 2), "as if it had been there from the beginning");
        assert!(Arc::ptr_eq(&lo, &links.by_name("lo").unwrap()), "there is one");
        assert_eq!(links.insert(named("next"), None).unwrap().index(), 2);
        assert!(Links::new(0).is_empty());
    }

    #[test]
    fn an_update_is_seen_by_new_readers_only() {
        let links = Links::new(0);
        let before = links.insert(named("lo"), None).unwrap();
        links.update(1, |l| l.mtu = 1500).unwrap();
        assert_eq!((before.mtu, links.by_index(1).unwrap().mtu), (65_536, 1500));
    }

    #[test]
    fn every_list_change_has_its_generation() {
        let links = Links::new(0);
        let mut seen = vec![links.generation()];
        links.insert(named("a"), None).unwrap();
        seen.push(links.generation());
        links.rename(1, IfName::new("b").unwrap()).unwrap();
        seen.push(links.generation());
        links.remove(1).unwrap();
        seen.push(links.generation());
        assert!(seen.windows(2).all(|w| w[0] != w[1]), "{seen:?}");
        links.write().generation = u32::MAX;
        links.insert(named("a"), None).unwrap();
        assert_eq!(links.generation(), 1);
    }
}
