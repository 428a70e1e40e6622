//! References to tests, as the pages write them: `core/peers::c071_…`, `tests/tests/house.rs::…`, `scenario/fds::TEXT`.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The file that a reference stands for, and what has to be in it.
fn target(reference: &str) -> Option<(PathBuf, Option<String>)> {
    let (file, function) = match reference.split_once("::") {
        Some((file, function)) => (file, Some(function)),
        None => (reference, None),
    };
    let (place, rest) = file.split_once('/')?;
    if place == "scenario" {
        return Some((root().join(format!("tests/scenarios/{rest}.scn")), Some(function?.to_owned())));
    }
    let path = match place {
        "core" | "wire" | "stack" | "rtnl" | "run" | "cli" => {
            format!("crates/{place}/tests/{rest}.rs")
        }
        "bench" => format!("bench/tests/{rest}.rs"),
        "tests" | "crates" if rest.ends_with(".rs") && function.is_some() => file.to_owned(),
        _ => return None,
    };
    Some((root().join(path), function.map(|function| format!("fn {function}("))))
}

/// Every reference between backticks.
pub(crate) fn references(text: &str) -> Vec<&str> {
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    quoted.filter(|quoted| target(quoted).is_some()).collect()
}

/// The references that lead nowhere.
pub(crate) fn missing(text: &str) -> Vec<&str> {
    let exists = |reference: &&str| {
        let Some((path, wanted)) = target(reference) else {
            return false;
        };
        let Ok(source) = fs::read_to_string(path) else {
            return false;
        };
        wanted.is_none_or(|wanted| source.contains(&wanted))
    };
    references(text).into_iter().filter(|reference| !exists(reference)).collect()
}
