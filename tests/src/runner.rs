//! Runs a scenario behind a command and collects what each step answered.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::kernel::Kernel;
use crate::normalise::normalise;
use crate::process::run_limited;
use crate::scenario::Scenario;
use crate::scratch::Scratch;
use crate::subject::Subject;

/// What one step answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The exit code; `None` when the step was never reached.
    pub rc: Option<i32>,
    /// Its stdout.
    pub out: String,
    /// Its stderr.
    pub err: String,
}

impl Answer {
    /// The answer of a step that the run never got to.
    pub fn not_reached() -> Self {
        Self { rc: None, out: String::new(), err: String::new() }
    }
}

/// One run of a scenario.
#[derive(Clone, Debug)]
pub struct Run {
    /// The normalised answers, one a step.
    pub answers: Vec<Answer>,
    /// What the command around the script itself printed, which should be nothing.
    pub said: String,
    /// How long it took.
    pub took: Duration,
}

/// Runs a scenario in a fresh kernel namespace (`None`) or under the subject, for at most a minute.
///
/// # Errors
/// The scratch folder cannot be prepared or the command cannot be started. A step that fails, or a run that does not
/// finish, is an answer and not an error.
pub fn run(scenario: &Scenario, subject: Option<&Subject>) -> Result<Run> {
    const LIMIT: Duration = Duration::from_secs(60);
    let scratch = Scratch::new()?;
    let shell = ["/bin/bash".to_owned(), write_script(scenario, &scratch)?];
    let argv = match subject {
        Some(subject) => subject.run_argv(&scratch, &shell)?,
        None => Kernel::argv(&shell),
    };
    let start = Instant::now();
    let done =
        run_limited(&mut scratch.command(&argv), LIMIT).with_context(|| format!("starting {}", argv.join(" ")))?;
    let took = start.elapsed();
    let mut answers: Vec<Answer> = (0..scenario.steps.len()).map(|step| collect(scratch.path(), step)).collect();
    normalise(scenario, &mut answers, &scratch.name());
    let mut said = done.out + &done.err;
    match done.status {
        None => said += "\nkilled: the run did not end in time\n",
        Some(status) if !status.success() => said += &format!("\nthe run ended with {status}\n"),
        Some(_) => {}
    }
    Ok(Run { answers, said: said.replace(&scratch.name(), "$W"), took })
}

/// Each step is a file of its own, read by the one shell: a syntax error spoils its step and no other.
fn write_script(scenario: &Scenario, scratch: &Scratch) -> Result<String> {
    let steps = scratch.path().join(".step");
    fs::create_dir(&steps)?;
    // Monitor mode off: no "[1] 1234" lines.
    let mut script = "set +m\n".to_owned();
    for (number, step) in scenario.steps.iter().enumerate() {
        scratch.file(&format!(".step/{number}"), &format!("{}\n", step.command))?;
        script += &format!(
            ". \"$W/.step/{number}\" >\"$W/.out{number}\" 2>\"$W/.err{number}\" </dev/null; echo $? >\"$W/.rc{number}\"\n"
        );
    }
    script += "exit 0\n";
    let path = scratch.file(".script", &script)?;
    Ok(path.to_string_lossy().into_owned())
}

fn collect(scratch: &Path, step: usize) -> Answer {
    let read = |kind: &str| {
        fs::read(scratch.join(format!(".{kind}{step}")))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    };
    Answer { rc: read("rc").trim().parse().ok(), out: read("out"), err: read("err") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::Subject;

    /// Stands for `pernet`: `SCRIPT run -- CMD...` just runs CMD.
    fn transparent(scratch: &Scratch) -> Subject {
        let path = scratch.file("plain", "#!/bin/sh\nshift 2\nexec \"$@\"\n").expect("writes");
        Subject::new(path)
    }

    #[test]
    fn steps_share_a_shell_and_answer_apart() {
        let text = "x=5\necho $x; echo no >&2; (exit 3)\n( unclosed\ncat <<E\n$x\nE\npwd\n";
        let scenario = Scenario::parse("x", text).expect("parses");
        let scratch = Scratch::new().expect("scratch");
        let run = run(&scenario, Some(&transparent(&scratch))).expect("runs");
        assert_eq!(run.said, "");
        let seen: Vec<_> = run.answers.iter().map(|answer| (answer.rc, answer.out.as_str())).collect();
        assert_eq!(seen[0], (Some(0), ""));
        assert_eq!(seen[1], (Some(3), "5"));
        assert_eq!(run.answers[1].err, "no");
        assert_ne!(seen[2].0, Some(0));
        assert_eq!(seen[3], (Some(0), "5"));
        assert_eq!(seen[4], (Some(0), "$W"));
    }

    #[test]
    fn a_script_that_leaves_early_reaches_nothing_more() {
        let scenario = Scenario::parse("x", "exit 4\necho never\n").expect("parses");
        let scratch = Scratch::new().expect("scratch");
        let run = run(&scenario, Some(&transparent(&scratch))).expect("runs");
        assert_eq!(run.answers[1], Answer::not_reached());
        assert!(run.said.contains("exit status: 4"), "{}", run.said);
    }
}
