//! What routers are told of a group: of whom somebody here hears in it, and what of that is new (RFC 3376, 5.1).

use std::collections::BTreeSet;
use std::net::IpAddr;

/// Kinds of records.
pub(super) mod kind {
    pub(in super::super) const IS_INCLUDE: u8 = 1;
    pub(in super::super) const IS_EXCLUDE: u8 = 2;
    pub(in super::super) const TO_INCLUDE: u8 = 3;
    pub(in super::super) const TO_EXCLUDE: u8 = 4;
    pub(in super::super) const ALLOW: u8 = 5;
    pub(in super::super) const BLOCK: u8 = 6;
}

/// Of whom this host hears in a group on a device, all listeners together: of these alone, or of all but these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hears {
    pub(crate) only: bool,
    pub(crate) sources: BTreeSet<IpAddr>,
}

impl Hears {
    /// Of nobody: nobody listens.
    pub(super) const fn nobody() -> Self {
        Self { only: true, sources: BTreeSet::new() }
    }

    /// Is it no more than what is true of any group that is listened to?
    pub(super) fn is_plain(&self) -> bool {
        !self.only && self.sources.is_empty()
    }
}

/// A record of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) kind: u8,
    pub(super) group: IpAddr,
    pub(super) sources: Vec<IpAddr>,
}

/// What is to be told of a group, each as often as is left.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) group: IpAddr,
    /// Somebody listens now, or nobody does any more: routers of older versions are told no more than that.
    pub(super) joined: (bool, u32),
    /// Whether those who are named are heard has become another matter: all is told anew.
    mode: u32,
    /// Senders that are heard now, or not any more.
    sources: Vec<(IpAddr, bool, u32)>,
}

impl Change {
    pub(super) const fn new(group: IpAddr) -> Self {
        Self { group, joined: (true, 0), mode: 0, sources: Vec::new() }
    }

    /// What was heard is another than before, which is to be told so often.
    pub(super) fn note(&mut self, before: &Hears, now: &Hears, times: u32) {
        if before.only != now.only {
            self.mode = times;
            self.sources.clear();
            return;
        }
        let mut set = |source: IpAddr, heard: bool| {
            self.sources.retain(|(known, ..)| *known != source);
            self.sources.push((source, heard, times));
        };
        now.sources.difference(&before.sources).for_each(|source| set(*source, now.only));
        before.sources.difference(&now.sources).for_each(|source| set(*source, !now.only));
    }

    /// The records of it, of a group of which `now` holds. What is told anew tells of all senders.
    pub(super) fn records(&self, now: &Hears, out: &mut Vec<Record>) {
        let group = self.group;
        if self.mode > 0 {
            let kind = if now.only { kind::TO_INCLUDE } else { kind::TO_EXCLUDE };
            return out.push(Record { kind, group, sources: now.sources.iter().copied().collect() });
        }
        for (kind, wanted) in [(kind::ALLOW, true), (kind::BLOCK, false)] {
            let of_kind = self.sources.iter().filter(|(_, heard, _)| *heard == wanted);
            let sources: Vec<_> = of_kind.map(|(source, ..)| *source).collect();
            if !sources.is_empty() {
                out.push(Record { kind, group, sources });
            }
        }
    }

    /// It was told once. Whether it is to be told again.
    pub(super) fn told(&mut self) -> bool {
        self.joined.1 = self.joined.1.saturating_sub(1);
        self.mode = self.mode.saturating_sub(1);
        self.sources.iter_mut().for_each(|(.., left)| *left -= 1);
        self.sources.retain(|(.., left)| *left > 0);
        self.joined.1 > 0 || self.mode > 0 || !self.sources.is_empty()
    }
}

/// What is answered to a router that asks for these senders of a group, or for the whole group if for none: of those alone
/// who are heard, but all of whom is not heard, as Linux has it.
pub(super) fn answer(group: IpAddr, now: &Hears, asked: &[IpAddr]) -> Option<Record> {
    let all = || now.sources.iter().copied().collect();
    let heard: Vec<_> = asked.iter().filter(|s| now.sources.contains(s) == now.only).copied().collect();
    let (kind, sources) = match (now.only, asked.is_empty()) {
        (_, false) if heard.is_empty() => return None,
        (true, false) => (kind::IS_INCLUDE, heard),
        (true, true) => (kind::IS_INCLUDE, all()),
        (false, _) => (kind::IS_EXCLUDE, all()),
    };
    Some(Record { kind, group, sources })
}

fn put(message: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => message.extend(address.octets()),
        IpAddr::V6(address) => message.extend(address.octets()),
    }
}

