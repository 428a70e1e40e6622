//! The scenario file: shell commands, one step a line.
//!
//! * An empty line and a line that begins with `#` are skipped.
//! * A line that ends in a backslash goes on in the next one; a here-document (`<<WORD`, `<<'WORD'`, `<<-WORD`)
//!   belongs to the step that opens it.
//! * All steps run in one shell, in order, so variables, functions and background jobs last.
//! * A line that begins with `#@` is a directive:
//!
//! | directive | meaning |
//! |---|---|
//! | `#@ level N` | what the scenario exercises: 0 namespaces, handles and ids; 1 links, addresses, routes; ... |
//! | `#@ desc TEXT` | one sentence about it |
//! | `#@ kernel M.N [PATH...]` | the oldest kernel that gives the recorded answers, and files it must have; another one is not asked |
//! | `#@ root` | not repeated as nobody: the programs in it themselves refuse other users than root |
//! | `#@ needs PROGRAM` | skipped, with the reason printed, where the program is missing |
//! | `#@ sort` | next step: its lines are compared as a set |
//! | `#@ rc` | next step: only the exit code is compared |
//! | `#@ stdout` | next step: exit code and stdout are compared, stderr is not |
//! | `#@ mask PATTERN` | from here on, what the pattern matches is replaced by `<*>` (see [`crate::normalise`]) |

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::normalise::Mask;

/// How much of a step's answer both sides must agree on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Comparison {
    /// Exit code, stdout and stderr.
    #[default]
    Everything,
    /// Exit code and stdout.
    Stdout,
    /// Exit code alone.
    ExitCode,
}

/// One step of a scenario.
#[derive(Clone, Debug)]
pub struct Step {
    /// The shell text, continuation lines and here-document included.
    pub command: String,
    /// The line of the file it begins on, from 1.
    pub line: usize,
    /// What is compared.
    pub comparison: Comparison,
    /// Whether the order of the lines is not promised.
    pub sort: bool,
    /// The masks in force.
    pub(crate) masks: Vec<Mask>,
}

/// A parsed scenario file.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The file's name without its ending.
    pub name: String,
    /// What the scenario exercises; 0 is namespaces, handles and ids.
    pub level: u32,
    /// One sentence about it.
    pub desc: String,
    /// The oldest kernel that can be asked, as (major, minor).
    pub kernel: Option<(u32, u32)>,
    /// Files a kernel must have to be asked.
    pub kernel_files: Vec<PathBuf>,
    /// Whether the programs in it work for root only.
    pub root: bool,
    /// Programs that must be installed.
    pub needs: Vec<String>,
    /// The steps in order.
    pub steps: Vec<Step>,
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// The file cannot be read, a directive is unknown or malformed, or a here-document has no end; the message names
    /// the file and the line.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        Self::parse(&name, &text).with_context(|| format!("in {}", path.display()))
    }

    /// Parses the text of a scenario called `name`.
    ///
    /// # Errors
    /// As [`Scenario::load`], without the file.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut scenario = Self {
            name: name.to_owned(),
            level: 9,
            desc: String::new(),
            kernel: None,
            kernel_files: Vec::new(),
            root: false,
            needs: Vec::new(),
            steps: Vec::new(),
        };
        let mut masks = Vec::new();
        let mut comparison = Comparison::default();
        let mut sort = false;
        let mut lines = text.lines().enumerate();
        while let Some((at, line)) = lines.next() {
            let number = at + 1;
            if let Some(directive) = line.strip_prefix("#@") {
                let directive = directive.trim();
                let (word, rest) = directive.split_once(' ').unwrap_or((directive, ""));
                let rest = rest.trim();
                match word {
                    "level" => {
                        scenario.level =
                            rest.parse().with_context(|| format!("line {number}: not a level: {rest:?}"))?;
                    }
                    "desc" => rest.clone_into(&mut scenario.desc),
                    "kernel" => {
                        let mut words = rest.split_whitespace();
                        let version = words
                            .next()
                            .and_then(parse_version)
                            .with_context(|| format!("line {number}: not a version: {rest:?}"))?;
                        scenario.kernel = Some(version);
                        scenario.kernel_files = words.map(PathBuf::from).collect();
                    }
                    "needs" => scenario.needs.push(rest.to_owned()),
                    "mask" => masks.push(Mask::parse(rest).with_context(|| format!("line {number}"))?),
                    "root" => scenario.root = true,
                    "sort" => sort = true,
                    "rc" => comparison = Comparison::ExitCode,
                    "stdout" => comparison = Comparison::Stdout,
                    other => bail!("line {number}: unknown directive {other:?}"),
                }
                continue;
            }
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let mut command = line.to_owned();
            while command.ends_with('\\') {
                let Some((_, more)) = lines.next() else {
                    bail!("line {number}: the last line ends in a backslash");
                };
                command.push('\n');
                command.push_str(more);
            }
            if let Some(end) = here_document(&command) {
                loop {
                    let Some((_, more)) = lines.next() else {
                        bail!("line {number}: the here-document has no {end:?}");
                    };
                    command.push('\n');
                    command.push_str(more);
                    if more.trim_start_matches('\t') == end {
                        break;
                    }
                }
            }
            scenario.steps.push(Step {
                command,
                line: number,
                comparison: std::mem::take(&mut comparison),
                sort: std::mem::take(&mut sort),
                masks: masks.clone(),
            });
        }
        if scenario.steps.is_empty() {
            bail!("no steps");
        }
        Ok(scenario)
    }
}

