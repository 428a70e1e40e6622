//! What no two runs agree on is replaced by a name.
//!
//! Values that identify something are numbered in order of appearance, so that *equality* between two places of one
//! step's answer survives (not of two steps: the kernel gives the inode number of a namespace that died between them to
//! the next one, when it pleases): `net:[4026532281] net:[4026532281] net:[4026532350]` becomes
//! `net:[<INO1>] net:[<INO1>] net:[<INO2>]` on both sides or the sides differ.
//!
//! A scenario can mask more with `#@ mask PATTERN`: literal text in which `%d` stands for decimal digits, `%x` for
//! hexadecimal digits, `%w` for a run of non-blanks, `%*` for the rest of the line and `%%` for a per cent sign.

use std::collections::HashMap;

use anyhow::{Result, bail};

use crate::runner::Answer;
use crate::scenario::{Comparison, Scenario};

/// A parsed `#@ mask` pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mask(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Decimal,
    Hexadecimal,
    Word,
    Rest,
}

impl Mask {
    /// Parses a pattern; an empty one and one of wildcards alone are refused, for they would hide whole answers.
    pub(crate) fn parse(pattern: &str) -> Result<Self> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            let part = match chars.next() {
                Some('d') => Part::Decimal,
                Some('x') => Part::Hexadecimal,
                Some('w') => Part::Word,
                Some('*') => Part::Rest,
                Some('%') => {
                    text.push('%');
                    continue;
                }
                other => bail!("mask: % is followed by {other:?}, not one of d x w * %"),
            };
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(part);
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        if !parts.iter().any(|part| matches!(part, Part::Text(_))) {
            bail!("mask: a pattern needs some literal text");
        }
        Ok(Self(parts))
    }

    /// How many bytes at the start of `line` the pattern matches, greedily and without backtracking.
    fn matches(&self, line: &str) -> Option<usize> {
        let mut rest = line;
        for part in &self.0 {
            let length = match part {
                Part::Text(text) => rest.starts_with(text.as_str()).then_some(text.len())?,
                Part::Decimal => run_of(rest, |c| c.is_ascii_digit())?,
                Part::Hexadecimal => run_of(rest, |c| c.is_ascii_hexdigit())?,
                Part::Word => run_of(rest, |c| !c.is_whitespace())?,
                Part::Rest => rest.len(),
            };
            rest = &rest[length..];
        }
        Some(line.len() - rest.len())
    }

    fn apply(&self, line: &str) -> String {
        let mut out = String::with_capacity(line.len());
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            match self.matches(rest) {
                Some(length) if length > 0 => {
                    out.push_str("<*>");
                    rest = &rest[length..];
                }
                _ => {
                    out.push(c);
                    rest = &rest[c.len_utf8()..];
                }
            }
        }
        out
    }
}

fn run_of(text: &str, wanted: impl Fn(char) -> bool) -> Option<usize> {
    let length = text.find(|c| !wanted(c)).unwrap_or(text.len());
    (length > 0).then_some(length)
}

