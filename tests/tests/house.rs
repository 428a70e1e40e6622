//! The architecture, held by a test: who may use whom, where `unsafe` may be, how long a file may grow.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Crate folder, package name, and the packages of ours it may use.
const ROOMS: &[(&str, &str, &[&str])] = &[
    ("core", "pernet", &[]),
    ("wire", "pernet-wire", &[]),
    ("stack", "pernet-stack", &["pernet"]),
    ("rtnl", "pernet-rtnl", &["pernet-wire", "pernet-stack", "pernet"]),
    ("async-socket", "pernet-async-socket", &["pernet-rtnl", "pernet-wire", "pernet-stack", "pernet"]),
    ("run", "pernet-run", &["pernet-rtnl", "pernet-stack", "pernet"]),
    ("cli", "pernet-cli", &["pernet-run", "pernet-rtnl", "pernet-stack", "pernet", "pernet-wire"]),
];

/// The one crate that may hold `unsafe`.
const UNSAFE_ROOM: &str = "run";

/// Beside that crate, the files of the examples that may: a kernel has an allocator, a lock and a way to the machine.
const UNSAFE_EXAMPLES: &[&str] =
    &["kernel/src/console.rs", "kernel/src/lib.rs", "kernel/src/lock.rs", "kernel/src/memory.rs"];

/// Lines a source file may have.
const LONGEST: usize = 600;

fn crates() -> PathBuf {
    e2e::workspace_dir().join("crates")
}

/// `[section] -> key -> rest of the line` of a Cargo.toml, as far as this test needs TOML: dotted sections such as
/// `[dependencies.x]` count as the key `x` of `[dependencies]`, and target tables end in the section they hold.
fn manifest(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut tables: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut section = String::new();
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or(line).trim();
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').trim_start_matches('[').to_owned();
            if let Some((table, key)) = section.rsplit_once('.')
                && table.ends_with("dependencies")
            {
                tables.entry(table.to_owned()).or_default().insert(key.to_owned(), String::new());
            }
        } else if let Some((key, value)) = line.split_once('=')
            && !line.starts_with('#')
        {
            let key = key.trim().trim_matches('"');
            // `pernet.workspace = true` names the package before the dot.
            let key = key.split('.').next().unwrap_or(key);
            tables.entry(section.clone()).or_default().insert(key.to_owned(), value.trim().to_owned());
        }
    }
    tables
}

/// The packages of ours a manifest depends on, in any dependency table but dev-dependencies unless those are asked for.
fn ours(text: &str, dev: bool) -> Vec<String> {
    manifest(text)
        .into_iter()
        .filter(|(section, _)| section.ends_with("dependencies"))
        .filter(|(section, _)| dev || !section.ends_with("dev-dependencies"))
        .flat_map(|(_, table)| table)
        .flat_map(|(key, value)| {
            // `alias = { package = "pernet-x" }` hides the package behind another key.
            let package = value.split_once("package").and_then(|(_, rest)| rest.split('"').nth(1)).map(str::to_owned);
            [Some(key), package].into_iter().flatten()
        })
        .filter(|name| ROOMS.iter().any(|(_, package, _)| package == name))
        .collect()
}

/// The Rust files below a folder.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut stack = vec![dir.to_path_buf()];
    while let Some(dir) = stack.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                stack.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The code of a source text: comments and the insides of string literals are blanked, lines are kept.
fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut i = 0;
    while i < chars.len() {
        let c = chars[i];
        if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            while i < chars.len() {
                match (chars[i], at(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    (c, _) => {
                        if c == '\n' {
                            out.push('\n');
                        }
                        i += 1;
                    }
                }
                if depth == 0 {
                    break;
                }
            }
        } else if let Some(hashes) = raw_string(&chars, i) {
            // The prefix, the hashes and the quote; then on to the quote followed by as many hashes.
            i += chars[i..].iter().position(|c| *c == '"').unwrap_or(0) + 1;
            while i < chars.len() {
                if chars[i] == '"' && (1..=hashes).all(|n| at(i + n) == '#') {
                    i += hashes + 1;
                    break;
                }
                if chars[i] == '\n' {
                    out.push('\n');
                }
                i += 1;
            }
        } else if c == '"' {
            i += 1;
            while i < chars.len() && chars[i] != '"' {
                if chars[i] == '\n' {
                    out.push('\n');
                }
                i += if chars[i] == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if c == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            // A character literal, not a lifetime.
            i += if at(i + 1) == '\\' { 3 } else { 2 };
            while i < chars.len() && chars[i] != '\'' {
                i += 1;
            }
            i += 1;
        } else {
            out.push(c);
            i += 1;
        }
    }
    out
}

/// The number of hashes if a raw string literal begins here.
fn raw_string(chars: &[char], at: usize) -> Option<usize> {
    if !matches!(chars[at], 'r' | 'b') {
        return None;
    }
    let before = at.checked_sub(1).map(|before| chars[before]);
    if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let rest: String = chars[at..].iter().take(300).collect();
    let rest = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let body = rest.trim_start_matches('#');
    body.starts_with('"').then_some(rest.len() - body.len())
}

/// Whether `word` stands in `line` on its own.
fn has_word(line: &str, word: &str) -> bool {
    let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word)
        .any(|(at, _)| !inside(line[..at].chars().next_back()) && !inside(line[at + word.len()..].chars().next()))
}

#[test]
fn every_crate_has_its_room() {
    let mut found: Vec<String> = fs::read_dir(crates())
        .expect("crates/")
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    let mut rooms: Vec<&str> = ROOMS.iter().map(|(dir, _, _)| *dir).collect();
    rooms.sort_unstable();
    assert_eq!(found, rooms, "a new crate needs a line in ROOMS: who may it use?");
}

