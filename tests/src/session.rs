//! For tests that drive the binary themselves: a scratch folder, a subject, a time limit.

use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::insist::at_last;
use crate::process::{Finished, run_limited};
use crate::scratch::Scratch;
use crate::skip::{Skip, skip};
use crate::subject::{As, Subject, is_root};

/// A subject with a scratch folder of its own. Its methods panic where the harness itself fails: they are for tests.
#[derive(Debug)]
pub struct Session {
    /// The folder, which is the working folder of everything started here.
    pub scratch: Scratch,
    subject: Subject,
}

impl Session {
    /// How long anything started here may take.
    pub const LIMIT: Duration = Duration::from_secs(60);

    /// A session with a subject.
    ///
    /// # Panics
    /// The scratch folder cannot be made.
    pub fn new(subject: Subject) -> Self {
        Self { scratch: Scratch::new().expect("a scratch folder"), subject }
    }

    /// The command `pernet ARGS...`, not yet started.
    ///
    /// # Panics
    /// The binary cannot be made reachable.
    pub fn command(&self, args: &[&str]) -> Command {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let argv = self.subject.argv(&self.scratch, &args).expect("a command line");
        self.scratch.command(&argv)
    }

    /// The command line of `pernet ARGS...`.
    ///
    /// # Panics
    /// The binary cannot be made reachable.
    pub fn argv(&self, args: &[&str]) -> Vec<String> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        self.subject.argv(&self.scratch, &args).expect("a command line")
    }

    /// Runs `pernet ARGS...`.
    ///
    /// # Panics
    /// It cannot be started, or does not end in time.
    pub fn pernet(&self, args: &[&str]) -> Done {
        self.finish(&mut self.command(args))
    }

    /// Runs `pernet run -- sh -c SCRIPT sh ARGS...`.
    ///
    /// # Panics
    /// As [`Session::pernet`].
    pub fn sh(&self, script: &str, args: &[&str]) -> Done {
        let mut all = vec!["run", "--", "/bin/sh", "-c", script, "sh"];
        all.extend(args);
        self.pernet(&all)
    }

    /// Runs `pernet run -- python3 -u -c PROGRAM` (unbuffered, for programs that fork); the scenarios' `nl` module is at hand.
    ///
    /// # Panics
    /// As [`Session::pernet`].
    pub fn python(&self, program: &str) -> Done {
        self.pernet(&["run", "--", "python3", "-u", "-c", program])
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// It cannot be started, or does not end in time.
    pub fn finish(&self, command: &mut Command) -> Done {
        let start = Instant::now();
        let Finished { status, out, err } =
            run_limited(command, Self::LIMIT).unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let Some(status) = status else {
            panic!("{command:?} did not end in time\nstdout: {out}\nstderr: {err}");
        };
        Done { status, out, err, took: start.elapsed() }
    }
}

/// What a finished command left.
#[derive(Debug)]
pub struct Done {
    /// How it ended.
    pub status: ExitStatus,
    /// Its stdout.
    pub out: String,
    /// Its stderr.
    pub err: String,
    /// How long it took.
    pub took: Duration,
}

impl Done {
    /// Its stdout, after making sure that it succeeded and said nothing on stderr.
    ///
    /// # Panics
    /// It failed or complained.
    pub fn expect_quiet(&self) -> &str {
        assert!(self.status.success() && self.err.is_empty(), "{self:#?}");
        &self.out
    }
}

/// Runs a test as the present user and, being root, as one who holds nothing; prints why the second was skipped. It has a
/// session of its own each time that it is made, which is up to three times.
///
/// # Panics
/// There is no binary to test, or the test failed whenever it was made.
pub fn everybody(what: &str, test: impl Fn(&Session)) {
    for user in [As::Current, As::Nobody] {
        if user == As::Nobody && !is_root() {
            skip(&format!("{what} as {user:?}"), &Skip::NotRoot);
            continue;
        }
        at_last(&format!("{what} as {user:?}"), || {
            let subject = Subject::find().expect("a pernet binary").run_as(user);
            test(&Session::new(subject));
        });
    }
}
