//! The system under test: the `pernet` binary, and as whom it runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::scratch::Scratch;
use crate::skip::say;

/// As whom the subject runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// As the present user.
    Current,
    /// As uid and gid 65534 with no supplementary groups and no capability in any set; needs root to become it.
    Nobody,
}

/// The `pernet` binary and how to start it.
#[derive(Clone, Debug)]
pub struct Subject {
    binary: PathBuf,
    wrap: Vec<String>,
    user: As,
}

impl Subject {
    /// The binary at `path`, as the present user.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { binary: path.into(), wrap: Vec::new(), user: As::Current }
    }

    /// Finds the binary: `PERNET_BIN`, or beside the running executable in the target folder, built first if absent.
    ///
    /// # Errors
    /// `PERNET_BIN` names no file, or the build fails; the message says what to do.
    pub fn find() -> Result<Self> {
        static FOUND: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
        let found = FOUND.get_or_init(|| locate().map_err(|error| format!("{error:#}")));
        match found {
            Ok(path) => Ok(Self::new(path)),
            Err(why) => bail!("no pernet binary to test: {why}"),
        }
    }

    /// Finds an example binary of one of the workspace's packages beside the running executable, built first.
    ///
    /// # Errors
    /// The build fails.
    pub fn example(package: &str, name: &str) -> Result<PathBuf> {
        let profile = profile_dir()?;
        build(&profile, &["-p", package, "--example", name])?;
        let path = profile.join("examples").join(name);
        if !path.is_file() {
            bail!("building {name} left no {}", path.display());
        }
        Ok(path)
    }

    /// The same subject run as somebody else.
    #[must_use]
    pub fn run_as(mut self, user: As) -> Self {
        self.user = user;
        self
    }

    /// The same subject with a command put in front of it, such as one that installs a seccomp filter.
    #[must_use]
    pub fn wrapped(mut self, wrap: Vec<String>) -> Self {
        self.wrap = wrap;
        self
    }

    /// The path of the binary.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The command line of `pernet ARGS...` as the chosen user. If the binary lies where that user cannot reach it, a
    /// copy in the scratch folder is used.
    ///
    /// # Errors
    /// The binary cannot be copied.
    pub fn argv(&self, scratch: &Scratch, args: &[String]) -> Result<Vec<String>> {
        let mut argv = Vec::new();
        let mut binary = self.binary.clone();
        if self.user == As::Nobody {
            let words = "/usr/bin/setpriv --reuid 65534 --regid 65534 --clear-groups \
                         --inh-caps=-all --bounding-set=-all --";
            argv.extend(words.split_whitespace().map(str::to_owned));
            binary = reachable(&binary, scratch)?;
        }
        for (at, word) in self.wrap.iter().enumerate() {
            let path = Path::new(word);
            // Only the program itself is looked at: its arguments are its own business.
            let word = if at == 0 && self.user == As::Nobody && path.is_absolute() {
                reachable(path, scratch)?.to_string_lossy().into_owned()
            } else {
                word.clone()
            };
            argv.push(word);
        }
        argv.push(binary.to_string_lossy().into_owned());
        argv.extend(args.iter().cloned());
        Ok(argv)
    }

    /// `pernet run -- COMMAND...` as the chosen user.
    ///
    /// # Errors
    /// As [`Subject::argv`].
    pub fn run_argv(&self, scratch: &Scratch, command: &[String]) -> Result<Vec<String>> {
        let args: Vec<String> =
            ["run", "--"].iter().map(|word| (*word).to_owned()).chain(command.iter().cloned()).collect();
        self.argv(scratch, &args)
    }
}

/// Whether this process is root.
pub fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status.lines().find_map(|line| line.strip_prefix("Uid:")).and_then(|ids| ids.split_whitespace().nth(1))
            == Some("0")
    })
}

