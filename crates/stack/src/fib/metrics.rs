//! What a route says about the path behind it (`RTAX_*`).

use super::RouteError;

/// Bits of metrics that path discovery must leave alone.
pub const RTAX_LOCK: u16 = 1;
pub(crate) const RTAX_MTU: u16 = 2;
pub(super) const RTAX_WINDOW: u16 = 3;
pub(super) const RTAX_RTT: u16 = 4;
pub(super) const RTAX_ADVMSS: u16 = 8;
pub(crate) const RTAX_HOPLIMIT: u16 = 10;
const RTAX_FEATURES: u16 = 12;
/// The congestion control algorithm, by name.
pub const RTAX_CC_ALGO: u16 = 16;
const RTAX_MAX: u16 = 17;

/// What Linux cuts values down to: a packet and its headers fit into sixteen bits.
const MAX_MTU: u32 = 65_535 - 15;
const MAX_ADVMSS: u32 = 65_535 - 40;
const MAX_HOPLIMIT: u32 = 255;
/// Features a route may ask for.
const FEATURES: u32 = 0x1f;

/// Congestion control algorithms of the system.
const ALGORITHMS: [&str; 3] = ["reno", "bbr", "cubic"];

/// The metrics of a route. Most have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Metrics {
    /// Ascending by type, none of value 0.
    values: Vec<(u16, u32)>,
    congctl: Option<&'static str>,
}

impl Metrics {
    /// Sets a metric by its `RTAX_*` number; 0 takes it away.
    ///
    /// # Errors
    /// [`RouteError::MetricType`] for a number that does not exist, [`RouteError::UnknownFeature`].
    pub fn set(&mut self, ty: u16, value: u32) -> Result<(), RouteError> {
        if ty == 0 || ty > RTAX_MAX || ty == RTAX_CC_ALGO {
            return Err(RouteError::MetricType);
        }
        let value = match ty {
            RTAX_MTU => value.min(MAX_MTU),
            RTAX_ADVMSS => value.min(MAX_ADVMSS),
            RTAX_HOPLIMIT => value.min(MAX_HOPLIMIT),
            RTAX_FEATURES if value & !FEATURES != 0 => return Err(RouteError::UnknownFeature),
            _ => value,
        };
        match self.values.binary_search_by_key(&ty, |entry| entry.0) {
            Ok(at) if value == 0 => drop(self.values.remove(at)),
            Ok(at) => self.values[at].1 = value,
            Err(_) if value == 0 => {}
            Err(at) => self.values.insert(at, (ty, value)),
        }
        Ok(())
    }

    /// The MTU of the device, which may be more than users may say.
    pub(crate) fn set_mtu(&mut self, mtu: u32) {
        if let Ok(at) = self.values.binary_search_by_key(&RTAX_MTU, |entry| entry.0) {
            self.values[at].1 = mtu;
        }
    }

    /// Sets the congestion control algorithm.
    ///
    /// # Errors
    /// [`RouteError::UnknownCongctl`].
    pub fn set_congctl(&mut self, name: &str) -> Result<(), RouteError> {
        let known = ALGORITHMS.into_iter().find(|known| *known == name);
        self.congctl = Some(known.ok_or(RouteError::UnknownCongctl)?);
        Ok(())
    }

    /// A metric by its number, 0 if it is not set.
    #[must_use]
    pub fn get(&self, ty: u16) -> u32 {
        let found = self.values.binary_search_by_key(&ty, |entry| entry.0);
        found.map_or(0, |at| self.values[at].1)
    }

    /// The congestion control algorithm.
    #[must_use]
    pub const fn congctl(&self) -> Option<&'static str> {
        self.congctl
    }

    /// The numbers that are set, ascending, without the algorithm.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u32)> + '_ {
        self.values.iter().copied()
    }

    /// Whether nothing is set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.values.is_empty() && self.congctl.is_none()
    }

    /// Whether all that is set in `asked` is set here, to the same: how a deletion picks its route.
    pub(crate) fn matches(&self, asked: &Self) -> bool {
        asked.values.iter().all(|(ty, value)| self.get(*ty) == *value)
            && asked.congctl.is_none_or(|name| self.congctl == Some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_cut_as_linux_cuts_them() {
        let mut metrics = Metrics::default();
        for (ty, given, kept) in [(2, 70_000, 65_520), (8, 70_000, 65_495), (10, 256, 255), (3, u32::MAX, u32::MAX)] {
            metrics.set(ty, given).unwrap();
            assert_eq!(metrics.get(ty), kept);
        }
        metrics.set(2, 0).unwrap();
        assert_eq!(metrics.iter().map(|m| m.0).collect::<Vec<_>>(), [3, 8, 10]);
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        let mut metrics = Metrics::default();
        assert_eq!(metrics.set(18, 1), Err(RouteError::MetricType));
        assert_eq!(metrics.set(12, 70_000), Err(RouteError::UnknownFeature));
        assert_eq!(metrics.set_congctl("nosuch"), Err(RouteError::UnknownCongctl));
        assert!(metrics.is_empty());
    }
}
