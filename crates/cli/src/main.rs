//! The `pernet` command: network namespaces for unmodified programs, without root.
#![forbid(unsafe_code)]

mod args;
mod doctor;
mod ns;
mod pages;

use std::process::ExitCode;

use args::{Command, parse};

/// As many connections as there are, so many buffers.
#[global_allocator]
static ALLOCATOR: pernet_run::Allocator = pernet_run::Allocator;

/// Something before or beside the program failed; below are the program's own statuses.
const OWN_FAILURE: u8 = 125;

fn main() -> ExitCode {
    let command = match parse() {
        Ok(command) => command,
        Err(code) => return code,
    };
    match command {
        Command::Run(run) => {
            let args::Run { command, map_root_user, fast_local } = run;
            let options = pernet_run::Options { command, map_root_user, fast_local };
            match pernet_run::run(&options) {
                Ok(end) => pernet_run::end_as(end),
                Err(e) => fail(&e),
            }
        }
        Command::Ns(command) => ns::carry_out(command),
        Command::Capture(capture) => match pernet_run::capture(&capture.options()) {
            Ok(packets) => {
                eprintln!("pernet: {packets} packets captured");
                ExitCode::SUCCESS
            }
            Err(e) => {
                eprintln!("pernet: {e}");
                ExitCode::FAILURE
            }
        },
        Command::Doctor => doctor::report(),
        Command::Completions { shell } => pages::completions(shell),
        Command::Man { directory } => pages::man(directory.as_deref()),
    }
}

/// One sentence on the error stream.
fn fail(e: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("pernet: {e}");
    ExitCode::from(OWN_FAILURE)
}