#[test]
fn crates_use_only_whom_they_may() {
    for (dir, package, allowed) in ROOMS {
        let text = fs::read_to_string(crates().join(dir).join("Cargo.toml")).expect("manifest");
        let name = manifest(&text)["package"]["name"].trim_matches('"').to_owned();
        assert_eq!(name, *package, "crates/{dir}");
        for used in ours(&text, true) {
            assert!(
                allowed.contains(&used.as_str()) || used == *package,
                "crates/{dir} uses {used}; it may use {allowed:?} only"
            );
        }
    }
}

#[test]
fn unsafe_lives_in_one_room() {
    for (dir, _, _) in ROOMS {
        let root = crates().join(dir);
        let main = ["src/lib.rs", "src/main.rs"]
            .iter()
            .map(|file| root.join(file))
            .find(|path| path.exists())
            .unwrap_or_else(|| panic!("crates/{dir} has no lib.rs or main.rs"));
        let head = fs::read_to_string(&main).expect("reads");
        if *dir == UNSAFE_ROOM {
            continue;
        }
        assert!(code_only(&head).contains("#![forbid(unsafe_code)]"), "{} does not forbid unsafe code", main.display());
        for path in sources(&root) {
            let code = code_only(&fs::read_to_string(&path).expect("reads"));
            for (number, line) in code.lines().enumerate() {
                assert!(
                    !has_word(line, "unsafe"),
                    "{}:{}: unsafe outside crates/{UNSAFE_ROOM}",
                    path.display(),
                    number + 1
                );
            }
        }
    }
}

#[test]
fn examples_are_unsafe_where_a_kernel_is() {
    let root = e2e::workspace_dir().join("examples");
    let files = sources(&root);
    assert!(files.len() > UNSAFE_EXAMPLES.len(), "no examples in {}", root.display());
    let found: Vec<String> = files
        .iter()
        .filter(|path| code_only(&fs::read_to_string(path).expect("reads")).lines().any(|l| has_word(l, "unsafe")))
        .filter_map(|path| Some(path.strip_prefix(&root).ok()?.to_string_lossy().into_owned()))
        .collect();
    assert_eq!(found, UNSAFE_EXAMPLES);
    // That each place has its reason, clippy sees to: the example is not in the workspace, so it says so itself.
    let manifest = fs::read_to_string(root.join("kernel/Cargo.toml")).expect("reads");
    assert!(manifest.contains("undocumented_unsafe_blocks = \"deny\""));
}

#[test]
fn no_file_outgrows_one_idea() {
    for (dir, _, _) in ROOMS {
        for path in sources(&crates().join(dir).join("src")) {
            let lines = fs::read_to_string(&path).expect("reads").lines().count();
            assert!(lines <= LONGEST, "{}: {lines} lines; {LONGEST} are allowed", path.display());
        }
    }
}

#[test]
fn nothing_is_left_to_do() {
    for (dir, _, _) in ROOMS {
        for path in sources(&crates().join(dir)) {
            let code = code_only(&fs::read_to_string(&path).expect("reads"));
            for (number, line) in code.lines().enumerate() {
                for word in ["todo", "unimplemented", "dbg"] {
                    let called = has_word(line, word) && line.contains(&format!("{word}!"));
                    assert!(!called, "{}:{}: {word}!", path.display(), number + 1);
                }
            }
        }
    }
}

/// A program of the list in `test.sh` that it installs: `netstat:net-tools`.
fn is_installed(script: &str, program: &str) -> bool {
    script.split_whitespace().any(|word| word.split_once(':').is_some_and(|(name, _)| name == program))
}

#[test]
fn what_scenarios_need_is_installed() {
    let script = fs::read_to_string(e2e::workspace_dir().join("test.sh")).expect("reads");
    for scenario in e2e::load_all(&e2e::scenario_dir()).expect("all parse") {
        for program in &scenario.needs {
            assert!(
                is_installed(&script, program),
                "test.sh does not install {program}, which {} needs",
                scenario.name
            );
        }
    }
}

#[test]
fn the_checks_can_fail() {
    assert!(
        is_installed("for need in ip:iproute2 ping:iputils-ping; do", "ip") && !is_installed("ip:iproute2", "iproute2")
    );

    let text = "[package]\nname = \"x\"\n[dependencies]\npernet.workspace = true\nserde = \"1\"\n\
                y = { package = \"pernet-run\" }\n[dev-dependencies]\npernet-rtnl = { workspace = true }\n\
                [target.'cfg(unix)'.dependencies.pernet-stack]\nworkspace = true\n";
    let mut used = ours(text, true);
    used.sort();
    assert_eq!(used, ["pernet", "pernet-rtnl", "pernet-run", "pernet-stack"]);
    assert_eq!(ours(text, false).len(), 3);

    let code = code_only(
        "// unsafe\nlet a = \"unsafe \\\" unsafe\"; /* unsafe\n/* x */ unsafe */ let c = '\"';\n\
         let r = r#\"unsafe \" \"#; unsafe { x::<'a>() }\n",
    );
    let lines: Vec<&str> = code.lines().collect();
    assert_eq!(lines.len(), 4, "{code}");
    assert!(lines[..3].iter().all(|line| !has_word(line, "unsafe")), "{code}");
    assert!(has_word(lines[3], "unsafe"), "{code}");
    assert!(!has_word("forbid(unsafe_code)", "unsafe"));
}
