//! Step-by-step comparison of two runs, and a diff a person can read.

use crate::runner::Answer;
use crate::scenario::Scenario;

/// One step on which the two sides disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The step's index, from 0.
    pub step: usize,
    /// What the reference answered.
    pub reference: Answer,
    /// What the subject answered.
    pub subject: Answer,
}

/// The steps on which two normalised runs disagree. A step that one side never reached is a disagreement.
pub fn compare(reference: &[Answer], subject: &[Answer]) -> Vec<Difference> {
    let missing = Answer::not_reached();
    (0..reference.len().max(subject.len()))
        .filter_map(|step| {
            let a = reference.get(step).unwrap_or(&missing);
            let b = subject.get(step).unwrap_or(&missing);
            // Two sides that both failed to get here have not agreed on anything.
            (a != b || a.rc.is_none()).then(|| Difference { step, reference: a.clone(), subject: b.clone() })
        })
        .collect()
}

/// The differences as text: the command, then `-` lines of the reference and `+` lines of the subject.
pub fn render(scenario: &Scenario, differences: &[Difference]) -> String {
    let mut out = String::new();
    for difference in differences {
        let (line, command) =
            scenario.steps.get(difference.step).map_or((0, "?"), |step| (step.line, step.command.as_str()));
        let first = command.lines().next().unwrap_or("");
        out += &format!("  {}.scn:{line}: {first}\n", scenario.name);
        let (a, b) = (&difference.reference, &difference.subject);
        if a.rc != b.rc || a.rc.is_none() {
            out += &format!("    exit code: reference {}, subject {}\n", code(a), code(b));
        }
        for (kind, old, new) in [("stdout", &a.out, &b.out), ("stderr", &a.err, &b.err)] {
            if old != new {
                out += &format!("    {kind}:\n");
                for line in diff(old, new) {
                    out += &format!("      {line}\n");
                }
            }
        }
    }
    out
}

fn code(answer: &Answer) -> String {
    answer.rc.map_or_else(|| "not reached".to_owned(), |rc| rc.to_string())
}

/// A line diff by longest common subsequence; answers are tens of lines, so the square table is small.
fn diff(old: &str, new: &str) -> Vec<String> {
    let a: Vec<&str> = old.lines().collect();
    let b: Vec<&str> = new.lines().collect();
    let mut common = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            out.push(format!("  {}", a[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < a.len() && (j == b.len() || common[i + 1][j] >= common[i][j + 1]) {
            out.push(format!("- {}", a[i]));
            i += 1;
        } else {
            out.push(format!("+ {}", b[j]));
            j += 1;
        }
    }
    context(&out)
}

/// Keeps two unchanged lines around each change.
fn context(lines: &[String]) -> Vec<String> {
    let changed = |line: &String| !line.starts_with("  ");
    let mut out = Vec::new();
    let mut skipped = false;
    for at in 0..lines.len() {
        let near = lines[at.saturating_sub(2)..(at + 3).min(lines.len())].iter().any(changed);
        if near {
            out.push(lines[at].clone());
        } else if !skipped {
            out.push("  ...".to_owned());
        }
        skipped = !near;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rc: i32, out: &str) -> Answer {
        Answer { rc: Some(rc), out: out.to_owned(), err: String::new() }
    }

    #[test]
    fn agreement_is_silence() {
        assert_eq!(compare(&[answer(0, "x")], &[answer(0, "x")]), []);
    }

    #[test]
    fn an_exit_code_or_a_line_is_enough_to_differ() {
        let scenario = Scenario::parse("demo", "one\ntwo\n").expect("parses");
        let differences = compare(&[answer(0, "x"), answer(1, "a\nb\nc")], &[answer(2, "x"), answer(1, "a\nB\nc")]);
        let text = render(&scenario, &differences);
        assert!(text.contains("demo.scn:1: one\n    exit code: reference 0, subject 2"), "{text}");
        assert!(text.contains("- b\n      + B"), "{text}");
    }

    #[test]
    fn a_step_nobody_reached_is_a_difference() {
        let nowhere = [Answer::not_reached()];
        assert_eq!(compare(&nowhere, &nowhere).len(), 1);
        assert_eq!(compare(&[answer(0, "")], &[]).len(), 1);
    }

    #[test]
    fn far_away_lines_are_left_out() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n";
        let lines = diff(old, &old.replace('8', "x"));
        assert_eq!(lines, ["  ...", "  6", "  7", "- 8", "+ x"]);
    }
}
