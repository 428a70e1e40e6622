//! The programs of `programs/`, which say what they saw: the same in a namespace of the kernel and under pernet.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::insist::at_last;
use crate::process::run_limited;
use crate::session::{Session, everybody};
use crate::skip::{Skip, say, skip};
use crate::{Kernel, Scratch, package_dir};

/// Compiles a program of `programs/` into a scratch folder; `None`, said aloud, where there is no compiler.
///
/// # Panics
/// It does not compile.
pub fn compiled(scratch: &Scratch, name: &str) -> Option<PathBuf> {
    let source = package_dir().join("programs").join(format!("{name}.c"));
    let program = scratch.path().join(name);
    let built = Command::new("cc").args(["-O1", "-Wall", "-pthread", "-o"]).args([&program, &source]).output();
    match built {
        Ok(output) => {
            assert!(output.status.success(), "{name}.c: {}", String::from_utf8_lossy(&output.stderr));
            Some(program)
        }
        Err(error) => {
            skip(name, &Skip::NoCompiler(format!("cc: {error}")));
            None
        }
    }
}

/// What the kernel says to a command; `None` where it cannot be asked.
///
/// # Panics
/// It fails there.
pub fn kernel(scratch: &Scratch, command: &[&str]) -> Option<String> {
    Kernel::probe().ok()?;
    let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
    let mut command = scratch.command(&Kernel::argv(&command));
    let done = run_limited(&mut command, Session::LIMIT).expect("the kernel's side runs");
    assert!(done.status.is_some_and(|status| status.success()) && done.err.is_empty(), "{done:#?}");
    Some(done.out)
}

/// A command says the same everywhere: in a namespace of the kernel, and under pernet as everybody.
///
/// # Panics
/// It does not.
pub fn said_by_all(scratch: &Scratch, command: &[&str], expected: &str) {
    static ASKED: OnceLock<()> = OnceLock::new();
    at_last(&format!("{} in the kernel", command[0]), || match kernel(scratch, command) {
        Some(said) => assert_eq!(said, expected, "the kernel itself, {command:?}"),
        None => {
            ASKED.get_or_init(|| say("NOTE: the kernel cannot be asked here; the expected answers stand alone"));
        }
    });
    said_by_us(command, expected);
}

/// A command says this under pernet, as everybody.
///
/// # Panics
/// It does not.
pub fn said_by_us(command: &[&str], expected: &str) {
    everybody(command[0], |session| {
        let mut all = vec!["run", "--"];
        all.extend(command);
        assert_eq!(session.pernet(&all).expect_quiet(), expected, "{command:?}");
    });
}

/// The same of a program that is compiled first.
///
/// # Panics
/// As [`said_by_all`].
pub fn says(name: &str, args: &[&str], expected: &str) {
    let scratch = Scratch::new().expect("a scratch folder");
    let Some(program) = compiled(&scratch, name) else { return };
    let path = program.to_string_lossy();
    let mut command = vec![&*path];
    command.extend(args);
    said_by_all(&scratch, &command, expected);
}
