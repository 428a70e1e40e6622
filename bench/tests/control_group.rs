//! The whole `control` group at a small size, as a user runs it.
#![forbid(unsafe_code)]

use serde_json::Value;
use std::process::{Command, Output};

fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench")).arg("control").args(args).output().expect("the benchmark starts")
}

const ROWS: [&str; 6] = ["veth_add", "veth_memory", "link_dump", "route_add", "route_dump", "route_get"];

/// KiB that a pair of veth may take, everything that hangs on it included.
const KIB_PER_PAIR: f64 = 3.0;

#[test]
fn both_sides_are_asked_the_same_or_it_is_said_why_not() {
    let out = bench(&["--json", "--pairs", "2000", "--routes", "50", "--part", "veth,route", "--only", "pernet"]);
    assert!(out.status.success(), "{}: {}", out.status, String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("text");
    let ours: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    let whats: Vec<&str> = ours.iter().filter_map(|row| row["what"].as_str()).collect();
    assert_eq!(whats, ROWS);
    let kib = ours[1]["kib_each"].as_f64().expect("memory");
    assert!(kib > 0.0 && kib <= KIB_PER_PAIR, "{kib} KiB for a pair of veth");

    let out = bench(&["--json", "--pairs", "5", "--routes", "5", "--part", "veth,route", "--only", "kernel"]);
    assert!(out.status.success(), "{}: {}", out.status, String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("text");
    let kernel: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    let whats: Vec<&str> = kernel.iter().filter_map(|row| row["what"].as_str()).collect();
    if whats.contains(&"capped") {
        println!("the kernel's half was not measured here: {text}");
    } else {
        assert_eq!(whats, ROWS);
    }
}
