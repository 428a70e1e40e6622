//! What a machine cannot run is said aloud, and on CI's machine most of it is a failure.

use std::io::Write;

/// Why something was not run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Skip {
    /// Becoming another user, or a kernel namespace, needs root.
    NotRoot,
    /// A program of the base installation (iproute2, python3, util-linux, bash) is missing.
    NoProgram(String),
    /// A compiler is missing or cannot do what is asked; CI's machine need not have one.
    NoCompiler(String),
    /// Something that is not there yet, such as a README without console blocks.
    NothingToDo(String),
}

impl Skip {
    /// Whether CI's machine (root, Debian 12, iproute2, python3, util-linux) never has this reason.
    fn impossible_on_ci(&self) -> bool {
        match self {
            Self::NotRoot | Self::NoProgram(_) => true,
            Self::NoCompiler(_) | Self::NothingToDo(_) => false,
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::NotRoot => "needs root".to_owned(),
            Self::NoProgram(program) => format!("{program} is not installed"),
            Self::NoCompiler(why) | Self::NothingToDo(why) => why.clone(),
        }
    }
}

/// Prints `SKIPPED: what: reason` on stderr, past the test runner's capture.
///
/// # Panics
/// With `CI=true` in the environment, for a reason that CI's machine does not have: there a skip is a broken machine, not
/// an excuse.
pub fn skip(what: &str, why: &Skip) {
    let reason = why.reason();
    say(&format!("SKIPPED: {what}: {reason}"));
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!(ci && why.impossible_on_ci()), "CI=true, yet {what} was skipped: {reason}");
}

/// Prints a line on stderr where it is seen even of a passing test: the test runner captures the print macros only.
pub fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
