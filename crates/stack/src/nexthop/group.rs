//! Groups of nexthop objects.

/// A member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: u32,
    /// Its share of the traffic, 1 to 65,536.
    pub weight: u32,
}

/// What a request says about a resilient group. Times are in hundredths of a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResilientConfig {
    /// Number of buckets.
    pub buckets: Option<u16>,
    /// A bucket without traffic for so long may change its owner.
    pub idle_timer: Option<u32>,
    /// After so long any bucket may; 0 for never.
    pub unbalanced_timer: Option<u32>,
}

/// A group as a request names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupConfig {
    /// Members.
    pub members: Vec<Member>,
    /// Resilient, and how.
    pub resilient: Option<ResilientConfig>,
}

/// A piece of the hash space of a resilient group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The member that has it.
    pub nexthop: u32,
    /// When it got it, hundredths of a second on the stack's clock.
    pub since: u64,
}

/// How a resilient group spreads traffic: by buckets that keep their owner as long as possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resilient {
    /// The buckets.
    pub buckets: Vec<Bucket>,
    /// Hundredths of a second.
    pub idle_timer: u32,
    /// Hundredths of a second.
    pub unbalanced_timer: u32,
}

/// What a new resilient group has if the request does not say: 120 s, and never.
const IDLE_TIMER: u32 = 12_000;

impl Resilient {
    pub(super) fn new(config: ResilientConfig, count: u16, members: &[Member], now: u64) -> Self {
        let mut out = Self {
            buckets: vec![Bucket { nexthop: 0, since: now }; count.into()],
            idle_timer: config.idle_timer.unwrap_or(IDLE_TIMER),
            unbalanced_timer: config.unbalanced_timer.unwrap_or(0),
        };
        out.balance(members, now);
        out
    }

    /// Gives each member its share: buckets of who has too many, or is no member, go to who has too few.
    pub(super) fn balance(&mut self, members: &[Member], now: u64) {
        let total: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
        let count = self.buckets.len() as u64;
        let (mut weights, mut given) = (0, 0);
        // Rounded so that the shares add up to the whole.
        let mut wanted: Vec<(u32, u64)> = Vec::with_capacity(members.len());
        for member in members {
            weights += u64::from(member.weight);
            let up_to = (count * weights * 2 + total) / (total * 2).max(1);
            wanted.push((member.id, up_to - given));
            given = up_to;
        }
        let has = |buckets: &[Bucket], id: u32| buckets.iter().filter(|bucket| bucket.nexthop == id).count() as u64;
        for at in 0..self.buckets.len() {
            let owner = self.buckets[at].nexthop;
            let share = wanted.iter().find(|(id, _)| *id == owner).map_or(0, |(_, share)| *share);
            if has(&self.buckets, owner) <= share {
                continue;
            }
            let poor = wanted.iter().rev().find(|(id, share)| has(&self.buckets, *id) < *share);
            if let Some((id, _)) = poor {
                self.buckets[at] = Bucket { nexthop: *id, since: now };
            }
        }
    }
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Members in the order in which they were given.
    pub members: Vec<Member>,
    /// For entries of a forwarding table.
    pub fdb: bool,
    /// How it spreads traffic, if not by hash alone.
    pub resilient: Option<Resilient>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(resilient: &Resilient) -> Vec<u32> {
        resilient.buckets.iter().map(|bucket| bucket.nexthop).collect()
    }

    #[test]
    fn buckets_go_by_weight_and_stay_where_they_can() {
        let even = [Member { id: 1, weight: 1 }, Member { id: 2, weight: 1 }];
        let mut resilient = Resilient::new(ResilientConfig::default(), 4, &even, 0);
        assert_eq!(owners(&resilient), [2, 2, 1, 1]);
        resilient.balance(&[Member { id: 1, weight: 3 }, Member { id: 2, weight: 1 }], 5);
        assert_eq!(owners(&resilient), [1, 2, 1, 1]);
        assert_eq!((resilient.buckets[0].since, resilient.buckets[1].since), (5, 0));
        resilient.balance(&[Member { id: 1, weight: 3 }], 9);
        assert_eq!(owners(&resilient), [1, 1, 1, 1]);
    }
}
