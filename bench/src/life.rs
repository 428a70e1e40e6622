//! The measuring loop of `core`: the life of n namespaces, the same for every [`System`].

use crate::measure::{self, DUMPS, MEMORY_POPULATION, median, rounded, us_each};
use crate::row::Row;
use crate::system::{Observer, System};
use anyhow::{Context, Result};

/// Measures the life of `n` namespaces, [`measure::rounds`] times, and hands each figure to `emit`.
pub(crate) fn measure<S: System>(system: &S, n: u64, mut emit: impl FnMut(Row)) -> Result<()> {
    let rounds = measure::rounds(n);
    // Where n is too small to see, memory is averaged over more, and before anything is warm.
    let average = if n < MEMORY_POPULATION { Some(average_kib(system)?) } else { None };
    // Else the first round says it: later ones are made of memory that it left behind.
    let mut kib = average;
    let last = usize::try_from(n)?.saturating_sub(1);
    let (mut create, mut name, mut dump) = (Vec::new(), Vec::new(), Vec::new());
    let mut find = [Vec::new(), Vec::new()];
    let mut gone = vec![Vec::new(); S::TEARDOWNS.len()];
    let row = |what: &str| Row { rounds: (rounds > 1).then_some(rounds as u64), ..Row::new(S::SIDE, what, n) };
    for round in 0..rounds {
        for (way, (_, how)) in S::TEARDOWNS.iter().enumerate() {
            // Each way has n namespaces named alike to take apart; all else is measured with the first.
            let before = system.memory_kib()?;
            let (took, nets) = measure::timed(|| system.make(n))?;
            if way == 0 {
                let used = system.memory_kib()?.saturating_sub(before);
                create.push(us_each(took, n));
                let _ = kib.get_or_insert(used as f64 / n as f64);
            }
            let mut observer = system.observe(nets)?;
            let (took, ()) = measure::timed(|| observer.name_all())?;
            if way == 0 {
                name.push(us_each(took, n));
                for (which, index) in [(0, 0), (1, last)] {
                    find[which].push(observer.find(&[index])?);
                }
                let mut seen = 0;
                for _ in 0..DUMPS {
                    let (took, entries) = measure::timed(|| observer.dump())?;
                    dump.push(took.as_secs_f64() * 1e9 / entries.max(1) as f64);
                    seen = entries;
                }
                // Told before the teardown, which may be long: a run cut short has then said what it knew.
                if round + 1 == rounds {
                    let mut made = Row { us_each: Some(rounded(median(&create), 2)), ..row("create") };
                    made.kib_each = kib.map(|kib| rounded(kib, 2));
                    made.kib_over = average.map(|_| MEMORY_POPULATION);
                    emit(made);
                    emit(Row { us_each: Some(rounded(median(&name), 2)), ..row("name") });
                    emit(Row { us_each: Some(rounded(median(&find[0]), 2)), ..row("find_first") });
                    emit(Row { us_each: Some(rounded(median(&find[1]), 2)), ..row("find_last") });
                    let ns_each = Some(rounded(median(&dump), 0));
                    emit(Row { entries_seen: Some(seen), ns_each, ..row("dump") });
                }
            }
            let (held, stand) = observer.close();
            gone[way].push(system.tear_down(held, *how)?.as_secs_f64() * 1e6);
            drop(stand);
            // The observer is dying now; the next round shall not pay for it.
            system.settle();
        }
    }
    for ((what, _), times) in S::TEARDOWNS.iter().zip(gone) {
        let total = median(&times);
        emit(Row { us_each: Some(rounded(total / n as f64, 2)), total_ms: Some(rounded(total / 1e3, 3)), ..row(what) });
    }
    Ok(())
}

/// KiB that a namespace costs, averaged over [`MEMORY_POPULATION`] of them.
fn average_kib<S: System>(system: &S) -> Result<f64> {
    let before = system.memory_kib()?;
    let nets = system.make(MEMORY_POPULATION)?;
    let used = system.memory_kib()?.saturating_sub(before);
    let (_, how) = S::TEARDOWNS.first().copied().context("a way of teardown")?;
    system.tear_down_unnamed(nets, how)?;
    Ok(used as f64 / MEMORY_POPULATION as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ours::World;
    use crate::row::Side;
    use crate::system::Teardown;

    #[test]
    fn every_figure_is_made_and_a_dump_sees_every_name() {
        let mut rows = Vec::new();
        measure(&World::new().expect("a system"), 40, |row| rows.push(row)).expect("pernet's half runs");
        let what: Vec<&str> = rows.iter().map(|row| row.what.as_str()).collect();
        assert_eq!(what, ["create", "name", "find_first", "find_last", "dump", "teardown", "teardown_step"]);
        assert!(rows.iter().all(|row| row.side == Side::Pernet && row.n == 40));
        assert!(rows.iter().any(|row| row.entries_seen == Some(40)));
        assert!(rows.iter().all(|row| row.us_each.is_some() || row.ns_each.is_some()));
    }

    #[test]
    fn the_ways_of_teardown_have_names_of_their_own() {
        let names: Vec<&str> = World::TEARDOWNS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["teardown", "teardown_step"]);
        assert!(World::TEARDOWNS.iter().any(|(_, how)| *how == Teardown::Step));
    }
}
