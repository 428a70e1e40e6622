//! Recorded answers of the kernel: `answers/NAME.json`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::runner::Answer;
use crate::scenario::Scenario;

/// What a kernel answered to a scenario, with the commands it was asked, so that a changed scenario cannot be compared
/// with the answers to its former self.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// The kernel that was asked, major and minor.
    pub kernel: String,
    /// One entry a step.
    pub steps: Vec<Recorded>,
}

/// One recorded step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The shell text of the step.
    pub command: String,
    /// What came back, normalised.
    #[serde(flatten)]
    pub answer: Answer,
}

impl Answers {
    /// Puts a run of the kernel into the form that is stored.
    pub fn record(scenario: &Scenario, kernel: (u32, u32), answers: &[Answer]) -> Self {
        Self {
            kernel: format!("{}.{}", kernel.0, kernel.1),
            steps: scenario
                .steps
                .iter()
                .zip(answers)
                .map(|(step, answer)| Recorded { command: step.command.clone(), answer: answer.clone() })
                .collect(),
        }
    }

    /// Writes the file of a scenario.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, dir: &Path, name: &str) -> Result<()> {
        let path = dir.join(format!("{name}.json"));
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// Reads the file of a scenario and makes sure that it answers this very scenario.
    ///
    /// # Errors
    /// There is no such file, it does not parse, or its commands are not the scenario's.
    pub fn load(dir: &Path, scenario: &Scenario) -> Result<Self> {
        let path = dir.join(format!("{}.json", scenario.name));
        let text = fs::read_to_string(&path).with_context(|| {
            format!("no recorded answers; `cargo run -p e2e -- --record` as root makes {}", path.display())
        })?;
        let answers: Self = serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        let asked: Vec<&str> = answers.steps.iter().map(|step| step.command.as_str()).collect();
        let asks: Vec<&str> = scenario.steps.iter().map(|step| step.command.as_str()).collect();
        if asked != asks {
            bail!("{} answers another version of the scenario; record it again", path.display());
        }
        Ok(answers)
    }

    /// The answers alone.
    pub fn answers(&self) -> Vec<Answer> {
        self.steps.iter().map(|step| step.answer.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_a_changed_scenario_is_refused() {
        let dir = tempfile::tempdir().expect("tempdir");
        let scenario = Scenario::parse("demo", "echo one\n").expect("parses");
        let answer = Answer { rc: Some(0), out: "one".to_owned(), err: String::new() };
        let answers = Answers::record(&scenario, (6, 18), &[answer]);
        answers.save(dir.path(), "demo").expect("saves");
        assert_eq!(Answers::load(dir.path(), &scenario).expect("loads"), answers);

        let changed = Scenario::parse("demo", "echo two\n").expect("parses");
        let error = Answers::load(dir.path(), &changed).expect_err("refuses");
        assert!(error.to_string().contains("record it again"), "{error}");
    }
}
