//! Time as the kernel shows it: in hundredths of a second (`USER_HZ`).

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Hundredths of a second on the monotonic clock, which wrap after 497 days: Linux's `jiffies` as `IFLA_INET6_CACHEINFO`
/// and `IFA_CACHEINFO` show them, so that programs can compare them with their own clock.
///
/// The time of the last tick, as jiffies are: a fifth of the price of the exact time, and every creation pays it.
pub(crate) fn monotonic_centiseconds() -> u32 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    let centiseconds = now.tv_sec.wrapping_mul(100).wrapping_add(now.tv_nsec / 10_000_000);
    // Only the low 32 bits go over the wire.
    (centiseconds & i64::from(u32::MAX)) as u32
}

/// A moment or a span in hundredths of a second.
pub(crate) fn centiseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / 10).unwrap_or(u64::MAX)
}

/// A moment as `cstamp` and `tstamp` carry it: of the hundredths of a second the low 32 bits, which wrap after 497 days.
pub(crate) const fn stamp(time: Duration) -> u32 {
    ((time.as_millis() / 10) & 0xffff_ffff) as u32
}
