//! The settings of a namespace under `/proc/sys/net`.
//!
//! Every namespace shows what a namespace other than the first of a machine shows on Linux. What was never written is not
//! stored; what belongs to a part of the stack (settings of devices, forwarding) lives there.

mod device;
mod kind;
mod path;
mod table;

use std::collections::BTreeMap;

use pernet::Net;

use crate::dev::Stack;
use crate::rtnl::Rtnl;
use crate::state::{ConfOf, Ns};
use crate::{errno, inet, l3};
use kind::Kind;
use path::Found;

pub use path::SysctlNode;

/// What a namespace has of it, as far as it differs from what it was born with.
#[derive(Debug, Default)]
pub(crate) struct Sysctls {
    /// By place in the table.
    changed: BTreeMap<&'static str, Box<str>>,
    /// Files of sysfs that nothing else depends on, as they read: by device and path.
    pub(crate) sysfs: BTreeMap<(u32, Box<str>), Box<str>>,
    /// Features of devices that were switched: wanted and active.
    pub(crate) features: BTreeMap<u32, (u64, u64)>,
}

/// Why reading or writing a setting fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SysctlError {
    /// There is no such setting (any more).
    #[error("no such setting")]
    Missing,
    /// It cannot be written, or not be read.
    #[error("the setting cannot be written")]
    ReadOnly,
    /// What was written is not what it takes.
    #[error("not a value for this setting")]
    Invalid,
    /// It names something that there is not.
    #[error("no such thing to choose")]
    NoSuch,
    /// It cannot be taken back.
    #[error("the setting cannot be taken back")]
    Busy,
    /// More than there is room for.
    #[error("the value is too large")]
    TooLarge,
    /// Nothing was set yet.
    #[error("nothing was set")]
    Unset,
    /// The setting's own part refuses with this errno.
    #[error("the value is refused")]
    Refused(i32),
}

impl SysctlError {
    /// The errno of `open`, `read` or `write`.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::Missing | Self::NoSuch => errno::ENOENT,
            Self::ReadOnly => errno::EACCES,
            Self::Invalid => errno::EINVAL,
            Self::Busy => errno::EBUSY,
            Self::TooLarge => errno::EOVERFLOW,
            Self::Unset => errno::EIO,
            Self::Refused(errno) => errno,
        }
    }
}

/// `net.ipv4.nexthop_compat_mode`: whether routes also tell the ways out of their nexthop object, and its changes.
const NEXTHOP_COMPAT_MODE: &str = "ipv4/nexthop_compat_mode";

/// `net.ipv4.ip_forward` is another name of `net.ipv4.conf.all.forwarding`.
const IP_FORWARD: &str = "ipv4/ip_forward";
const FORWARDING: usize = 1;

impl Stack {
    /// What is at `path` below `/proc/sys/net` (no slash at either end); `None` if there is nothing.
    #[must_use]
    pub fn sysctl_node(&self, net: &Net, path: &str) -> Option<SysctlNode> {
        let state = self.state(net)?;
        path::node(Ns::living(state, net), path)
    }

    /// What a setting reads as, trailing newline included.
    ///
    /// # Errors
    /// [`SysctlError::Missing`], [`SysctlError::ReadOnly`] for what can only be written, [`SysctlError::Unset`].
    pub fn sysctl_read(&self, net: &Net, path: &str) -> Result<String, SysctlError> {
        let state = self.state(net).ok_or(SysctlError::Missing)?;
        let ns = Ns::living(state, net);
        match path::find(ns, path).ok_or(SysctlError::Missing)? {
            Found::Device(setting) => setting.read(ns),
            Found::Whole(_, _, _, Kind::Action) => Err(SysctlError::ReadOnly),
            Found::Whole(name, _, born, _) => Ok(whole(ns, name, born) + "\n"),
            Found::Dir => Err(SysctlError::Missing),
        }
    }
}

