//! Scenarios run twice: once in a fresh network namespace of the kernel, once under `pernet run`, compared step by step.
//!
//! A *scenario* ([`Scenario`]) is a file of shell commands, one step a line. The *reference* side runs it inside
//! `unshare --net ...` ([`Kernel`]), which needs root; the *subject* side runs the same script behind `pernet run --`
//! ([`Subject`]), as the present user or as one who holds nothing at all. What each step printed and how it exited is
//! normalised ([`normalise`]) and compared ([`compare`]).
//!
//! Where the machine refuses kernel namespaces the recorded answers of `tests/answers/` ([`Answers`]) stand in for the
//! kernel, and the harness says so on stderr: a comparison with yesterday's kernel must not look like one with today's.
//!
//! The integration tests beside this crate use the same pieces; `cargo run -p e2e -- FILE` is the way to look at one
//! scenario by hand.
#![forbid(unsafe_code)]

mod answers;
mod compare;
mod insist;
mod kernel;
mod normalise;
mod process;
mod programs;
mod runner;
mod scenario;
mod scratch;
mod session;
mod skip;
mod subject;

pub use answers::Answers;
pub use compare::{Difference, compare, render};
pub use insist::insist;
pub use kernel::Kernel;
pub use normalise::normalise;
pub use process::{Finished, carrying, children_of, kill, run_limited};
pub use programs::{compiled, kernel, said_by_all, said_by_us, says};
pub use runner::{Answer, Run, run};
pub use scenario::{Comparison, Scenario, Step, load_all};
pub use scratch::{SCRIPT_PATH, Scratch};
pub use session::{Done, Session, everybody};
pub use skip::{Skip, say, skip};
pub use subject::{As, Subject, is_root};

use std::path::{Path, PathBuf};

/// The folder of this package, where `scenarios/` and `answers/` live.
pub fn package_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The root of the workspace.
pub fn workspace_dir() -> PathBuf {
    package_dir().parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// The folder of the scenarios.
pub fn scenario_dir() -> PathBuf {
    package_dir().join("scenarios")
}

/// The folder of the recorded answers.
pub fn answer_dir() -> PathBuf {
    package_dir().join("answers")
}
