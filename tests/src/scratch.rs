//! A private folder for one run, open to the unprivileged user it may be for.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::process;

/// The search path of every program the harness starts: the system's own tools, never a wrapper in somebody's home that
/// another user cannot reach.
pub const SCRIPT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A scratch folder in the system's temporary folder, mode 0777. Removed on drop, after every process that carries it in
/// its environment (`W`) has been killed.
#[derive(Debug)]
pub struct Scratch {
    dir: TempDir,
}

impl Scratch {
    /// Makes the folder and puts the helper modules of the scenarios into it.
    ///
    /// # Errors
    /// The folder cannot be made or filled.
    pub fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("e2e.").tempdir().context("making a scratch folder")?;
        open_to_all(dir.path())?;
        let scratch = Self { dir };
        let support = scratch.path().join(".support");
        fs::create_dir(&support)?;
        open_to_all(&support)?;
        for entry in fs::read_dir(crate::scenario_dir().join("support"))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), support.join(entry.file_name()))?;
            }
        }
        Ok(scratch)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The same as text.
    pub fn name(&self) -> String {
        self.path().to_string_lossy().into_owned()
    }

    /// Writes a file that every user can read and run.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// A command in the harness's own environment: the fixed search path, C locale, the folder as `W`, as the working
    /// folder and as `HOME`, the helper modules on Python's path, stdin from nowhere. What configures `pernet` itself
    /// (`PERNET_*`) passes through.
    pub fn command(&self, argv: &[String]) -> Command {
        let heard = process::hears_signals();
        let mut all = heard.iter().chain(argv).map(String::as_str);
        let mut command = Command::new(all.next().unwrap_or_default());
        command.args(all).env_clear();
        command.envs(std::env::vars_os().filter(|(name, _)| {
            let name = name.to_string_lossy();
            (name.starts_with("PERNET_") && name != "PERNET_BIN") || name == "RUST_BACKTRACE"
        }));
        command
            .env("PATH", SCRIPT_PATH)
            .env("LC_ALL", "C")
            .env("COLUMNS", "200")
            .env("TERM", "dumb")
            .env("PYTHONPATH", self.path().join(".support"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("HOME", self.path())
            .env("W", self.path())
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        process::kill("KILL", &process::carrying("W", &self.name()));
    }
}

fn open_to_all(path: &Path) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o777))
        .with_context(|| format!("opening {} to all", path.display()))
}
