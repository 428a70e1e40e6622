//! The reference side: a fresh network namespace of the kernel.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::process::run_limited;
use crate::scenario::{Scenario, parse_version};
use crate::subject::is_root;

/// A way into fresh kernel namespaces on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    version: (u32, u32),
}

impl Kernel {
    /// Whether this machine lets us make kernel namespaces; if not, its reason.
    ///
    /// # Errors
    /// A sentence saying why not.
    pub fn probe() -> Result<Self, String> {
        static PROBED: OnceLock<Result<Kernel, String>> = OnceLock::new();
        PROBED.get_or_init(Self::ask).clone()
    }

    fn ask() -> Result<Self, String> {
        if !is_root() {
            return Err("kernel namespaces need root".to_owned());
        }
        let argv = Self::argv(&["true".to_owned()]);
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).env("PATH", crate::SCRIPT_PATH);
        let done = run_limited(&mut command, Duration::from_secs(10))
            .map_err(|error| format!("cannot run {}: {error}", argv[0]))?;
        if !done.status.is_some_and(|status| status.success()) {
            let said = done.err.lines().next().unwrap_or("no reason given");
            return Err(format!("this machine refuses kernel namespaces: {said}"));
        }
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let version = parse_version(release.trim()).unwrap_or((0, 0));
        Ok(Self { version })
    }

    /// The running kernel, as (major, minor).
    pub fn version(self) -> (u32, u32) {
        self.version
    }

    /// Whether this kernel is one that the scenario wants its answers from.
    pub fn can_judge(self, scenario: &Scenario) -> bool {
        scenario.kernel.is_none_or(|oldest| self.version >= oldest)
            && scenario.kernel_files.iter().all(|path| path.exists())
    }

    /// The command that runs `command` in a fresh namespace.
    ///
    /// It has its own pid, mount, uts and ipc namespaces too: background jobs die and mounts vanish with the run, process
    /// ids are resolved there, and nothing the scenario names can be seen or harmed outside. `/sys` is mounted anew
    /// because a sysfs shows the namespace of whoever mounted it, and `/run/netns` is empty.
    pub fn argv(command: &[String]) -> Vec<String> {
        const PREPARE: &str = "mount -t sysfs sysfs /sys && mkdir -p /run/netns \
            && mount -t tmpfs -o mode=0755 tmpfs /run/netns || exit 125; \"$@\"; exit $?";
        let head = [
            "/usr/bin/unshare",
            "--net",
            "--mount",
            "--pid",
            "--ipc",
            "--uts",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--propagation",
            "private",
            "/bin/sh",
            "-c",
            PREPARE,
            "sh",
        ];
        head.iter().map(|word| (*word).to_owned()).chain(command.iter().cloned()).collect()
    }
}
