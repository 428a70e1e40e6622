//! README's commands are run.
//!
//! The convention: in a fenced block that opens with ```` ```console ````, every line that begins with `$ ` is a command
//! (a trailing backslash or an open here-document continues it) and the lines up to the next one are what it prints.
//! Each block runs in one `bash`, top to bottom, stopping at the first command that fails, with the built `pernet` first
//! on the path, as the present user. What a block shows is compared with what it printed, with two allowances: a line
//! `...` stands for any lines, and inode numbers (`net:[4026532281]`) are alike. A block that shows no output is run and
//! its output ignored. A block is left alone when its fence says so: ```` ```console no-test ````. Blocks of other
//! kinds (`sh`, `text`, `rust`, ...) are not run; ```` ```sh test ```` is run as a script whose success alone counts.
#![forbid(unsafe_code)]

use std::time::Duration;

use e2e::{Scratch, Skip, Subject, run_limited, skip};

#[derive(Debug, PartialEq, Eq)]
struct Block {
    line: usize,
    commands: Vec<(String, Vec<String>)>,
}

/// The runnable blocks of a Markdown text.
fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let trimmed = line.trim_start();
        let ticks = trimmed.len() - trimmed.trim_start_matches('`').len();
        if ticks < 3 {
            continue;
        }
        let indent = line.len() - trimmed.len();
        let fence = "`".repeat(ticks);
        let mut words = trimmed[ticks..].split([' ', ',']).filter(|word| !word.is_empty());
        let kind = words.next().unwrap_or("").to_owned();
        let marks: Vec<&str> = words.collect();
        let mut body = Vec::new();
        for (_, line) in lines.by_ref() {
            if line.trim() == fence {
                break;
            }
            let blank = line.len() - line.trim_start().len();
            body.push(line.get(indent.min(blank)..).unwrap_or("").to_owned());
        }
        let commands = match kind.as_str() {
            "console" if !marks.contains(&"no-test") => session(&body),
            "sh" if marks.contains(&"test") => vec![(body.join("\n"), Vec::new())],
            _ => Vec::new(),
        };
        if !commands.is_empty() {
            found.push(Block { line: at + 1, commands });
        }
    }
    found
}

/// The commands of a console block with what each is shown to print.
fn session(body: &[String]) -> Vec<(String, Vec<String>)> {
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    let mut until: Option<String> = None;
    for line in body {
        let open = commands.last_mut();
        let continued = open.as_ref().is_some_and(|(command, _)| command.ends_with('\\'));
        if let Some(end) = &until {
            if let Some((command, _)) = open {
                command.push('\n');
                command.push_str(line);
            }
            if line.trim() == end {
                until = None;
            }
        } else if continued {
            if let Some((command, _)) = open {
                command.push('\n');
                command.push_str(line.strip_prefix("> ").unwrap_or(line));
            }
        } else if let Some(command) = line.strip_prefix("$ ") {
            commands.push((command.to_owned(), Vec::new()));
            until = command
                .split_once("<<")
                .map(|(_, word)| word.trim_matches(['\'', '"', '-', ' ']).to_owned())
                .filter(|word| word.chars().all(char::is_alphanumeric) && !word.is_empty());
        } else if let Some((_, shown)) = open {
            shown.push(line.trim_end().to_owned());
        }
    }
    for (_, shown) in &mut commands {
        while shown.last().is_some_and(String::is_empty) {
            shown.pop();
        }
    }
    commands
}

/// Whether what was printed is what is shown; `...` stands for any lines.
fn agrees(shown: &[String], printed: &[String]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first.trim() == "..." => {
            (0..=printed.len()).any(|skipped| agrees(rest, &printed[skipped..]))
        }
        Some((first, rest)) => {
            printed.split_first().is_some_and(|(line, more)| alike(first) == alike(line) && agrees(rest, more))
        }
    }
}

/// Runs of blanks and inode numbers do not matter.
fn alike(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(":[") {
        let (head, tail) = rest.split_at(at + 2);
        out.push_str(head);
        rest = tail.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out.push_str(rest);
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_command_runs_and_prints_what_is_shown() {
    let path = e2e::workspace_dir().join("README.md");
    let Ok(text) = std::fs::read_to_string(&path) else {
        return skip("README.md", &Skip::NothingToDo("there is no README.md yet".to_owned()));
    };
    let blocks = blocks(&text);
    if blocks.is_empty() {
        let why = "README.md has no ```console block".to_owned();
        return skip("README.md", &Skip::NothingToDo(why));
    }
    let subject = Subject::find().expect("a pernet binary");
    let bin = subject.binary().parent().expect("a folder").display().to_string();
    let mut wrong = String::new();
    for block in &blocks {
        let scratch = Scratch::new().expect("scratch");
        let mut script = format!("set -e\nexport PATH={bin}:$PATH\n");
        for (number, (command, _)) in block.commands.iter().enumerate() {
            script += &format!("{{ {command}\n}} >\"$W/.out{number}\" 2>&1\n");
        }
        let script = scratch.file(".script", &script).expect("writes");
        let argv = ["/bin/bash".to_owned(), script.to_string_lossy().into_owned()];
        let limit = Duration::from_secs(60);
        let done = run_limited(&mut scratch.command(&argv), limit).expect("bash starts");
        for (number, (command, shown)) in block.commands.iter().enumerate() {
            let Ok(text) = std::fs::read_to_string(scratch.path().join(format!(".out{number}"))) else {
                break;
            };
            let printed: Vec<String> = text.lines().map(|line| line.trim_end().to_owned()).collect();
            if !shown.is_empty() && !agrees(shown, &printed) {
                wrong +=
                    &format!("README.md:{}: $ {command}\n  shown: {shown:#?}\n  printed: {printed:#?}\n", block.line);
            }
            let last = !scratch.path().join(format!(".out{}", number + 1)).exists();
            if last && !done.status.is_some_and(|status| status.success()) {
                wrong += &format!(
                    "README.md:{}: $ {command}\n  ended the block with {:?}: {text}{}\n",
                    block.line, done.status, done.err
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_convention() {
    let text = "text\n```console\n$ echo a \\\n>  b\na b\n\n$ cat <<E\nx\nE\nx\n$ true\n```\n\n\
                ```sh\nnot run\n```\n- item\n  ```sh test\n  run me\n  ```\n```console no-test\n$ rm -rf x\n```\n";
    let found = blocks(text);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0].line, 2);
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        found[0].commands,
        [
            ("echo a \\\n b".to_owned(), lines(&["a b"])),
            ("cat <<E\nx\nE".to_owned(), lines(&["x"])),
            ("true".to_owned(), lines(&[])),
        ]
    );
    assert_eq!(found[1].commands[0].0, "run me");
    assert!(agrees(&lines(&["a", "...", "net:[1]  x"]), &lines(&["a", "b", "c", "net:[22] x"])));
    assert!(!agrees(&lines(&["a"]), &lines(&["a", "b"])));
    assert!(!agrees(&lines(&["a", "b"]), &lines(&["a"])));
}
