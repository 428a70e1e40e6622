//! Manual pages and completions, made from the definition of the command line.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::args::definition;
use crate::fail;

pub(crate) fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition(), "pernet", &mut script);
    print(&script)
}

pub(crate) fn man(directory: Option<&Path>) -> ExitCode {
    if let Some(directory) = directory {
        return match clap_mangen::generate_to(definition(), directory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => fail(&format!(
                "cannot write the manual pages into {}: {e}; the directory must exist and be writable",
                directory.display()
            )),
        };
    }
    let mut page = Vec::new();
    match clap_mangen::Man::new(definition()).render(&mut page) {
        Ok(()) => print(&page),
        Err(e) => fail(&format!("cannot make the manual page: {e}")),
    }
}

fn print(text: &[u8]) -> ExitCode {
    match io::stdout().write_all(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => fail(&format!("cannot print: {e}")),
    }
}