fn locate() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("PERNET_BIN") {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("PERNET_BIN names {}, which is not a file", path.display());
        }
        return path.canonicalize().context("PERNET_BIN");
    }
    let profile = profile_dir()?;
    let target = profile.parent().context("no target folder")?;
    let candidates = [profile.join("pernet"), target.join("release/pernet"), target.join("debug/pernet")];
    if let Some(found) = candidates.iter().find(|path| path.is_file()) {
        warn_if_stale(found);
        return Ok(found.clone());
    }
    build(&profile, &["-p", "pernet-cli"])?;
    let built = profile.join("pernet");
    if !built.is_file() {
        bail!("`cargo build -p pernet-cli` succeeded but left no {}", built.display());
    }
    Ok(built)
}

/// A test executable is target/PROFILE/deps/NAME-HASH; this package's binary is target/PROFILE/e2e.
fn profile_dir() -> Result<PathBuf> {
    let me = std::env::current_exe().context("finding this executable")?;
    me.ancestors()
        .skip(1)
        .find(|dir| dir.file_name().is_some_and(|name| name != "deps" && name != "examples"))
        .map(Path::to_path_buf)
        .context("this executable lies in no folder")
}

/// Runs `cargo build` with the profile and target folder this executable came from.
fn build(profile: &Path, what: &[&str]) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg("build").args(what).current_dir(crate::workspace_dir());
    if let Some(target) = profile.parent() {
        command.env("CARGO_TARGET_DIR", target);
    }
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let done = command.output().context("running cargo build")?;
    if !done.status.success() {
        bail!(
            "`cargo build {}` failed; build it by hand or set PERNET_BIN:\n{}",
            what.join(" "),
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(())
}

/// A test of yesterday's binary is worth a line of warning: `cargo test -p e2e` alone does not rebuild it.
fn warn_if_stale(binary: &Path) {
    let Ok(built) = fs::metadata(binary).and_then(|meta| meta.modified()) else {
        return;
    };
    let Ok(crates) = fs::read_dir(crate::workspace_dir().join("crates")) else {
        return;
    };
    let mut stack: Vec<PathBuf> = crates.filter_map(|entry| Some(entry.ok()?.path().join("src"))).collect();
    while let Some(dir) = stack.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                stack.push(entry.path());
            } else if meta.modified().is_ok_and(|time| time > built) {
                say(&format!(
                    "NOTE: {} is older than {}; `cargo build -p pernet-cli` rebuilds it",
                    binary.display(),
                    entry.path().display()
                ));
                return;
            }
        }
    }
}

/// `path`, or a copy of it in the scratch folder if not everybody can run it where it lies.
fn reachable(path: &Path, scratch: &Scratch) -> Result<PathBuf> {
    let path = path.canonicalize().with_context(|| format!("finding {}", path.display()))?;
    let open = |path: &Path| fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0);
    let readable = fs::metadata(&path).is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0);
    if readable && path.ancestors().all(open) {
        return Ok(path);
    }
    let name = path.file_name().context("a program without a name")?;
    let dir = scratch.path().join(".bin");
    fs::create_dir_all(&dir)?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
    let copy = dir.join(name);
    if !copy.exists() {
        fs::copy(&path, &copy).with_context(|| format!("copying {}", path.display()))?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_binary_is_copied_to_where_anybody_can_run_it() {
        let scratch = Scratch::new().expect("scratch");
        let hidden = scratch.path().join("hidden");
        fs::create_dir(&hidden).expect("mkdir");
        fs::write(hidden.join("tool"), "#!/bin/sh\n").expect("write");
        for path in [hidden.join("tool"), hidden.clone()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("chmod");
        }
        let found = reachable(&hidden.join("tool"), &scratch).expect("copies");
        assert!(found.ends_with(".bin/tool"), "{}", found.display());
        let mode = fs::metadata(&found).expect("stat").permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        assert_eq!(reachable(Path::new("/bin/sh"), &scratch).expect("finds"), fs::canonicalize("/bin/sh").expect("sh"));
    }
}