/// Names given to values, in order of appearance.
#[derive(Default)]
struct Names(HashMap<(&'static str, String), usize>, HashMap<&'static str, usize>);

impl Names {
    fn of(&mut self, kind: &'static str, value: &str) -> String {
        let known = self.0.entry((kind, value.to_owned())).or_insert_with(|| {
            let count = self.1.entry(kind).or_default();
            *count += 1;
            *count
        });
        format!("<{kind}{known}>")
    }
}

/// Normalises the answers of one run in place, and drops what the scenario does not compare.
///
/// `scratch` is the run's scratch folder, which reads `$W` afterwards.
pub fn normalise(scenario: &Scenario, answers: &mut [Answer], scratch: &str) {
    for (step, answer) in scenario.steps.iter().zip(answers) {
        let mut names = Names::default();
        for text in [&mut answer.out, &mut answer.err] {
            let mut lines: Vec<String> = text
                .replace(scratch, "$W")
                .lines()
                .map(|line| {
                    let mut line = one_line(line.trim_end(), &mut names);
                    for mask in &step.masks {
                        line = mask.apply(&line);
                    }
                    line
                })
                .collect();
            if step.sort {
                lines.sort();
            }
            *text = lines.join("\n");
        }
        if step.comparison != Comparison::Everything {
            answer.err.clear();
        }
        if step.comparison == Comparison::ExitCode {
            answer.out.clear();
        }
    }
}

fn one_line(line: &str, names: &mut Names) -> String {
    let line = shell_prefix(line);
    let line = after(&line, "pid=", |c| c.is_ascii_digit(), |_| "<PID>".to_owned());
    let line = after(&line, "pid ", |c| c.is_ascii_digit(), |_| "<PID>".to_owned());
    let line = after(&line, "\"pid\":", |c| c.is_ascii_digit(), |_| "<PID>".to_owned());
    let mut line = line;
    for kind in ["net", "mnt", "pid", "user", "ipc", "uts", "cgroup", "time", "socket"] {
        line = after(&line, &format!("{kind}:["), |c| c.is_ascii_digit(), |inode| names.of("INO", inode));
    }
    hardware_addresses(&line, names)
}

/// The shell names the file and line of a step in its own messages, and the process id in those on killed jobs; all three
/// belong to the run.
fn shell_prefix(line: &str) -> String {
    let Some(rest) = line.strip_prefix("$W/.step/") else {
        return line.to_owned();
    };
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = match rest.strip_prefix(": line ") {
        Some(rest) => rest.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    let job = rest.strip_prefix(':').map_or("", str::trim_start);
    match run_of(job, |c| c.is_ascii_digit()) {
        Some(digits) if job[digits..].starts_with(' ') => format!("step: <PID>{}", &job[digits..]),
        _ => format!("step{rest}"),
    }
}

/// Replaces the run of `wanted` characters that follows each `prefix`.
fn after(line: &str, prefix: &str, wanted: impl Fn(char) -> bool, mut replace: impl FnMut(&str) -> String) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(prefix) {
        let (head, tail) = rest.split_at(at + prefix.len());
        out.push_str(head);
        rest = tail;
        if let Some(length) = run_of(rest, &wanted) {
            out.push_str(&replace(&rest[..length]));
            rest = &rest[length..];
        }
    }
    out.push_str(rest);
    out
}

/// Random MAC addresses get names; all-zeros, all-ones and multicast ones say something and stay.
fn hardware_addresses(line: &str, names: &mut Names) -> String {
    const LENGTH: usize = 17;
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let bounded = !out.ends_with(|c: char| c.is_ascii_hexdigit() || c == ':');
        if bounded && is_hardware_address(rest) {
            let address = &rest[..LENGTH];
            match address {
                "00:00:00:00:00:00" | "ff:ff:ff:ff:ff:ff" => out.push_str(address),
                _ if address.starts_with("33:33:") || address.starts_with("01:") => {
                    out.push_str(address);
                }
                _ => out.push_str(&names.of("MAC", address)),
            }
            rest = &rest[LENGTH..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

fn is_hardware_address(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 17
        && bytes[..17].iter().enumerate().all(|(at, byte)| match at % 3 {
            2 => *byte == b':',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
        })
        && !bytes.get(17).is_some_and(|byte| byte.is_ascii_hexdigit() || *byte == b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(scenario: &str, out: &[&str]) -> Vec<String> {
        let scenario = Scenario::parse("x", scenario).expect("parses");
        let mut answers: Vec<Answer> =
            out.iter().map(|out| Answer { rc: Some(0), out: (*out).to_owned(), err: String::new() }).collect();
        normalise(&scenario, &mut answers, "/tmp/e2e.abc");
        answers.into_iter().map(|answer| answer.out).collect()
    }

    #[test]
    fn inode_numbers_keep_their_equality_within_a_step() {
        assert_eq!(
            normalised("a\nb\n", &["net:[70] net:[71]\n", "net:[71] mnt:[9]\n"]),
            ["net:[<INO1>] net:[<INO2>]", "net:[<INO1>] mnt:[<INO2>]"]
        );
    }

    #[test]
    fn pids_scratch_and_shell_prefix() {
        assert_eq!(
            normalised(
                "a\n",
                &["/tmp/e2e.abc/.step/12: line 1: foo: command not found\npid=12 /tmp/e2e.abc/f  \n\
                     /tmp/e2e.abc/.step/3: line 11:   1234 Killed    x\n"]
            ),
            ["step: foo: command not found\npid=<PID> $W/f\nstep: <PID> Killed    x"]
        );
    }

    #[test]
    fn masks_hide_what_they_name_and_nothing_else() {
        assert_eq!(normalised("#@ mask cookie %x\na\n", &["cookie 1f cookie zz\n"]), ["<*> cookie zz"]);
        assert_eq!(normalised("#@ mask took %*\na\n", &["it took 5 s\nno\n"]), ["it <*>\nno"]);
        assert!(Mask::parse("%d").is_err());
        assert!(Mask::parse("a%q").is_err());
    }

    #[test]
    fn sorting_is_asked_for() {
        assert_eq!(normalised("#@ sort\na\nb\n", &["2\n1\n", "2\n1\n"]), ["1\n2", "2\n1"]);
    }

    #[test]
    fn random_hardware_addresses_only() {
        assert_eq!(
            normalised("a\n", &["lo 00:00:00:00:00:00 v 6a:01:02:03:04:05 m 33:33:00:00:00:01\n"]),
            ["lo 00:00:00:00:00:00 v <MAC1> m 33:33:00:00:00:01"]
        );
    }
}
