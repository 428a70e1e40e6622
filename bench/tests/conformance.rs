//! docs/conformance.md leaves no statement out and names nothing that is not there; docs/counterparts.md likewise.
#![forbid(unsafe_code)]

mod common;

use std::fs;

use common::{missing, references, root};

const STATEMENTS: usize = 183;
const WEAKNESSES: usize = 23;
/// Bugs of the kernel's history that the specification lists as worth a test.
const FAULTS: usize = 8;

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).unwrap_or_else(|error| panic!("docs/{name}: {error}"))
}

/// The cells of each row of a table, code spans kept whole.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let table = text.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    table.map(|row| row.split('|').map(str::trim).collect())
}

/// What is wrong with the statements' table.
fn faults(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut seen = vec![0; STATEMENTS + 1];
    for cells in rows(text) {
        let Ok(number) = cells[0].parse::<usize>() else { continue };
        let [_, statement, state, by] = cells[..] else {
            wrong.push(format!("{number}: {} cells", cells.len()));
            continue;
        };
        match seen.get_mut(number) {
            Some(count) if number > 0 => *count += 1,
            _ => wrong.push(format!("{number}: there is no such statement")),
        }
        let proofs = references(by).len();
        let waits = by.contains("issue C") || by.contains("issue D");
        let sound = match state {
            "proven" => proofs > 0,
            "part" => proofs > 0 && waits,
            "waits" => proofs == 0 && waits,
            "differs" | "missing" => !by.is_empty(),
            "free" => true,
            _ => false,
        };
        if !sound || statement.is_empty() {
            wrong.push(format!("{number}: '{state}' by '{by}'"));
        }
    }
    for (number, count) in seen.iter().enumerate().skip(1).filter(|(_, count)| **count != 1) {
        wrong.push(format!("{number}: {count} times"));
    }
    wrong
}

#[test]
fn every_statement_is_there_once_with_its_proof() {
    assert_eq!(faults(&page("conformance.md")), Vec::<String>::new());
}

#[test]
fn every_weakness_and_every_fault_is_answered() {
    let text = page("conformance.md");
    let weak: Vec<Vec<&str>> = rows(&text).filter(|cells| cells[0].starts_with('W')).collect();
    let names: Vec<&str> = weak.iter().map(|cells| cells[0]).collect();
    assert_eq!(names, (1..=WEAKNESSES).map(|n| format!("W{n}")).collect::<Vec<_>>());
    let (_, after) = text.split_once("# Faults that Linux had").expect("the table of faults");
    let old: Vec<Vec<&str>> = rows(after).skip(2).collect();
    assert!(old.len() >= FAULTS, "{} faults", old.len());
    for cells in weak.iter().chain(&old) {
        assert!(!references(cells.last().expect("cells")).is_empty(), "{cells:?}");
    }
}

#[test]
fn every_test_and_scenario_that_is_named_exists() {
    let text = page("conformance.md");
    assert_eq!(missing(&text), Vec::<&str>::new());
    // A name that is taken for no reference would not be looked for.
    let unread: Vec<&str> = text
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(|quoted| quoted.contains("::") && references(&format!("`{quoted}`")).is_empty())
        .collect();
    assert_eq!(unread, Vec::<&str>::new(), "neither a test nor a scenario");
}

/// Rows of docs/counterparts.md whose second cell names something that its files do not have.
fn strangers(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut sections = 0;
    for cells in rows(text) {
        let [kernel, here] = cells[..] else {
            wrong.push(format!("{cells:?} has not two cells"));
            continue;
        };
        if kernel.starts_with("---") {
            sections += 1;
        }
        let quoted: Vec<&str> = here.split('`').skip(1).step_by(2).collect();
        let (files, names): (Vec<&str>, Vec<&str>) = quoted.iter().partition(|quoted| quoted.ends_with(".rs"));
        let mut sources = String::new();
        for file in &files {
            match fs::read_to_string(root().join(file)) {
                Ok(source) => sources += &source,
                Err(_) => wrong.push(format!("{kernel}: no file {file}")),
            }
        }
        for name in names.iter().filter(|_| !files.is_empty()) {
            let last = name.rsplit("::").next().unwrap_or(name);
            let word = |c: char| c.is_alphanumeric() || c == '_';
            if last.is_empty() || !sources.split(|c| !word(c)).any(|found| found == last) {
                wrong.push(format!("{kernel}: no {name} in {files:?}"));
            }
        }
        if files.is_empty() && !names.is_empty() {
            wrong.push(format!("{kernel}: {names:?} without a file"));
        }
    }
    if sections == 0 {
        wrong.push("no table".to_owned());
    }
    wrong
}

#[test]
fn every_counterpart_is_where_the_page_says() {
    let text = page("counterparts.md");
    assert_eq!(strangers(&text), Vec::<String>::new());
    for name in ["copy_net_ns", "cleanup_net", "peernet2id_alloc", "rtnl_net_dumpid", "struct pernet_operations"] {
        assert!(text.contains(name), "{name}");
    }
}

#[test]
fn the_checks_can_fail() {
    let whole: String = (1..=STATEMENTS).map(|n| format!("| {n} | s | proven | `core/peers::x` |\n")).collect();
    assert_eq!(faults(&whole), Vec::<String>::new());
    let broken = whole
        .replace("| 7 | s", "| 8 | s")
        .replace("| 9 | s | proven | `core/peers::x` |", "| 9 | s | proven | surely |")
        .replace("| 10 | s | proven", "| 10 | s | likely")
        .replace("| 11 | s | proven", "| 11 | s | waits");
    let numbers: Vec<_> = faults(&broken).iter().map(|fault| fault.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(numbers, ["9", "10", "11", "7", "8"]);
    assert_eq!(missing("`scenario/fds::no such text`, `scenario/none::x`").len(), 2);
    let table = "| kernel | here |\n|---|---|\n| a | `Net::no_such_thing` (`crates/core/src/net.rs`) |\n\
                 | b | `Net` (`crates/none.rs`) |\n| c | `Net` |\n| d | `Net` (`crates/core/src/net.rs`) |\n";
    let wrong: Vec<_> = strangers(table).iter().map(|fault| fault[..1].to_owned()).collect();
    assert_eq!(wrong, ["a", "b", "b", "c"]);
}
