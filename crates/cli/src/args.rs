//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

/// Network namespaces for unmodified programs, without root, kernel namespaces or modules.
#[derive(Debug, Parser)]
#[command(name = "pernet", version, arg_required_else_help = false)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command in a fresh network namespace of its own
    #[command(
        after_help = "Inside, `ip netns`, `ip -n`, `nsenter --net`, `unshare -n` and programs that speak rtnetlink work as on Linux.\n\nExit status: the command's own; 127 if it was not found, 126 if it is not executable, 125 if pernet failed."
    )]
    Run(Run),
    /// Named namespaces, from inside `pernet run`, where the machine does not let `ip netns` work
    #[command(subcommand)]
    Ns(Ns),
    /// Write the packets of a device into a file that Wireshark opens (pcapng)
    Capture(Capture),
    /// Say what this machine offers of what `pernet run` needs
    Doctor,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all pages into a directory
    Man {
        /// Where to write them
        directory: Option<PathBuf>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The command sees itself as root, as with `unshare -r`
    #[arg(short = 'r', long)]
    pub(crate) map_root_user: bool,
    /// Join the programs at both ends of a TCP connection directly where nothing on its way needs to see the bytes: faster,
    /// and no longer counted
    #[arg(long)]
    pub(crate) fast_local: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct Capture {
    /// The device, with the name of its namespace if that is not the current one: `eth0`, `blue/eth0`
    #[arg(value_name = "[NS/]DEV")]
    pub(crate) device: String,
    /// The file; the standard output without it, or if it is `-`
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// End after so many packets; without it, when interrupted
    #[arg(short = 'c', long)]
    pub(crate) count: Option<u64>,
    /// Keep so many bytes of each packet
    #[arg(short = 's', long, default_value_t = 262_144, value_parser = clap::value_parser!(u32).range(1..=262_144))]
    pub(crate) snaplen: u32,
}

impl Capture {
    /// As the library wants it. No device has a slash in its name.
    pub(crate) fn options(&self) -> pernet_run::CaptureOptions {
        let (namespace, device) = match self.device.rsplit_once('/') {
            Some((namespace, device)) => (Some(namespace.to_owned()), device),
            None => (None, self.device.as_str()),
        };
        pernet_run::CaptureOptions {
            namespace,
            device: device.to_owned(),
            file: self.file.clone(),
            count: self.count,
            snaplen: self.snaplen,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ns {
    /// Make a namespace with a name
    Add {
        /// Its name
        name: String,
    },
    /// Take a name away; the namespace goes when nothing else holds it
    #[command(alias = "delete")]
    Del {
        /// The name
        name: String,
    },
    /// List the names, each with its id in the current namespace
    List,
    /// List the ids that the current namespace knows
    ListId,
    /// Give a named namespace an id in the current one
    Set {
        /// The name
        name: String,
        /// A number, or `auto` for the lowest free one
        #[arg(allow_hyphen_values = true)]
        id: Id,
    },
    /// Run a command in a named namespace
    Exec {
        /// The name
        name: String,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Tell the names of the namespace that a process is in
    Identify {
        /// The process; without it, the current one
        pid: Option<i32>,
    },
    /// List the processes in a named namespace
    Pids {
        /// The name
        name: String,
    },
}

/// An id on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(pub(crate) Option<i32>);

impl std::str::FromStr for Id {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        if s == "auto" {
            return Ok(Self(None));
        }
        let number = s.parse::<i32>().map_err(|_| "an id is a number from 0 to 2147483647, or auto".to_owned())?;
        // As in Linux, any negative number asks for the lowest free one.
        Ok(Self(Some(number)))
    }
}

/// The command line, or how to end if it is only asked for help, or wrong.
pub(crate) fn parse() -> Result<Command, ExitCode> {
    match Cli::try_parse() {
        Ok(cli) => {
            if let Some(option) = misplaced_option(&cli.command) {
                eprintln!(
                    "pernet: unexpected argument '{}' found; put `--` before a command that begins with a dash",
                    option.display()
                );
                return Err(ExitCode::from(2));
            }
            Ok(cli.command)
        }
        Err(e) => match e.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                // A reader that closed its end early has read enough.
                let _ = e.print();
                Err(ExitCode::SUCCESS)
            }
            _ => {
                eprintln!("pernet: {}", sentence(&e));
                Err(ExitCode::from(2))
            }
        },
    }
}

/// A command cannot begin with a dash unless `--` says that it does: it is an option that we do not have.
fn misplaced_option(command: &Command) -> Option<&OsString> {
    let words = match command {
        Command::Run(run) => &run.command,
        Command::Ns(Ns::Exec { command, .. }) => command,
        _ => return None,
    };
    let first = words.first().filter(|w| w.as_encoded_bytes().starts_with(b"-"))?;
    let told = std::env::args_os().take_while(|a| a != first).any(|a| a == "--");
    (!told).then_some(first)
}

/// The parser's complaint as one sentence.
fn sentence(e: &clap::Error) -> String {
    if matches!(e.kind(), ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand) {
        return "a command is missing: run, ns, capture or doctor; `pernet --help` tells what they do".into();
    }
    let text = e.to_string();
    let complaint: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|l| !l.is_empty() && !l.starts_with("Usage:") && !l.starts_with("tip:"))
        .collect();
    let complaint = complaint.join(" ");
    format!("{}; `pernet --help` shows how", complaint.trim_start_matches("error: "))
}

/// The parser, for completions and manual pages.
pub(crate) fn definition() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn wrong_lines_are_one_sentence() {
        for line in [
            vec!["pernet"],
            vec!["pernet", "run"],
            vec!["pernet", "--bogus"],
            vec!["pernet", "ns", "set", "a", "b"],
            vec!["pernet", "bogus"],
        ] {
            let text = sentence(&Cli::try_parse_from(&line).unwrap_err());
            assert!(!text.contains('\n') && !text.is_empty(), "{line:?}: {text}");
        }
    }

    #[test]
    fn the_commands_own_options_stay_its_own() {
        let cli = Cli::try_parse_from(["pernet", "run", "-r", "--", "ls", "-r", "--help"]).unwrap();
        let Command::Run(run) = cli.command else { panic!("not run") };
        assert!(run.map_root_user);
        assert_eq!(run.command, ["ls", "-r", "--help"]);
    }

    #[test]
    fn ids_are_numbers_or_auto() {
        assert_eq!("auto".parse(), Ok(Id(None)));
        assert_eq!("7".parse(), Ok(Id(Some(7))));
        assert!("x".parse::<Id>().is_err());
        assert!("2147483648".parse::<Id>().is_err());
    }
}
