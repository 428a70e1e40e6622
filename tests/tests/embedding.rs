//! The core in a kernel: `examples/kernel` is built without std, linked with a machine of thirty lines of C, and run.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use e2e::{Finished, Skip, Subject, run_limited, skip};

/// What the kernel may ask of the machine below: the copying that compilers emit calls for, its own console and switch.
const ALLOWED: &[&str] = &["memcpy", "memmove", "memset", "memcmp", "bcmp", "machine_write", "machine_halt"];

/// Bytes and blocks that one more may take there, without std: upper bounds.
const COSTS: &[(&str, usize, usize)] = &[("namespace", 420, 1), ("reference", 0, 0)];

fn kernel_dir() -> PathBuf {
    e2e::workspace_dir().join("examples/kernel")
}

/// A target folder of its own: the one of the tests is locked by the cargo that runs them.
fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    e2e::workspace_dir().join(target).join("kernel")
}

fn in_kernel_dir(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Finished {
    let mut command = Command::new(program);
    command.args(args).current_dir(kernel_dir()).env("KERNEL_TARGET_DIR", target());
    // What is set for the build of this test is not meant for that one.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
    run_limited(&mut command, Duration::from_secs(300)).expect("starts")
}

fn cargo(args: &[&str]) -> Finished {
    in_kernel_dir(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), args)
}

fn there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|done| done.status.success())
}

/// Builds, links and runs it, once for all tests; `None` where there is no C compiler.
fn kernel(what: &str) -> Option<&'static Finished> {
    static RUN: OnceLock<Finished> = OnceLock::new();
    if !there("cc") {
        skip(what, &Skip::NoCompiler("cc is not installed".to_owned()));
        return None;
    }
    Some(RUN.get_or_init(|| in_kernel_dir("./run.sh", &[])))
}

#[test]
fn the_kernel_runs_and_gives_everything_back() {
    let Some(run) = kernel("the kernel example") else { return };
    let (costs, lines): (Vec<&str>, Vec<&str>) = run.out.lines().partition(|line| line.starts_with("cost: "));
    let expected = fs::read_to_string(kernel_dir().join("expected.txt")).expect("reads");
    assert_eq!(lines, expected.lines().collect::<Vec<_>>(), "{}\n{}", run.out, run.err);
    assert!(run.status.is_some_and(|status| status.success()), "{run:#?}");

    assert_eq!(costs.len(), COSTS.len(), "{}", run.out);
    for (line, (what, bytes, blocks)) in costs.iter().zip(COSTS) {
        let words: Vec<&str> = line.split(' ').collect();
        let ["cost:", name, kept, "bytes", made, "blocks"] = words[..] else { panic!("what is {line:?}?") };
        assert_eq!(name, *what);
        assert!(kept.parse().is_ok_and(|kept: usize| kept <= *bytes), "more than {bytes} bytes: {line}");
        assert!(made.parse().is_ok_and(|made: usize| made <= *blocks), "more than {blocks} blocks: {line}");
    }
}

/// The names a relocatable object leaves to others.
fn undefined(object: &Path) -> Vec<String> {
    let done = Command::new("nm").arg("-u").arg(object).output().expect("nm starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8_lossy(&done.stdout);
    text.lines().filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect()
}

#[test]
fn the_kernel_needs_nothing_from_below() {
    if kernel("what the kernel needs").is_none() {
        return;
    }
    if !there("nm") {
        return skip("what the kernel needs", &Skip::NoProgram("nm".to_owned()));
    }
    let found = undefined(&target().join("kernel.o"));
    let stray: Vec<&String> = found.iter().filter(|name| !ALLOWED.contains(&name.as_str())).collect();
    assert!(stray.is_empty(), "the kernel needs {stray:?}");
    // The question is put to the right object: it does need its console, and the linked program needs a library.
    assert!(found.iter().any(|name| name == "machine_write"), "{found:?}");
    let linked = undefined(&target().join("kernel"));
    assert!(linked.iter().any(|name| name.starts_with("fwrite")), "{linked:?}");
}

/// A crate that brings std brings a second panic handler: so that the kernel builds says that none does.
#[test]
fn std_could_not_slip_in() {
    let target = target();
    let target = target.to_str().expect("a path in UTF-8");
    let done = cargo(&["check", "--locked", "--features", "drag_std_in", "--target-dir", target]);
    assert!(done.status.is_some_and(|status| !status.success()), "it builds with std: {done:#?}");
    assert!(done.err.contains("duplicate lang item `panic_impl`"), "{}", done.err);
}

/// The four counts behind a label of `examples/ten_thousand.rs`.
fn counts(out: &str, label: &str) -> Vec<usize> {
    let line = out.lines().find(|line| line.starts_with(label)).unwrap_or_else(|| panic!("no {label:?} in {out}"));
    let (_, list) = line.split_once('[').expect("a list");
    list.trim_end_matches(']').split(", ").map(|count| count.parse().expect("a number")).collect()
}

#[test]
fn ten_thousand_namespaces_show_the_phases() {
    let program = Subject::example("pernet", "ten_thousand").expect("builds");
    let done = run_limited(&mut Command::new(program), Duration::from_secs(120)).expect("starts");
    assert!(done.status.is_some_and(|status| status.success()), "{done:#?}");
    assert_eq!(counts(&done.out, "registered"), [1, 0, 0, 0]);
    assert_eq!(counts(&done.out, "created"), [10_001, 0, 0, 0]);
    assert_eq!(counts(&done.out, "dropped"), [10_001, 0, 0, 0], "the last drop runs no callback");
    let last = counts(&done.out, "torn down");
    assert_eq!(last[..3], [10_001, 10_000, 10_000]);
    // How many die together is the core's business; that a batch is one call is a promise.
    let summary = format!("10000 gone in {} round(s), 1 listed", last[3]);
    assert_eq!(done.out.lines().last(), Some(summary.as_str()), "{}", done.out);
}
