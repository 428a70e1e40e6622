//! A moment of the stack's clock, in half the room that a [`Duration`] takes: a connection remembers eight.

use std::num::NonZeroU64;
use std::time::Duration;

/// Nanoseconds since the clock began, to 584 years; what is later is then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(
    /// One more than that.
    NonZeroU64,
);

impl Moment {
    /// When the clock began.
    pub(super) const ZERO: Self = Self(NonZeroU64::MIN);

    pub(super) const fn get(self) -> Duration {
        Duration::from_nanos(self.0.get() - 1)
    }
}

impl Default for Moment {
    fn default() -> Self {
        Self::ZERO
    }
}

impl From<Duration> for Moment {
    fn from(since: Duration) -> Self {
        // Not by `as_nanos`, whose 128 bits cost more than is saved.
        let nanos = since.as_secs().saturating_mul(1_000_000_000).saturating_add(since.subsec_nanos().into());
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }
}

impl PartialEq<Duration> for Moment {
    fn eq(&self, other: &Duration) -> bool {
        *self == Self::from(*other)
    }
}

impl PartialOrd<Duration> for Moment {
    fn partial_cmp(&self, other: &Duration) -> Option<std::cmp::Ordering> {
        self.partial_cmp(&Self::from(*other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_as_exact_as_a_duration_and_takes_half_the_room() {
        assert_eq!(size_of::<Option<Moment>>() * 2, size_of::<Option<Duration>>());
        for at in [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(86_400 * 365 * 500)] {
            assert_eq!(Moment::from(at).get(), at);
            assert!(Moment::from(at) < at + Duration::from_nanos(1) && Moment::from(at) == at);
        }
        assert!(Moment::from(Duration::MAX).get() > Duration::from_secs(86_400 * 365 * 500));
    }
}