/// What a setting of the namespace as a whole reads as, for the parts that go by it; `name` is its path in the table.
pub(crate) fn text(ns: Ns<'_>, name: &str) -> String {
    // What was never written is not stored: most of the time this is a look at nothing.
    if let Some(changed) = ns.peek_sysctl().and_then(|s| s.changed.get(name).cloned()) {
        return changed.into();
    }
    table::TABLE.binary_search_by(|row| row.0.cmp(name)).map_or_else(|_| String::new(), |at| table::TABLE[at].2.into())
}

/// A setting of the namespace as a whole.
fn whole(ns: Ns<'_>, name: &'static str, born: &'static str) -> String {
    if name == IP_FORWARD {
        return inet::conf(ns, ConfOf::All, FORWARDING).unwrap_or(0).to_string();
    }
    let changed = ns.peek_sysctl().and_then(|s| s.changed.get(name).cloned());
    changed.map_or_else(|| born.to_owned(), String::from)
}

/// The same without a look into the table of settings, for who asks with each packet: `born` is what it is until somebody
/// writes.
pub(crate) fn number_or(ns: Ns<'_>, name: &str, born: i64) -> i64 {
    debug_assert!(table::TABLE.iter().any(|row| row.0 == name && row.2.trim() == born.to_string()), "{name} {born}");
    let sysctl = ns.peek_sysctl();
    sysctl.and_then(|sysctl| sysctl.changed.get(name)?.trim().parse().ok()).unwrap_or(born)
}

/// Whether who listens to routes or lists them is also told of their nexthop objects
/// (`net.ipv4.nexthop_compat_mode`); the setting is one for both families.
pub(crate) fn nexthop_compat(ns: Ns<'_>) -> bool {
    // It is on from birth, and has one other value.
    ns.peek_sysctl().is_none_or(|s| !s.changed.contains_key(NEXTHOP_COMPAT_MODE))
}

impl Rtnl<'_> {
    /// Writes a setting: one `write` at the beginning of its file.
    ///
    /// # Errors
    /// [`SysctlError`]; nothing has changed then.
    pub fn sysctl_write(&mut self, net: &Net, path: &str, text: &[u8]) -> Result<(), SysctlError> {
        let ns = self.ns(net).ok_or(SysctlError::Missing)?;
        match path::find(ns, path).ok_or(SysctlError::Missing)? {
            Found::Device(setting) => setting.write(self, ns, text),
            Found::Dir => Err(SysctlError::Missing),
            Found::Whole(name, _, born, kind) => {
                let old = whole(ns, name, born);
                let other = |other: &'static str| {
                    let row = table::TABLE.iter().find(|row| row.0 == other);
                    row.map_or_else(String::new, |row| whole(ns, row.0, row.2))
                };
                let new = kind::written(kind, &old, text, other)?;
                if kind == Kind::Action {
                    // The only things to be done by writing are these; that of IPv6 throws out what has ended, and that is not
                    // seen in any case.
                    if name.starts_with("ipv4/") {
                        l3::flush4(ns.state());
                    }
                    return Ok(());
                }
                if new == old {
                    return Ok(());
                }
                if name == IP_FORWARD {
                    let value = new.parse().map_err(|_| SysctlError::Invalid)?;
                    inet::set_conf(self, ns, ConfOf::All, FORWARDING, value);
                    return Ok(());
                }
                let mut part = ns.sysctl.write();
                if new == born {
                    part.changed.remove(name);
                } else {
                    part.changed.insert(name, new.into());
                }
                drop(part);
                crate::multipath::written(ns, name);
                Ok(())
            }
        }
    }
}

/// A device leaves: what was set for it goes.
pub(crate) fn forget_device(ns: Ns<'_>, ifindex: u32) {
    let known = ns
        .peek_sysctl()
        .is_some_and(|s| s.features.contains_key(&ifindex) || s.sysfs.keys().any(|key| key.0 == ifindex));
    if known {
        let mut part = ns.sysctl.write();
        part.features.remove(&ifindex);
        part.sysfs.retain(|key, _| key.0 != ifindex);
    }
}
