//! SPECIFICATION.md names the test behind each promise; a name that leads nowhere is a promise without a test.
#![forbid(unsafe_code)]

mod common;

use std::fs;

use common::{missing, references, root};

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
