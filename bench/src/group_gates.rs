//! Group `gates`: instructions that an operation takes, compared with those on file in `gates.json`.
//!
//! Wall-clock time differs with the machine and its mood; the instructions of a workload in [`crate::counted`] do not, and
//! a change that makes an operation dearer shows as a number. Callgrind counts them in one function and below.
//!
//! **Why they are the same on every run**: one thread; valgrind loads the program, its heap and its stack at the same
//! addresses each time, whatever the kernel randomises; the environment, whose size moves the stack, is empty but for
//! what follows; the program is called by a path of fixed length. So the hash tables, seeded with addresses, are alike too.
//! (Another `TMPDIR` was seen to move 6 instructions of 5 million.)
//! glibc chooses its copying routines by the processor; `GLIBC_TUNABLES` takes the choice away.
//!
//! Another compiler or C library counts otherwise: the file names the compiler it was made with.

use crate::counted::{self, Workload};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Arguments of `gates`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rewrite the file with what is counted now.
    #[arg(long)]
    write: bool,
    /// The file of gates.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/gates.json"))]
    file: PathBuf,
    /// These workloads only.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Keep callgrind's profiles in this folder, for callgrind_annotate.
    #[arg(long)]
    profiles: Option<PathBuf>,
}

/// The file.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Gates {
    /// `rustc --version` of who counted.
    compiler: String,
    gates: Vec<Gate>,
}

/// What one workload may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Gate {
    name: String,
    /// Instructions for each operation.
    instructions: f64,
    /// By how many per cent more it may be; by how many less the figure is out of date.
    tolerance: f64,
}

/// The tolerance of a new gate, in per cent: what a change elsewhere may move by inlining another function.
const TOLERANCE: f64 = 3.0;

/// What a count says about its gate.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Within,
    Above,
    Below,
    Unknown,
}

impl Gate {
    fn judge(&self, counted: f64) -> Verdict {
        let change = (counted - self.instructions) / self.instructions * 100.0;
        match change {
            change if change > self.tolerance => Verdict::Above,
            change if change < -self.tolerance => Verdict::Below,
            change if change.is_finite() => Verdict::Within,
            _ => Verdict::Unknown,
        }
    }
}

/// Counts, prints the table, and fails if a gate is passed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut file = match fs::read_to_string(&args.file) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("{}", args.file.display()))?,
        Err(_) if args.write => Gates::default(),
        Err(error) => return Err(error).with_context(|| format!("{}", args.file.display())),
    };
    let mut wanted: Vec<&Workload> = Vec::new();
    for workload in &counted::ALL {
        if args.only.is_empty() || args.only.iter().any(|name| name == workload.name) {
            wanted.push(counted::find(workload.name)?);
        }
    }
    if let Some(name) = args.only.iter().find(|name| counted::find(name).is_err()) {
        bail!("there is no workload {name}");
    }
    let compiler = compiler();
    let counts = count_all(&wanted, args.profiles.as_deref())?;
    println!("{:>12}  {:>12}  {:>7}  operation", "instructions", "on file", "change");
    let mut above = Vec::new();
    for (workload, counted) in wanted.iter().zip(&counts) {
        let gate = file.gates.iter().find(|gate| gate.name == workload.name);
        let on_file = gate.map_or(f64::NAN, |gate| gate.instructions);
        let change = (counted - on_file) / on_file * 100.0;
        let verdict = gate.map_or(Verdict::Unknown, |gate| gate.judge(*counted));
        let remark = match verdict {
            Verdict::Within => "",
            Verdict::Above => "  ABOVE ITS GATE",
            Verdict::Below => "  below its gate: lower the figure (--write)",
            Verdict::Unknown => "  NOT ON FILE (--write)",
        };
        println!("{counted:>12.1}  {on_file:>12.1}  {change:>+6.1}%  {}: {}{remark}", workload.name, workload.what);
        if matches!(verdict, Verdict::Above | Verdict::Unknown) {
            above.push(workload.name);
        }
    }
    if args.write {
        for (workload, counted) in wanted.iter().zip(counts) {
            let tolerance = file.gates.iter().find(|gate| gate.name == workload.name).map(|gate| gate.tolerance);
            let gate =
                Gate { name: workload.name.into(), instructions: counted, tolerance: tolerance.unwrap_or(TOLERANCE) };
            file.gates.retain(|gate| gate.name != workload.name);
            file.gates.push(gate);
        }
        let place = |gate: &Gate| counted::ALL.iter().position(|workload| workload.name == gate.name);
        file.gates.retain(|gate| place(gate).is_some());
        file.gates.sort_by_key(place);
        file.compiler = compiler;
        fs::write(&args.file, serde_json::to_string_pretty(&file)? + "\n")
            .with_context(|| format!("{}", args.file.display()))?;
        return Ok(());
    }
    if file.compiler != compiler {
        println!("counted with {compiler}, the file with {}", file.compiler);
    }
    ensure!(above.is_empty(), "more instructions than {} allows: {}", args.file.display(), above.join(", "));
    Ok(())
}