/// Every `*.scn` file of a folder, in name order.
///
/// # Errors
/// The folder cannot be read, or one of the files does not parse.
pub fn load_all(dir: &Path) -> Result<Vec<Scenario>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .with_context(|| format!("reading {}", dir.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "scn"))
        .collect();
    paths.sort();
    paths.iter().map(|path| Scenario::load(path)).collect()
}

/// `6.12` or `6.12.3-foo` as (6, 12).
pub(crate) fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The word that ends the here-document opened by `command`, if it opens one.
fn here_document(command: &str) -> Option<String> {
    let mut rest = command;
    while let Some(at) = rest.find("<<") {
        let after = &rest[at + 2..];
        if let Some(string) = after.strip_prefix('<') {
            // `<<<` is a here-string; it ends on its line.
            rest = string;
            continue;
        }
        let after = after.strip_prefix('-').unwrap_or(after).trim_start();
        let word: String =
            after.trim_start_matches(['\'', '"']).chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        // `$((1 << 3))` is arithmetic: a delimiter begins with a letter here.
        if word.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            return Some(word);
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_bind_to_the_next_step_only() {
        let text = "#@ level 0\n#@ desc two steps\n#@ sort\n#@ stdout\nls\n\n# words\nls -l\n#@ rc\nfalse\n";
        let scenario = Scenario::parse("x", text).expect("parses");
        assert_eq!(scenario.level, 0);
        assert_eq!(scenario.desc, "two steps");
        let seen: Vec<_> =
            scenario.steps.iter().map(|step| (step.command.as_str(), step.comparison, step.sort, step.line)).collect();
        assert_eq!(
            seen,
            [
                ("ls", Comparison::Stdout, true, 5),
                ("ls -l", Comparison::Everything, false, 8),
                ("false", Comparison::ExitCode, false, 10),
            ]
        );
    }

    #[test]
    fn a_here_document_is_part_of_its_step() {
        let text = "cat <<'END'\n# not a comment\n#@ not a directive\n END\nEND\necho done\n";
        let scenario = Scenario::parse("x", text).expect("parses");
        assert_eq!(scenario.steps.len(), 2);
        assert!(scenario.steps[0].command.ends_with("\n END\nEND"));
        assert_eq!(scenario.steps[1].command, "echo done");
    }

    #[test]
    fn here_strings_and_shifts_do_not_swallow_the_file() {
        for line in ["cat <<<word", "echo $((1 << 3))", "echo $((1<<3))"] {
            assert_eq!(here_document(line), None, "{line}");
        }
        assert_eq!(here_document("cat <<-\"EOF\" | sort").as_deref(), Some("EOF"));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, said) in [
            ("ls\n#@ sorted\n", "line 2: unknown directive \"sorted\""),
            ("cat <<X\nnever\n", "line 1: the here-document has no \"X\""),
            ("echo \\", "line 1: the last line ends in a backslash"),
            ("# nothing\n", "no steps"),
        ] {
            let error = Scenario::parse("x", text).expect_err(text);
            assert_eq!(error.to_string(), said);
        }
    }

    #[test]
    fn versions() {
        assert_eq!(parse_version("6.18.44-fc"), Some((6, 18)));
        assert_eq!(parse_version("5.4"), Some((5, 4)));
        assert_eq!(parse_version("six"), None);
    }
}
