//! How many ICMP errors go out (`icmp_global_allow`, `inet_peer_xrlim_allow`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// So many messages to one host may go out in a row.
const BURST: u32 = 6;
/// Hosts that are remembered at once.
const HOSTS: usize = 4096;

/// What went out lately.
#[derive(Debug, Default)]
pub(super) struct IcmpLimit {
    /// Messages that may go out now, to anybody, and when that was counted.
    total: Option<(u64, Duration)>,
    /// Time saved up for each host, and when that was counted.
    hosts: HashMap<IpAddr, (Duration, Duration)>,
}

impl IcmpLimit {
    /// Whether one more may go out to anybody: `per_second`, and `burst` at once.
    pub(super) fn total(&mut self, now: Duration, per_second: u64, burst: u64) -> bool {
        let (left, since) = self.total.unwrap_or((burst, now));
        let more = u64::try_from(now.saturating_sub(since).as_micros()).unwrap_or(u64::MAX);
        let more = more.saturating_mul(per_second) / 1_000_000;
        let left = left.saturating_add(more).min(burst);
        // Counted from where a whole message was earned, or slow trickles would never earn one.
        let since = if more > 0 { now } else { since };
        let allowed = left > 0;
        self.total = Some((left - u64::from(allowed), since));
        allowed
    }

    /// Whether one more may go out to `host`: one in `interval`, after six.
    pub(super) fn host(&mut self, host: IpAddr, now: Duration, interval: Duration) -> bool {
        if interval.is_zero() {
            return true;
        }
        let full = interval.saturating_mul(BURST);
        if self.hosts.len() >= HOSTS && !self.hosts.contains_key(&host) {
            self.hosts.retain(|_, (saved, since)| saved.saturating_add(now.saturating_sub(*since)) < full);
        }
        if self.hosts.len() >= HOSTS && !self.hosts.contains_key(&host) {
            return false;
        }
        let (saved, since) = self.hosts.get(&host).copied().unwrap_or((full, now));
        let saved = saved.saturating_add(now.saturating_sub(since)).min(full);
        let allowed = saved >= interval;
        let left = if allowed { saved - interval } else { saved };
        self.hosts.insert(host, (left, now));
        allowed
    }
}

/// Most redirects to one host in a row, and how long it is left alone then.
const REDIRECTS: u32 = 9;
const SILENCE: Duration = Duration::from_millis(20_480);
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// Which hosts were told of a nearer router (`ip_rt_send_redirect`).
#[derive(Debug, Default)]
pub(super) struct RedirectLimit(HashMap<IpAddr, (u32, Duration)>);

impl RedirectLimit {
    /// Whether the host is told once more: each time only after twice as long, as it does not seem to listen.
    pub(super) fn allows(&mut self, host: IpAddr, now: Duration) -> bool {
        if self.0.len() >= HOSTS && !self.0.contains_key(&host) {
            self.0.retain(|_, (_, last)| now < *last + SILENCE);
        }
        if self.0.len() >= HOSTS && !self.0.contains_key(&host) {
            return false;
        }
        let (told, last) = self.0.entry(host).or_insert((0, now));
        if now > *last + SILENCE {
            *told = 0;
        }
        let due = *told == 0 || now > *last + FIRST_WAIT * (1 << (*told).min(REDIRECTS));
        let allowed = *told < REDIRECTS && due;
        if allowed {
            *told += 1;
        }
        if allowed || *told >= REDIRECTS {
            *last = now;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_in_a_row_to_a_host_then_one_a_second() {
        let mut limit = IcmpLimit::default();
        let host = IpAddr::from([10, 0, 0, 1]);
        let second = Duration::from_secs(1);
        let mut at = |now: u64| limit.host(host, Duration::from_millis(now), second);
        assert_eq!((0..8).filter(|_| at(100_000)).count(), 6);
        assert!(!at(100_900) && at(101_000) && !at(101_500) && at(102_000));
        assert_eq!((0..8).filter(|_| at(200_000)).count(), 6);
    }

    #[test]
    fn who_does_not_listen_is_told_ever_less_often() {
        let mut limit = RedirectLimit::default();
        let host = IpAddr::from([10, 0, 0, 1]);
        let told = (0..30_000).filter(|ms| limit.allows(host, Duration::from_millis(*ms))).count();
        assert_eq!(told, 9);
        assert!(limit.allows(host, Duration::from_millis(60_000)));
    }

    #[test]
    fn fifty_in_a_row_then_a_thousand_a_second() {
        let mut limit = IcmpLimit::default();
        let mut at = |now: u64| limit.total(Duration::from_micros(now), 1000, 50);
        assert_eq!((0..80).filter(|_| at(5_000_000)).count(), 50);
        assert_eq!((0..2000_u64).filter(|i| at(5_000_000 + i * 500)).count(), 999);
    }
}
