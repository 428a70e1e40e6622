//! `pernet ns`: asks the supervisor of the run that we are in.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use pernet_run::{Request, ask};

use crate::args::Ns;

pub(crate) fn carry_out(command: Ns) -> ExitCode {
    let (request, then) = match command {
        Ns::Add { name } => (Request::Add(name), None),
        Ns::Del { name } => (Request::Delete(name), None),
        Ns::List => (Request::List, None),
        Ns::ListId => (Request::ListIds, None),
        Ns::Set { name, id } => (Request::Set(name, id.0), None),
        Ns::Exec { name, command } => (Request::Enter(name), Some(command)),
        Ns::Identify { pid } => (Request::Identify(pid), None),
        Ns::Pids { name } => (Request::Pids(name), None),
    };
    let quiet = matches!(request, Request::Set(..));
    match ask(&request) {
        Ok(text) => {
            if !quiet {
                // A reader that closed its end early has read enough.
                let _ = std::io::stdout().write_all(text.as_bytes());
            }
            then.map_or(ExitCode::SUCCESS, |command| execute(&command))
        }
        Err(e) => {
            eprintln!("pernet: {e}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: &[std::ffi::OsString]) -> ExitCode {
    let Some((program, arguments)) = command.split_first() else {
        return ExitCode::from(2);
    };
    let e = std::process::Command::new(program).args(arguments).exec();
    let (why, code) = match e.kind() {
        std::io::ErrorKind::NotFound => ("there is no such program; check the name and PATH".to_owned(), 127),
        std::io::ErrorKind::PermissionDenied => ("it is not executable; check its permissions".to_owned(), 126),
        _ => (e.to_string(), 126),
    };
    eprintln!("pernet: cannot run \"{}\": {why}", program.display());
    ExitCode::from(code)
}
