//! The `pernet` command.
#![forbid(unsafe_code)]
use std::ffi::OsString;
fn main() {
    let command: Vec<OsString> = std::env::args_os().skip(3).collect();
    match pernet_run::run(&pernet_run::Options { command, map_root_user: false }) {
        Ok(end) => pernet_run::end_as(end),
        Err(e) => { eprintln!("pernet: {e}"); std::process::exit(125) }
    }
}
