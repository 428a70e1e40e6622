//! Halves in processes of their own: this program started again, its figures read back line by line.

use crate::control;
use crate::depth::{self, Part};
use crate::kernel::Kernel;
use crate::life;
use crate::ours::World;
use crate::row::{Row, Side};
use anyhow::{Context, Result, ensure};
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Arguments of the hidden `half` command.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Whose half.
    #[arg(long)]
    side: Side,
    /// How many namespaces.
    #[arg(long)]
    n: u64,
    /// Of the group `depth`, this part; else the whole of `core`.
    #[arg(long)]
    part: Option<Part>,
    /// Of the group `control`, this part.
    #[arg(long)]
    control: Option<control::Part>,
}

/// What a half measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The whole of `core`.
    Core,
    /// A part of `depth`.
    Depth(Part),
    /// A part of `control`.
    Control(control::Part),
}

/// Measures one half in this process and prints its rows as JSON.
pub(crate) fn run(args: &Args) -> Result<()> {
    let emit = |row: Row| {
        let mut out = std::io::stdout().lock();
        // A reader that left wants nothing more; the exit status says so to whoever still looks.
        if writeln!(out, "{}", row.to_json()).and_then(|()| out.flush()).is_err() {
            std::process::exit(1);
        }
    };
    if let Some(part) = args.part {
        return depth::of(args.side, part, args.n, emit);
    }
    if let Some(part) = args.control {
        return control::of(args.side, part, args.n, emit);
    }
    match args.side {
        Side::Pernet => life::measure(&World::new()?, args.n, emit),
        Side::Kernel => match Kernel::enter() {
            Ok(kernel) => life::measure(&kernel, args.n, emit),
            Err(why) => {
                emit(Row::capped(Side::Kernel, args.n, 0, why));
                Ok(())
            }
        },
    }
}

/// Starts this program again for one half and returns its rows; at most `deadline` long.
///
/// # Errors
/// What went wrong, with the rows that had been measured by then.
pub(crate) fn half(side: Side, what: What, n: u64, deadline: Duration) -> (Vec<Row>, Result<()>) {
    let mut rows = Vec::new();
    let end = collect(side, what, n, deadline, &mut rows);
    (rows, end)
}

fn collect(side: Side, what: What, n: u64, deadline: Duration, rows: &mut Vec<Row>) -> Result<()> {
    let program = env::current_exe().context("where is this program?")?;
    let mut command = Command::new(program);
    command.args(["half", "--side", &side.to_string(), "--n", &n.to_string()]);
    match what {
        What::Core => {}
        What::Depth(part) => _ = command.args(["--part", &part.to_string()]),
        What::Control(part) => _ = command.args(["--control", &part.to_string()]),
    }
    if what == What::Depth(Part::Threads) {
        command.env("GLIBC_TUNABLES", depth::KEEP);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting the {side} half"))?;
    let lines = BufReader::new(child.stdout.take().context("the half has no output")?).lines();
    let (sender, receiver) = mpsc::channel();
    // The reader ends with the pipe, and the pipe with the child: it is never left behind.
    let reader = thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let end = Instant::now() + deadline;
    let outcome = loop {
        match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(row) => rows.push(row),
                Err(error) => break Err(error).context("a line that is no figure"),
            },
            Err(mpsc::RecvTimeoutError::Disconnected) => break Ok(()),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                break Err(anyhow::anyhow!("stopped after {} s", deadline.as_secs()));
            }
        }
    };
    if outcome.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().context("waiting for the half")?;
    drop(receiver);
    let _ = reader.join();
    outcome?;
    ensure!(status.success(), "the {side} half ended with {status}");
    Ok(())
}