/// The compiler that is in use here, as it calls itself.
fn compiler() -> String {
    let out = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("--version").output();
    out.map_or_else(|_| "unknown".to_owned(), |out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// A folder with a name of its own that goes when this does.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("pernet-gates-{:010}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("{}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // In the way of nobody if it stays.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Instructions of each operation, several at a time.
fn count_all(wanted: &[&Workload], profiles: Option<&Path>) -> Result<Vec<f64>> {
    // By its path, so that no PATH need be in the environment.
    let mut places: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    places.retain(|place| place.join("valgrind").is_file());
    let valgrind = places.first().context("there is no valgrind here; it is a package of that name")?.join("valgrind");
    let scratch = Scratch::new()?;
    let folder = match profiles {
        Some(folder) => {
            fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
            folder.canonicalize()?
        }
        None => scratch.0.clone(),
    };
    // By another name, so that the path to this program, which lies on its stack, has always the same length.
    let program = std::env::current_exe().context("where is this program?")?;
    symlink(&program, scratch.0.join("counted")).context("a link to this program")?;
    let next = AtomicUsize::new(0);
    let results = Mutex::new(vec![None; wanted.len()]);
    let count = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(workload) = wanted.get(at) else { return };
            let counted = count(&valgrind, &scratch.0, &folder, workload.name).map_err(|error| format!("{error:#}"));
            if let Ok(mut results) = results.lock()
                && let Some(place) = results.get_mut(at)
            {
                *place = Some(counted);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from).min(4) {
            scope.spawn(count);
        }
    });
    let results = results.into_inner().unwrap_or_default();
    let named = wanted.iter().zip(results);
    named
        .map(|(workload, result)| match result {
            Some(Ok(counted)) => Ok(counted),
            Some(Err(error)) => bail!("{}: {error}", workload.name),
            None => bail!("{}: not counted", workload.name),
        })
        .collect()
}

/// Instructions of one operation of the workload `name`.
fn count(valgrind: &Path, scratch: &Path, folder: &Path, name: &str) -> Result<f64> {
    let out = Command::new(valgrind)
        .args(["--tool=callgrind", "--toggle-collect=*counted*measured*"])
        .arg(format!("--callgrind-out-file={}", folder.join(format!("{name}.callgrind")).display()))
        .args(["./counted", "counted", name])
        .current_dir(scratch)
        .env_clear()
        .env("GLIBC_TUNABLES", PLAIN)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {}", valgrind.display()))?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{}: {}", out.status, said.trim());
    let times: f64 = String::from_utf8_lossy(&out.stdout).trim().parse().context("how often was it done?")?;
    let collected = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse::<f64>().ok());
    let collected = collected.with_context(|| format!("callgrind says no count: {}", said.trim()))?;
    // A program without symbols is one in which the function is not found.
    ensure!(collected > 0.0 && times > 0.0, "nothing was counted; was this program stripped?");
    Ok((collected / times * 10.0).round() / 10.0)
}

/// What newer processors offer to glibc's string functions, refused.
const PLAIN: &str = "glibc.cpu.hwcaps=-AVX2,-AVX,-AVX512F,-AVX512VL,-EVEX,-ERMS,-FSRM,-AVX_Fast_Unaligned_Load";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_passed_above_its_tolerance_and_out_of_date_below() {
        let gate = Gate { name: "create".into(), instructions: 1000.0, tolerance: 3.0 };
        for (counted, want) in [
            (1000.0, Verdict::Within),
            (1030.0, Verdict::Within),
            (1030.2, Verdict::Above),
            (970.0, Verdict::Within),
            (969.8, Verdict::Below),
            (f64::NAN, Verdict::Unknown),
        ] {
            assert_eq!(gate.judge(counted), want, "{counted}");
        }
    }

    #[test]
    fn the_file_has_a_gate_for_each_workload_and_no_other() {
        let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/gates.json")).expect("the file");
        let file: Gates = serde_json::from_str(&text).expect("gates");
        let gates: Vec<&str> = file.gates.iter().map(|gate| gate.name.as_str()).collect();
        assert_eq!(gates, counted::ALL.map(|workload| workload.name));
        assert!(file.gates.iter().all(|gate| gate.instructions > 0.0 && gate.tolerance > 0.0));
    }
}
