//! The whole `core` group at a small size, as a user runs it.
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

#[test]
fn json_has_both_sides_or_says_why_not() {
    let rows = lines(&bench(&["core", "--json", "--n", "20"]));
    let whats = |side: &str| -> Vec<&str> {
        rows.iter().filter(|row| row["side"] == side).filter_map(|row| row["what"].as_str()).collect()
    };
    let common = ["create", "name", "find_first", "find_last", "dump", "teardown"];
    assert_eq!(whats("pernet"), [&common[..], &["teardown_step"]].concat());
    if whats("kernel") == ["capped"] {
        let capped = rows.iter().find(|row| row["what"] == "capped").expect("the row");
        println!("the kernel's half was not measured here: {}", capped["reason"]);
        assert!(capped["reason"].as_str().is_some_and(|why| !why.is_empty()));
    } else {
        assert_eq!(whats("kernel"), common);
    }
    for row in rows.iter().filter(|row| row["what"] != "capped") {
        assert_eq!(row["n"], 20);
        let time = row["us_each"].as_f64().or_else(|| row["ns_each"].as_f64());
        assert!(time.is_some_and(|time| time >= 0.0), "{row}");
        if row["what"] == "dump" {
            assert_eq!(row["entries_seen"], 20, "{row}");
        }
    }
}

#[test]
fn the_table_has_a_line_for_each_figure() {
    let out = bench(&["core", "--n", "3", "--only", "pernet"]);
    assert!(out.status.success());
    let text = String::from_utf8(out.stdout).expect("text");
    for what in ["create", "name", "find_first", "find_last", "dump", "teardown", "teardown_step"] {
        assert!(text.lines().any(|line| line.split_whitespace().nth(1) == Some(what)), "{what} is not in\n{text}");
    }
}

#[test]
fn a_wrong_size_is_a_usage_error() {
    let out = bench(&["core", "--n", "0"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("--n"));
}
