//! The table: one line a figure, both sides and their ratio.

use crate::row::{Row, Side};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::io::Write as _;

/// Writes the rows to standard output: as lines of JSON, or as the table with `notes` below it.
///
/// # Errors
/// Nobody reads any more.
pub(crate) fn print(rows: &[Row], json: bool, notes: &str) -> Result<()> {
    let text = match json {
        true => rows.iter().map(|row| row.to_json() + "\n").collect(),
        false => table(rows) + notes,
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("writing the figures")
}

/// The figures that a row can hold, each a line of the table: unit, and how to read it.
type Read = fn(&Row) -> Option<f64>;
const FIGURES: [(&str, Read); 10] = [
    ("us each", |row| row.us_each),
    ("us min", |row| row.us_min),
    ("us max", |row| row.us_max),
    ("KiB each", |row| row.kib_each),
    (ENTRIES, |row| row.entries_seen.map(|seen| seen as f64)),
    ("ns each", |row| row.ns_each),
    (SPEEDUP, |row| row.speedup),
    ("MiB at most", |row| row.peak_mib),
    (RATE, |row| row.gbit_s),
    // Where it is not the sum of what the line above says of each.
    ("ms in all", |row| row.total_ms.filter(|_| row.us_each.is_none())),
];
const ENTRIES: &str = "entries seen";
const SPEEDUP: &str = "x 1 thread";
const RATE: &str = "Gbit/s";

/// The rows as text: a table, and below it a sentence for every row that says why something is missing.
///
/// The ratio is kernel / pernet: above 1, pernet needs less. Entries seen, speed-ups and rates have none: more of
/// them is not a cost.
pub(crate) fn table(rows: &[Row]) -> String {
    let head = ["n", "what", "unit", "kernel", "pernet", "kernel/pernet"].map(str::to_owned);
    let mut lines = vec![head];
    for (n, what) in measured(rows) {
        let of = |side| rows.iter().find(|row| row.side == side && row.n == n && row.what == what);
        for (unit, read) in FIGURES {
            let (kernel, ours) = (of(Side::Kernel).and_then(read), of(Side::Pernet).and_then(read));
            if kernel.is_none() && ours.is_none() {
                continue;
            }
            let ratio = match (kernel, ours) {
                (Some(kernel), Some(ours)) if ours > 0.0 && ![ENTRIES, SPEEDUP, RATE].contains(&unit) => {
                    format!("{}x", figure(kernel / ours))
                }
                _ => String::new(),
            };
            let show = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), figure);
            lines.push([n.to_string(), what.to_owned(), unit.to_owned(), show(kernel), show(ours), ratio]);
        }
    }
    let mut text = laid_out(&lines);
    for row in rows.iter().filter(|row| row.what == "capped") {
        let reason = row.reason.as_deref().unwrap_or("unknown");
        let asked = row.asked.unwrap_or(row.n);
        let _ = match row.n {
            0 => writeln!(text, "{}: not measured at n = {asked}: {reason}", row.side),
            n if n == asked => writeln!(text, "{}: n = {asked}: {reason}", row.side),
            n => writeln!(text, "{}: measured at n = {n} instead of {asked}, limited by {reason}", row.side),
        };
    }
    if rows.iter().any(|row| row.kib_over.is_some()) {
        let _ = writeln!(text, "KiB each at a small n is the average over more namespaces (kib_over in --json).");
    }
    text
}

/// Every (n, what) that was measured, each once; by n, and within that in the order of measuring.
fn measured(rows: &[Row]) -> Vec<(u64, &str)> {
    let mut keys: Vec<(u64, &str)> = Vec::new();
    for row in rows.iter().filter(|row| row.what != "capped") {
        if !keys.contains(&(row.n, row.what.as_str())) {
            keys.push((row.n, &row.what));
        }
    }
    keys.sort_by_key(|(n, _)| *n);
    keys
}

/// A number with about three digits that mean something.
fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v.fract() == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Columns of equal width; words to the left, numbers to the right.
fn laid_out<const N: usize>(lines: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = String::new();
    for (i, line) in lines.iter().enumerate() {
        let mut out = String::new();
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let _ = match column {
                1 | 2 => write!(out, "{gap}{cell:<width$}"),
                _ => write!(out, "{gap}{cell:>width$}"),
            };
        }
        let _ = writeln!(text, "{}", out.trim_end());
        if i == 0 {
            let _ = writeln!(text, "{}", "-".repeat(widths.iter().sum::<usize>() + 2 * (N - 1)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_stand_on_one_line_with_their_ratio() {
        let rows = [
            Row { us_each: Some(300.0), ..Row::new(Side::Kernel, "create", 1000) },
            Row { us_each: Some(1.5), ..Row::new(Side::Pernet, "create", 1000) },
        ];
        let text = table(&rows);
        assert!(text.contains("1000  create  us each     300    1.50           200x"), "{text}");
    }

    #[test]
    fn what_only_one_side_has_gets_no_ratio() {
        let rows = [Row { us_each: Some(1.5), ..Row::new(Side::Pernet, "teardown_step", 1000) }];
        let text = table(&rows);
        assert!(text.lines().nth(2).expect("a line").ends_with("-    1.50"), "{text}");
    }

    #[test]
    fn what_is_missing_is_said() {
        let text = table(&[Row::capped(Side::Kernel, 100_000, 0, "no namespaces here".to_owned())]);
        assert!(text.contains("kernel: not measured at n = 100000: no namespaces here"), "{text}");
        let text = table(&[Row::capped(Side::Kernel, 100_000, 10_000, "memory".to_owned())]);
        assert!(text.contains("measured at n = 10000 instead of 100000, limited by memory"), "{text}");
    }
}
