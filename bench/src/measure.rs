//! Clocks, medians and the memory of this machine and of this process.

use anyhow::{Context, Result};
use std::fs;
use std::time::{Duration, Instant};

/// How often a lookup is repeated, so that one figure is an average over enough work to see.
pub(crate) const PROBES: u32 = 2000;

/// How often the whole table is dumped.
pub(crate) const DUMPS: usize = 5;

/// In how many parts they are timed: the median of the parts does not see an interruption, their sum does.
const PARTS: u32 = 20;

/// Microseconds for one of [`PROBES`] calls of `probe`.
pub(crate) fn probed(mut probe: impl FnMut() -> Result<()>) -> Result<f64> {
    let part = || {
        let (took, ()) = timed(|| (0..PROBES / PARTS).try_for_each(|_| probe()))?;
        Ok(us_each(took, u64::from(PROBES / PARTS)))
    };
    let parts: Result<Vec<f64>> = std::iter::repeat_with(part).take(PARTS as usize).collect();
    Ok(median(&parts?))
}

/// For how many namespaces at least memory is averaged.
pub(crate) const MEMORY_POPULATION: u64 = 512;

/// How often the whole life is repeated at this n; the median is reported.
pub(crate) fn rounds(n: u64) -> usize {
    // One namespace made once says nothing, a thousand are still at the mercy of a single interruption, a hundred
    // thousand made once say enough.
    usize::try_from(5000 / n.max(1)).unwrap_or(1).clamp(1, 32)
}

/// `many` indices below `population` in an order that no cache foresees, the same on every run.
pub(crate) fn scattered(population: usize, many: usize) -> Vec<usize> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or(0)
    };
    (0..many).map(|_| next() % population.max(1)).collect()
}

/// Runs `work` and says how long it took.
pub(crate) fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(Duration, T)> {
    let start = Instant::now();
    let made = work()?;
    Ok((start.elapsed(), made))
}

/// How long this thread has had a processor.
pub(crate) fn busy() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Microseconds for each of `n`.
pub(crate) fn us_each(total: Duration, n: u64) -> f64 {
    total.as_secs_f64() * 1e6 / n.max(1) as f64
}

/// The value in the middle; the lower of the two where the number is even; 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((sorted.len().max(1) - 1) / 2).copied().unwrap_or(0.0)
}

/// Rounds to `digits` decimals, so that a line of JSON does not claim more than was measured.
pub(crate) fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// `MemAvailable` of this machine, in KiB: what may still be taken.
pub(crate) fn mem_available_kib() -> Result<u64> {
    meminfo(&["MemAvailable"])
}

/// What the kernel of this machine holds for itself, in KiB.
///
/// Network namespaces are slab objects, per-cpu counters and a little vmalloc. `MemAvailable` would say the same, but
/// moves by megabytes with every other program on the machine; this sum was seen to repeat within a few per cent.
pub(crate) fn kernel_memory_kib() -> Result<u64> {
    meminfo(&["Slab", "Percpu", "VmallocUsed"])
}

fn meminfo(names: &[&str]) -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let of = |name: &&str| kib_of(&text, name).with_context(|| format!("/proc/meminfo has no line {name}"));
    names.iter().map(of).sum()
}

/// The value of the line `name: value kB`.
fn kib_of(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().trim_end_matches("kB").trim().parse().ok()
}

/// Anonymous memory of this process that is resident, in KiB.
pub(crate) fn own_memory_kib() -> Result<u64> {
    memory_kib(std::process::id())
}

/// The most memory that was ever resident in this process, in KiB.
pub(crate) fn own_peak_kib() -> Result<u64> {
    status(std::process::id(), "VmHWM")
}

/// Anonymous memory of a process that is resident, in KiB.
pub(crate) fn memory_kib(pid: u32) -> Result<u64> {
    status(pid, "RssAnon")
}

fn status(pid: u32, name: &str) -> Result<u64> {
    let file = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
    kib_of(&text, name).with_context(|| format!("{file} has no {name} line"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[9.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.0);
    }

    #[test]
    fn a_value_is_found_in_its_line() {
        let text = "MemAvailableX: 1 kB\nMemAvailable:    1234 kB\nX: 1 kB\n";
        assert_eq!(kib_of(text, "MemAvailable"), Some(1234));
        assert_eq!(kib_of(text, "MemAvail"), None);
        assert_eq!(kib_of(text, "Slab"), None);
    }

    #[test]
    fn this_machine_and_this_process_say() {
        assert!(mem_available_kib().expect("MemAvailable") > 0);
        assert!(kernel_memory_kib().expect("kernel memory") > 0);
        assert!(own_memory_kib().expect("RssAnon") > 0);
        assert!(own_peak_kib().expect("VmHWM") >= own_memory_kib().expect("RssAnon"));
    }

    #[test]
    fn a_probe_runs_as_often_as_it_says() {
        let mut calls = 0;
        let us = probed(|| {
            calls += 1;
            Ok(())
        });
        assert!(us.expect("no probe fails") >= 0.0);
        assert_eq!(calls, PROBES);
        assert!(probed(|| anyhow::bail!("no")).is_err());
    }

    #[test]
    fn few_namespaces_are_made_many_times() {
        assert_eq!(rounds(1), 32);
        assert_eq!(rounds(1000), 5);
        assert_eq!(rounds(100_000), 1);
        assert_eq!(rounds(0), 32);
    }

    #[test]
    fn scattered_indices_are_in_range_and_always_the_same() {
        let some = scattered(10, 1000);
        assert_eq!(some, scattered(10, 1000));
        assert!((0..10).all(|index| some.contains(&index)));
        assert!(some.iter().all(|index| *index < 10));
        assert_eq!(scattered(0, 2), [0, 0]);
    }

    #[test]
    fn rounding_keeps_the_digits_asked_for() {
        assert_eq!(rounded(1.23456, 2), 1.23);
        assert_eq!(rounded(12.6, 0), 13.0);
    }
}