/// Messages of this type with these records, each with no more than `room` bytes of them.
pub(super) fn messages(ty: u8, records: &[Record], room: usize) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let (mut body, mut count) = (Vec::new(), 0u16);
    let mut end = |body: &mut Vec<u8>, count: &mut u16| {
        if *count > 0 {
            let mut message = vec![ty, 0, 0, 0, 0, 0];
            message.extend(std::mem::take(count).to_be_bytes());
            message.append(body);
            out.push(message);
        }
    };
    for record in records {
        let len = if record.group.is_ipv4() { 4 } else { 16 };
        let most = (room.saturating_sub(4 + len) / len).max(1);
        // Of all but these: who is left out is heard, and asked of again. Others are told in parts.
        let whole = matches!(record.kind, kind::IS_EXCLUDE | kind::TO_EXCLUDE);
        let parts = record.sources.chunks(most).take(if whole { 1 } else { usize::MAX });
        let none: &[IpAddr] = &[];
        let parts = parts.chain(record.sources.is_empty().then_some(none));
        for sources in parts {
            if body.len() + 4 + len + len * sources.len() > room {
                end(&mut body, &mut count);
            }
            body.extend([record.kind, 0]);
            body.extend((sources.len() as u16).to_be_bytes());
            put(&mut body, record.group);
            sources.iter().for_each(|source| put(&mut body, *source));
            count += 1;
        }
    }
    end(&mut body, &mut count);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn hears(only: bool, sources: &[u8]) -> Hears {
        Hears { only, sources: sources.iter().map(|last| at(*last)).collect() }
    }

    fn told(change: &Change, now: &Hears) -> Vec<(u8, Vec<IpAddr>)> {
        let mut out = Vec::new();
        change.records(now, &mut out);
        out.into_iter().map(|record| (record.kind, record.sources)).collect()
    }

    #[test]
    fn what_is_new_is_told_as_often_as_is_asked_for() {
        let mut change = Change::new(IpAddr::from([232, 1, 1, 1]));
        let steps = [hears(true, &[]), hears(true, &[1, 2]), hears(true, &[2, 3])];
        change.note(&steps[0], &steps[1], 2);
        assert_eq!(told(&change, &steps[1]), [(kind::ALLOW, vec![at(1), at(2)])]);
        assert!(change.told());
        change.note(&steps[1], &steps[2], 2);
        assert_eq!(told(&change, &steps[2]), [(kind::ALLOW, vec![at(2), at(3)]), (kind::BLOCK, vec![at(1)])]);
        assert!(change.told());
        assert_eq!(told(&change, &steps[2]), [(kind::ALLOW, vec![at(3)]), (kind::BLOCK, vec![at(1)])]);
        assert!(!change.told());
        // All but those: who is named is not heard.
        let all = [hears(false, &[]), hears(false, &[9])];
        change.note(&steps[2], &all[0], 2);
        change.note(&all[0], &all[1], 2);
        assert_eq!(told(&change, &all[1]), [(kind::TO_EXCLUDE, vec![at(9)])]);
        assert!(change.told() && !change.told());
        change.note(&all[1], &all[0], 1);
        assert_eq!(told(&change, &all[0]), [(kind::ALLOW, vec![at(9)])]);
    }

    #[test]
    fn a_router_is_answered_what_it_asks() {
        let group = at(1);
        let kind_and = |now: &Hears, asked: &[IpAddr]| answer(group, now, asked).map(|r| (r.kind, r.sources));
        assert_eq!(kind_and(&hears(true, &[1]), &[]), Some((kind::IS_INCLUDE, vec![at(1)])));
        assert_eq!(kind_and(&hears(false, &[]), &[]), Some((kind::IS_EXCLUDE, vec![])));
        assert_eq!(kind_and(&hears(true, &[1, 2]), &[at(2), at(3)]), Some((kind::IS_INCLUDE, vec![at(2)])));
        assert_eq!(kind_and(&hears(false, &[2]), &[at(2), at(3)]), Some((kind::IS_EXCLUDE, vec![at(2)])));
        assert_eq!(kind_and(&hears(false, &[2]), &[at(2)]), None);
    }

    #[test]
    fn what_does_not_fit_into_one_message_goes_into_several() {
        let record = |kind, sources: &[u8]| Record {
            kind,
            group: at(0),
            sources: sources.iter().map(|last| at(*last)).collect(),
        };
        let all = messages(0x22, &[record(kind::TO_EXCLUDE, &[]), record(kind::ALLOW, &[1, 2, 3])], 16);
        assert_eq!(all.len(), 3);
        assert_eq!(all[0], [0x22, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 10, 0, 0, 0]);
        assert_eq!(all[1][8..], [5, 0, 0, 2, 10, 0, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        assert_eq!(all[2][8..], [5, 0, 0, 1, 10, 0, 0, 0, 10, 0, 0, 3]);
        assert_eq!(messages(0x22, &[record(kind::IS_EXCLUDE, &[1, 2, 3])], 16).len(), 1);
        assert!(messages(0x22, &[], 16).is_empty());
    }
}
