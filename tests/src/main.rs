//! Runs scenarios by hand: `cargo run -p e2e -- [OPTIONS] [FILE...]`.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use e2e::{Answers, As, Kernel, Run, Scenario, Subject, answer_dir, compare, load_all, render, run, scenario_dir};

const USAGE: &str = "\
Usage: e2e [OPTIONS] [FILE...]

Runs each scenario (all of tests/scenarios without FILE) in a fresh kernel namespace and under `pernet run`, and prints
the steps on which they differ. Without root, or where the machine refuses kernel namespaces, the recorded answers of
tests/answers stand in for the kernel.

  --pernet PATH    the binary to test (default: PERNET_BIN, or the one in the target folder, built if absent)
  --as-nobody      run it as uid 65534 with no capability (needs root)
  --wrap 'CMD...'  put a command in front of it, such as one that installs a seccomp filter
  --recorded       compare with the recorded answers even where the kernel could be asked
  --record         ask the kernel twice, insist that it agrees with itself, and store its answers
  --kernel-twice   compare the kernel with itself: a scenario must be stable before it can judge
  -v               print every step's answer too
  -h, --help       this text";

#[derive(Default)]
struct Options {
    pernet: Option<PathBuf>,
    nobody: bool,
    wrap: Vec<String>,
    recorded: bool,
    record: bool,
    kernel_twice: bool,
    verbose: bool,
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    match options().and_then(|options| options.map_or(Ok(true), |options| work(&options))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("e2e: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The command line; `None` when only help was asked for.
fn options() -> Result<Option<Options>> {
    let mut options = Options::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--pernet" => options.pernet = Some(args.next().context("--pernet needs a path")?.into()),
            "--wrap" => {
                let command = args.next().context("--wrap needs a command")?;
                options.wrap = command.split_whitespace().map(str::to_owned).collect();
            }
            "--as-nobody" => options.nobody = true,
            "--recorded" => options.recorded = true,
            "--record" => options.record = true,
            "--kernel-twice" => options.kernel_twice = true,
            "-v" => options.verbose = true,
            "-h" | "--help" => {
                println!("{USAGE}");
                return Ok(None);
            }
            file if !file.starts_with('-') => options.files.push(file.into()),
            other => bail!("unknown option {other}; --help lists them"),
        }
    }
    Ok(Some(options))
}

fn work(options: &Options) -> Result<bool> {
    let scenarios = if options.files.is_empty() {
        load_all(&scenario_dir())?
    } else {
        options.files.iter().map(|file| Scenario::load(file)).collect::<Result<_>>()?
    };
    let kernel = Kernel::probe();
    if let Err(why) = &kernel {
        if options.record || options.kernel_twice {
            bail!("{why}");
        }
        println!("{why}; comparing with the recorded answers");
    }
    let subject = if options.record || options.kernel_twice {
        None
    } else {
        let subject = match &options.pernet {
            Some(path) => Subject::new(path.canonicalize().with_context(|| path.display().to_string())?),
            None => Subject::find()?,
        };
        let user = if options.nobody { As::Nobody } else { As::Current };
        Some(subject.wrapped(options.wrap.clone()).run_as(user))
    };
    let (mut identical, mut total, mut failed) = (0, 0, 0);
    for scenario in &scenarios {
        if scenario.root && options.nobody {
            println!("{:<28} left out: its programs refuse other users than root", scenario.name);
            continue;
        }
        let ask = kernel.as_ref().ok().filter(|kernel| !options.recorded && kernel.can_judge(scenario));
        let reference = match ask {
            Some(_) => run(scenario, None)?,
            None => recorded(scenario)?,
        };
        let tested = run(scenario, subject.as_ref())?;
        let differences = compare(&reference.answers, &tested.answers);
        let steps = scenario.steps.len();
        identical += steps - differences.len();
        total += steps;
        failed += usize::from(!differences.is_empty());
        println!(
            "{:<28} {:>3}/{steps} steps identical   {} {:.1} s, {} {:.1} s",
            scenario.name,
            steps - differences.len(),
            if ask.is_some() { "kernel" } else { "recorded" },
            reference.took.as_secs_f64(),
            if subject.is_some() { "pernet" } else { "kernel" },
            tested.took.as_secs_f64(),
        );
        for said in [&reference.said, &tested.said] {
            if !said.trim().is_empty() {
                println!("  around the script: {}", said.trim());
            }
        }
        print!("{}", render(scenario, &differences));
        if options.verbose {
            show(scenario, &reference);
        }
        if options.record && differences.is_empty() {
            let kernel = kernel.as_ref().map_or((0, 0), |kernel| kernel.version());
            Answers::record(scenario, kernel, &reference.answers).save(&answer_dir(), &scenario.name)?;
        }
    }
    println!("{identical} of {total} steps identical, {failed} of {} scenarios differ", scenarios.len());
    Ok(failed == 0)
}

fn recorded(scenario: &Scenario) -> Result<Run> {
    Ok(Run {
        answers: Answers::load(&answer_dir(), scenario)?.answers(),
        said: String::new(),
        took: std::time::Duration::ZERO,
    })
}

fn show(scenario: &Scenario, run: &Run) {
    for (step, answer) in scenario.steps.iter().zip(&run.answers) {
        println!("  $ {}", step.command.replace('\n', "\n  > "));
        let rc = answer.rc.map_or_else(|| "not reached".to_owned(), |rc| rc.to_string());
        println!("    exit code {rc}");
        for (mark, text) in [(' ', &answer.out), ('!', &answer.err)] {
            for line in text.lines() {
                println!("   {mark}{line}");
            }
        }
    }
}
