//! The whole `depth` group at a small size, as a user runs it.
#![forbid(unsafe_code)]

use serde_json::Value;
use std::process::{Command, Output};

fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench")).args(args).output().expect("the benchmark starts")
}

fn lines(out: &Output) -> Vec<Value> {
    assert!(out.status.success(), "{}: {}", out.status, String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout.clone()).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

/// Rows of pernet alone, in the order of measuring.
const OURS: [&str; 26] = [
    "create_at",
    "idle",
    "create_1_thread",
    "create_2_threads",
    "create_2_apart",
    "gone_step",
    "gone",
    "crowd_unnamed",
    "crowd_named",
    "crowd_unnamed_2",
    "crowd_named_2",
    "peer_to_id",
    "getnsid",
    "death_unnamed",
    "death_known",
    "death_naming",
    "read",
    "read_2_threads",
    "read_2_apart",
    "register_live",
    "create_meanwhile",
    "create_beside_busy",
    "million_create",
    "million_name",
    "million_dump",
    "million_teardown",
];

/// Those that the kernel has too.
const BOTH: [&str; 8] =
    ["create_at", "idle", "create_1_thread", "create_2_threads", "gone", "crowd_unnamed", "crowd_named", "getnsid"];

#[test]
fn every_part_runs_on_both_sides_or_says_why_not() {
    let rows = lines(&bench(&["depth", "--json", "--at-most", "20"]));
    let whats = |side: &str| -> Vec<&str> {
        let of_side = rows.iter().filter(|row| row["side"] == side);
        // Some parts are asked at 10 and at 20.
        let mut whats: Vec<&str> = Vec::new();
        for what in of_side.filter_map(|row| row["what"].as_str()) {
            if !whats.contains(&what) {
                whats.push(what);
            }
        }
        whats
    };
    assert_eq!(whats("pernet"), [&OURS[..], &["million"]].concat());
    if whats("kernel") == ["capped"] {
        let capped = rows.iter().find(|row| row["what"] == "capped").expect("the row");
        println!("the kernel's half was not measured here: {}", capped["reason"]);
        assert!(capped["reason"].as_str().is_some_and(|why| !why.is_empty()));
    } else {
        assert_eq!(whats("kernel"), BOTH);
    }
    let million = rows.iter().find(|row| row["what"] == "million").expect("the row");
    assert!(million["peak_mib"].as_f64().is_some_and(|mib| mib > 0.0), "{million}");
    let two = rows.iter().find(|row| row["what"] == "create_2_threads").expect("the row");
    assert!(two["speedup"].as_f64().is_some_and(|speedup| speedup > 0.0), "{two}");
}

#[test]
fn parts_can_be_chosen_and_stand_in_the_table() {
    let out = bench(&["depth", "--at-most", "20", "--part", "read,peers", "--only", "pernet"]);
    assert!(out.status.success());
    let text = String::from_utf8(out.stdout).expect("text");
    let whats: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    for what in ["read", "read_2_threads", "peer_to_id", "getnsid"] {
        assert!(whats.contains(&what), "{what} is not in\n{text}");
    }
    assert!(!whats.contains(&"create_at"), "{text}");
}

#[test]
fn an_unknown_part_is_a_usage_error() {
    assert_eq!(bench(&["depth", "--part", "nothing"]).status.code(), Some(2));
}
