//! The figures of the group `depth`, one file for each question; the plan says at which sizes each is asked.
//!
//! | part | rows | of both? |
//! |---|---|---|
//! | `alive` | `create_at`, `idle` | yes |
//! | `threads` | `create_1_thread`, `create_2_threads`, `create_2_apart` (two systems) | but the third |
//! | `gone` | `gone_step`, `gone` | the second |
//! | `crowd` | `crowd_unnamed`, `crowd_named`, and with two workers `…_2` | with one worker |
//! | `peers` | `peer_to_id`, `getnsid` | the second |
//! | `known` | `death_unnamed`, `death_known`, `death_naming` | no |
//! | `read` | `read`, `read_2_threads`, `read_2_apart` (two systems) | no |
//! | `late` | `register_live`, `create_meanwhile`, `create_beside_busy` | no |
//! | `million` | `million`, and its stages | no |

mod alive;
mod crowd;
mod gone;
pub(crate) mod known;
mod late;
mod million;
pub(crate) mod peers;
pub(crate) mod read;
mod threads;

pub(crate) use threads::KEEP;

use crate::kernel::Kernel;
use crate::ours::World;
use crate::row::{Row, Side};
use anyhow::{Result, bail};
use std::fmt;

/// One question of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Creating with n alive, and what an idle one holds.
    Alive,
    /// Two threads creating.
    Threads,
    /// From the last put until a single namespace is gone.
    Gone,
    /// Many torn down at once.
    Crowd,
    /// From peer to number, and a request that asks for it.
    Peers,
    /// The death of a namespace that one of many observers knows.
    Known,
    /// Reading a namespace's data.
    Read,
    /// Registering a subsystem when many namespaces live.
    Late,
    /// A whole life of very many.
    Million,
}

impl Part {
    /// In the order in which they are asked.
    pub(crate) const ALL: [Self; 9] = [
        Self::Alive,
        Self::Threads,
        Self::Gone,
        Self::Crowd,
        Self::Peers,
        Self::Known,
        Self::Read,
        Self::Late,
        Self::Million,
    ];

    /// At how many namespaces the kernel is asked; where it is not, nothing it has could be compared.
    pub(crate) const fn kernel_sizes(self) -> &'static [u64] {
        match self {
            Self::Alive => &[1000, 10_000],
            Self::Threads | Self::Crowd => &[1000],
            Self::Gone => &[1],
            Self::Peers => &[10, 1000, 10_000],
            Self::Known | Self::Read | Self::Late | Self::Million => &[],
        }
    }

    /// At how many namespaces pernet is asked: where the kernel is, and further.
    pub(crate) const fn our_sizes(self) -> &'static [u64] {
        match self {
            Self::Alive => &[1000, 10_000, 100_000, 1_000_000],
            Self::Threads | Self::Crowd => &[1000, 100_000],
            Self::Gone | Self::Read => &[1],
            Self::Peers => &[10, 1000, 10_000, 100_000],
            Self::Known => &[10_000],
            Self::Late => &[100_000],
            Self::Million => &[1_000_000],
        }
    }
}

/// How many namespaces live at once where `n` are asked about.
pub(crate) fn most(part: Part, n: u64) -> u64 {
    if part == Part::Alive { alive::most(n) } else { n }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alive => "alive",
            Self::Threads => "threads",
            Self::Gone => "gone",
            Self::Crowd => "crowd",
            Self::Peers => "peers",
            Self::Known => "known",
            Self::Read => "read",
            Self::Late => "late",
            Self::Million => "million",
        })
    }
}

/// Asks pernet.
pub(crate) fn of_pernet(part: Part, n: u64, mut emit: impl FnMut(Row)) -> Result<()> {
    let emit = &mut emit;
    match part {
        Part::Alive => alive::measure(&World::new()?, n, emit),
        Part::Threads => threads::measure(&World::new()?, Some(&World::new()?), n, emit),
        Part::Gone => gone::ours(&World::new()?, emit).and_then(|()| gone::measure(&World::new()?, emit)),
        Part::Crowd => crowd::measure(&World::new()?, n, &[1, 2], emit),
        Part::Peers => peers::ours(n, emit).and_then(|()| peers::measure(&World::new()?, n, emit)),
        Part::Known => known::ours(&World::new()?, n, emit),
        Part::Read => read::ours(&World::new()?, &World::new()?, emit),
        Part::Late => late::ours(&World::new()?, n, emit),
        Part::Million => million::ours(&World::new()?, n, emit),
    }
}

/// Asks the kernel.
pub(crate) fn of_kernel(kernel: &Kernel, part: Part, n: u64, mut emit: impl FnMut(Row)) -> Result<()> {
    let emit = &mut emit;
    match part {
        Part::Alive => alive::measure(kernel, n, emit),
        Part::Threads => threads::measure(kernel, None, n, emit),
        Part::Gone => gone::measure(kernel, emit),
        Part::Crowd => crowd::measure(kernel, n, &[1], emit),
        Part::Peers => peers::measure(kernel, n, emit),
        Part::Known | Part::Read | Part::Late | Part::Million => bail!("the kernel has no {part}"),
    }
}

/// Asks whoever is meant.
pub(crate) fn of(side: Side, part: Part, n: u64, mut emit: impl FnMut(Row)) -> Result<()> {
    match side {
        Side::Pernet => of_pernet(part, n, emit),
        Side::Kernel => match Kernel::enter() {
            Ok(kernel) => of_kernel(&kernel, part, n, emit),
            Err(why) => {
                emit(Row::capped(Side::Kernel, n, 0, why));
                Ok(())
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(part: Part, n: u64) -> Vec<(String, Row)> {
        let mut rows = Vec::new();
        of_pernet(part, n, |row| rows.push((row.what.clone(), row))).expect("the part runs");
        rows
    }

    #[test]
    fn every_part_makes_its_rows_at_a_small_size() {
        let wanted: [(Part, &[&str]); 9] = [
            (Part::Alive, &["create_at", "idle"]),
            (Part::Threads, &["create_1_thread", "create_2_threads", "create_2_apart"]),
            (Part::Gone, &["gone_step", "gone"]),
            (Part::Crowd, &["crowd_unnamed", "crowd_named", "crowd_unnamed_2", "crowd_named_2"]),
            (Part::Peers, &["peer_to_id", "getnsid"]),
            (Part::Known, &["death_unnamed", "death_known", "death_naming"]),
            (Part::Read, &["read", "read_2_threads", "read_2_apart"]),
            (Part::Late, &["register_live", "create_meanwhile", "create_beside_busy"]),
            (Part::Million, &["million_create", "million_name", "million_dump", "million_teardown", "million"]),
        ];
        assert_eq!(wanted.map(|(part, _)| part), Part::ALL);
        for (part, want) in wanted {
            let rows = whats(part, 30);
            let names: Vec<&str> = rows.iter().map(|(what, _)| what.as_str()).collect();
            assert_eq!(names, want, "{part}");
            for (what, row) in rows {
                let figures = [row.us_each, row.us_max, row.ns_each, row.kib_each, row.total_ms, row.speedup];
                assert!(figures.iter().flatten().next().is_some(), "{what} without a figure: {row:?}");
            }
        }
    }

    #[test]
    fn where_the_kernel_is_asked_pernet_is_too() {
        for part in Part::ALL {
            let ours = part.our_sizes();
            assert!(!ours.is_empty());
            assert!(part.kernel_sizes().iter().all(|n| ours.contains(n)), "{part}");
        }
    }
}
