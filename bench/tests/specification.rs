//! SPECIFICATION.md names the test behind each promise; a name that leads nowhere is a promise without a test.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The file and the function (where one is named) that a reference such as `core/peers::c071_…` stands for.
fn target(reference: &str) -> Option<(PathBuf, Option<&str>)> {
    let (file, function) = match reference.split_once("::") {
        Some((file, function)) => (file, Some(function)),
        None => (reference, None),
    };
    let (place, rest) = file.split_once('/')?;
    let path = match place {
        "core" | "wire" | "stack" | "rtnl" | "run" | "cli" => {
            format!("crates/{place}/tests/{rest}.rs")
        }
        "bench" => format!("bench/tests/{rest}.rs"),
        "tests" | "crates" if rest.ends_with(".rs") && function.is_some() => file.to_owned(),
        _ => return None,
    };
    Some((root().join(path), function))
}

/// Every reference between backticks.
fn references(text: &str) -> Vec<&str> {
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    quoted.filter(|quoted| target(quoted).is_some()).collect()
}

fn missing(text: &str) -> Vec<&str> {
    let exists = |reference: &&str| {
        let Some((path, function)) = target(reference) else {
            return false;
        };
        let Ok(source) = fs::read_to_string(path) else {
            return false;
        };
        function.is_none_or(|function| source.contains(&format!("fn {function}(")))
    };
    references(text).into_iter().filter(|reference| !exists(reference)).collect()
}

#[test]
fn every_test_that_is_named_exists() {
    let text = fs::read_to_string(root().join("SPECIFICATION.md")).expect("SPECIFICATION.md");
    assert!(references(&text).len() > 100, "the page names its tests");
    assert_eq!(missing(&text), Vec::<&str>::new(), "tests that SPECIFICATION.md names and nobody wrote");
}

#[test]
fn the_check_can_fail() {
    let text =
        "`core/peers::no_such_test`, `core/no_such_file`, `bench/specification::the_check_can_fail`, `crate/file::x`";
    assert_eq!(missing(text), ["core/peers::no_such_test", "core/no_such_file"]);
}
