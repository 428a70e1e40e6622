//! pernet and the kernel measured side by side, in one run and with the same names.
//!
//! ```text
//! cargo run --release -p bench -- core  [--json] [--n 1,1000,100000]
//! cargo run --release -p bench -- depth [--json] [--part alive,threads] [--at-most 1000000]
//! cargo run --release -p bench -- control [--json] [--pairs 10000] [--routes 100000] [--part veth,route,ip]
//! cargo run --release -p bench -- stack [--json] [--n 2000] [--seconds 3]
//! cargo run --release -p bench -- run   [--json] [--times 100]
//! cargo run --release -p bench -- gates [--write]
//! ```
//!
//! Each group is one module with one `run` function; every figure it makes is a [`row::Row`], tagged with the side that
//! it belongs to, so a new group adds a module and one arm below and gets the table, the ratios and `--json` for nothing.
//!
//! `gates` counts instructions instead of measuring time: the same on every run, so a test can insist on them.
//!
//! Every half runs in a process of its own ([`child`]): the kernel's half moves itself into fresh namespaces, which must
//! not touch the process that goes on, and both measure memory, which only means something in a fresh heap.

#![forbid(unsafe_code)]

mod child;
mod control;
mod counted;
mod depth;
mod group_control;
mod group_core;
mod group_depth;
mod group_gates;
mod group_run;
mod group_stack;
mod in_process;
mod kernel;
mod life;
mod limits;
mod measure;
mod message;
mod ours;
mod report;
mod row;
mod system;
mod traffic;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// pernet and the kernel, side by side in one run.
#[derive(Parser)]
#[command(name = "bench")]
struct Cli {
    #[command(subcommand)]
    group: Group,
}

/// The groups of figures that exist today.
#[derive(Subcommand)]
enum Group {
    /// Create, name, find, dump and tear down n namespaces.
    Core(group_core::Args),
    /// What a table of `core` does not tell: threads, single deaths, a million, and more.
    Depth(group_depth::Args),
    /// Configure links and routes, in process and by `ip`.
    Control(group_control::Args),
    /// Packets between two namespaces, by programs in them.
    Stack(group_stack::Args),
    /// Count instructions (with valgrind) and compare them with those on file.
    Gates(group_gates::Args),
    /// Start a program: `pernet run -- true` against `unshare -Urn true`.
    Run(group_run::Args),
    /// One half of `core`, in the process that this one starts for it.
    #[command(hide = true)]
    Half(child::Args),
    /// The two ends of the traffic of `stack`, in the namespaces that it makes.
    #[command(hide = true)]
    Traffic(traffic::Args),
    /// The rows of `stack` that need one process only.
    #[command(hide = true)]
    InProcess(in_process::Args),
    /// One workload whose instructions are counted.
    #[command(hide = true)]
    Counted(counted::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().group {
        Group::Core(args) => group_core::run(&args),
        Group::Depth(args) => group_depth::run(&args),
        Group::Control(args) => group_control::run(&args),
        Group::Stack(args) => group_stack::run(&args),
        Group::Gates(args) => group_gates::run(&args),
        Group::Run(args) => group_run::run(&args),
        Group::Half(args) => child::run(&args),
        Group::Traffic(args) => traffic::run(&args),
        Group::InProcess(args) => in_process::run(&args),
        Group::Counted(args) => counted::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_are_a_comma_separated_list() {
        let cli = Cli::parse_from(["bench", "core", "--json", "--n", "1,20"]);
        let Group::Core(args) = cli.group else { panic!("not the core group") };
        assert!(args.json);
        assert_eq!(args.n, [1, 20]);
    }

    #[test]
    fn a_size_of_zero_is_refused() {
        assert!(Cli::try_parse_from(["bench", "core", "--n", "0"]).is_err());
    }
}
