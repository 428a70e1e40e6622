//! Runs a command as a container runtime's default profile would: `setns`, `unshare`, `mount`, `pidfd_getfd` and
//! `clone` with namespace flags are refused by a filter that no supervisor inside can overrule.
//!
//! `outer_filter COMMAND [ARGUMENT…]`

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("outer_filter: a command is missing");
        return ExitCode::from(2);
    };
    if let Err(e) = pernet_run::enter_container_profile() {
        eprintln!("outer_filter: cannot install the filter: {e}");
        return ExitCode::from(125);
    }
    let e = Command::new(&program).args(arguments).exec();
    eprintln!("outer_filter: cannot run {}: {e}", program.display());
    ExitCode::from(127)
}
