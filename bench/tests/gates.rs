//! No operation takes more instructions than `gates.json` allows it.
#![forbid(unsafe_code)]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Whether instructions can be counted here; says why not. CI's machine can.
fn can_count() -> bool {
    let valgrind = Command::new("valgrind").arg("--version").output();
    let why = match valgrind {
        Ok(out) if out.status.success() => return true,
        Ok(out) => format!("valgrind --version: {}", out.status),
        Err(error) => format!("valgrind: {error}"),
    };
    assert!(env::var("CI").as_deref() != Ok("true"), "CI counts instructions, and cannot here: {why}");
    println!("skipped, instructions cannot be counted here: {why}");
    false
}

/// The release build of the benchmark: what a debug build takes says nothing. `PERNET_BENCH`, or built first.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(path) = env::var_os("PERNET_BENCH") {
            return PathBuf::from(path);
        }
        let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--release", "--locked", "--quiet", "-p", "bench", "--message-format", "json"]);
        let out = build.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo starts");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).expect("text");
        let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let built = messages.filter(|message| message["target"]["name"] == "bench");
        let path = built.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next();
        path.expect("cargo says where the program is")
    })
}

fn gates(args: &[&str]) -> Output {
    Command::new(program()).arg("gates").args(args).output().expect("the benchmark starts")
}

fn text(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

#[test]
fn no_operation_takes_more_instructions_than_its_gate_allows() {
    if !can_count() {
        return;
    }
    let out = gates(&[]);
    println!("{}", text(&out));
    assert!(out.status.success(), "see the table above; where it is worth it: bench -- gates --write");
}

#[test]
fn a_passed_gate_fails_and_one_out_of_date_says_so() {
    if !can_count() {
        return;
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gates.json");
    let path = file.to_str().expect("text");
    let gate = |instructions: f64| {
        let gate = serde_json::json!({ "name": "read", "instructions": instructions, "tolerance": 3.0 });
        let all = serde_json::json!({ "compiler": "another", "gates": [gate] });
        fs::write(&file, all.to_string()).expect("a file");
        gates(&["--only", "read", "--file", path])
    };
    let above = gate(1.0);
    assert_eq!(above.status.code(), Some(1), "{}", text(&above));
    assert!(text(&above).contains("ABOVE ITS GATE"), "{}", text(&above));
    let below = gate(1e6);
    assert!(below.status.success(), "{}", text(&below));
    assert!(text(&below).contains("lower the figure"), "{}", text(&below));
    assert!(text(&below).contains("the file with another"), "{}", text(&below));

    // What is written is what is counted, to the last instruction.
    let wrote = gates(&["--only", "read,drop_step", "--file", path, "--write"]);
    assert!(wrote.status.success(), "{}", text(&wrote));
    let first = fs::read_to_string(&file).expect("the file");
    assert!(gates(&["--only", "drop_step,read", "--file", path, "--write"]).status.success());
    assert_eq!(fs::read_to_string(&file).expect("the file"), first, "two counts differ");
}

#[test]
fn a_workload_that_nobody_knows_is_an_error() {
    let out = Command::new(env!("CARGO_BIN_EXE_bench")).args(["gates", "--only", "nothing"]).output().expect("starts");
    assert_eq!(out.status.code(), Some(1), "{}", text(&out));
    assert!(text(&out).contains("no workload nothing"), "{}", text(&out));
}
