//! How many kernel namespaces this machine can hold at once: descriptors, memory, quota and patience.

use crate::measure;
use crate::row::Row;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs;

/// What one kernel namespace is reckoned with, in KiB (about 210 were measured on Linux 6.18, more on older ones).
const KIB_PER_NAMESPACE: u64 = 260;
/// What is left to everybody else.
const KIB_RESERVED: u64 = 1024 * 1024;
/// Descriptors for anything but namespaces.
const SPARE_FILES: u64 = 64;
/// Namespaces that others on this machine may own, and the observer.
const SPARE_QUOTA: u64 = 64;

/// The largest n that fits, and the reason where that is less than asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fit {
    /// How many to make.
    pub(crate) n: u64,
    /// Why not more; `None` where `n` is what was asked for.
    pub(crate) why: Option<String>,
}

/// Raises this process' (and so its children's) limit of open files for `n` namespaces as far as it may go.
/// Returns how many namespaces can be held open.
pub(crate) fn raise_files(n: u64) -> u64 {
    let want = n + SPARE_FILES;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 0;
    };
    // Beyond the hard limit only a privileged process gets; the refusal is the answer.
    if soft < want && setrlimit(Resource::RLIMIT_NOFILE, want, hard.max(want)).is_err() {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft.saturating_sub(SPARE_FILES))
}

/// How long the kernel's half is expected to take for `n`, in seconds, from figures measured at a smaller n.
///
/// Creation and teardown grow with n; naming and finding scan the table of ids, so their share grows with n squared.
pub(crate) fn predicted_seconds(n: u64, measured: &[Row]) -> f64 {
    let us = |what: &str, otherwise: f64| {
        let row = measured.iter().rev().find(|row| row.what == what && row.n >= 100);
        row.map_or((otherwise, 1000.0), |row| (row.us_each.unwrap_or(otherwise), row.n as f64))
    };
    let (create, _) = us("create", 400.0);
    let (teardown, _) = us("teardown", 600.0);
    let (name, at) = us("name", 5.0);
    let n = n as f64;
    (n * (create + teardown) + n * name * (n / at).max(1.0)) / 1e6
}

/// The largest n up to `asked` that this machine's descriptors, memory, quota and `budget` seconds allow.
pub(crate) fn fit(asked: u64, budget: f64, measured: &[Row]) -> Fit {
    let available = measure::mem_available_kib().unwrap_or(0).saturating_sub(KIB_RESERVED);
    let quota = fs::read_to_string("/proc/sys/user/max_net_namespaces");
    let quota: u64 = quota.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX);
    let files = raise_files(asked);
    let caps = [
        (files, format!("open files: this process may hold {} (RLIMIT_NOFILE)", files + SPARE_FILES)),
        (
            available / KIB_PER_NAMESPACE,
            format!("available memory: {KIB_PER_NAMESPACE} KiB each, {} MiB to use", available / 1024),
        ),
        (quota.saturating_sub(SPARE_QUOTA), format!("the quota user.max_net_namespaces = {quota}")),
    ];
    let mut fit = Fit { n: asked, why: None };
    for (cap, reason) in caps {
        if cap < fit.n {
            fit = Fit { n: round_down(cap), why: Some(reason) };
        }
    }
    while fit.n > 1 && predicted_seconds(fit.n, measured) > budget {
        fit = Fit { n: round_down(fit.n - 1), why: Some(format!("the time budget of {budget:.0} s")) };
    }
    fit
}

/// The next of 1, 2, 5, 10, 20, 50, … that is not above `n`; 0 stays 0.
fn round_down(n: u64) -> u64 {
    let mut best = 0;
    let mut decade = 1u64;
    while decade <= n {
        for step in [1, 2, 5] {
            if let Some(candidate) = decade.checked_mul(step).filter(|candidate| *candidate <= n) {
                best = candidate;
            }
        }
        let Some(next) = decade.checked_mul(10) else {
            break;
        };
        decade = next;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Side;

    #[test]
    fn rounding_down_walks_one_two_five() {
        for (n, want) in [(0, 0), (1, 1), (4, 2), (9, 5), (10, 10), (19_999, 10_000), (96_279, 50_000)] {
            assert_eq!(round_down(n), want, "{n}");
        }
        assert_eq!(round_down(u64::MAX), 10_000_000_000_000_000_000);
    }

    #[test]
    fn a_small_n_always_fits_and_a_budget_cuts() {
        assert_eq!(fit(1, 60.0, &[]), Fit { n: 1, why: None });
        let slow = Row { us_each: Some(1e6), ..Row::new(Side::Kernel, "create", 1000) };
        let cut = fit(1000, 50.0, &[slow]);
        assert!(cut.n <= 50, "{cut:?}");
        assert!(cut.why.expect("a reason").contains("budget"));
    }

    #[test]
    fn the_scan_of_the_id_table_is_reckoned_with() {
        let rows = [
            Row { us_each: Some(0.0), ..Row::new(Side::Kernel, "create", 1000) },
            Row { us_each: Some(0.0), ..Row::new(Side::Kernel, "teardown", 1000) },
            Row { us_each: Some(10.0), ..Row::new(Side::Kernel, "name", 1000) },
        ];
        assert_eq!(predicted_seconds(1000, &rows), 0.01);
        assert_eq!(predicted_seconds(10_000, &rows), 1.0);
    }
}
