//! Files of sysfs that are written, and what then reads otherwise.

use pernet::Net;

use super::AttrError;
use crate::dev::{FlagChange, IfFlags, Link, LinkChange, LinkRefused, Stack};
use crate::errno;
use crate::rtnl::Rtnl;

/// Why a write fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SysfsError {
    /// The device is gone.
    #[error("no such device")]
    NoDevice,
    /// Not a value for this file.
    #[error("not a value for this file")]
    Invalid,
    /// A number with too many digits.
    #[error("the number is too large")]
    Range,
    /// More processors than there are.
    #[error("more processors than there are")]
    TooManyCpus,
    /// The device cannot do that.
    #[error("the device cannot do that")]
    Unsupported,
    /// The device has no power management.
    #[error("the device is never suspended")]
    NoPowerManagement,
    /// The file cannot be written.
    #[error("the file cannot be written")]
    ReadOnly,
    /// The device refuses.
    #[error(transparent)]
    Refused(#[from] LinkRefused),
}

impl SysfsError {
    /// The errno of `write`.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::NoDevice => errno::ENODEV,
            Self::Invalid => errno::EINVAL,
            Self::Range => errno::ERANGE,
            Self::TooManyCpus => errno::EOVERFLOW,
            Self::Unsupported => errno::EOPNOTSUPP,
            Self::NoPowerManagement => errno::EIO,
            Self::ReadOnly => errno::EACCES,
            Self::Refused(refused) => refused.errno(),
        }
    }
}

/// A number, of which nothing but one newline may follow (`kstrtoul` with any base).
fn number(text: &str) -> Result<u64, SysfsError> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_prefix('+').unwrap_or(text);
    let (radix, digits) = match text {
        t if t.starts_with("0x") || t.starts_with("0X") => (16, &t[2..]),
        t if t.len() > 1 && t.starts_with('0') => (8, &t[1..]),
        t => (10, t),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(SysfsError::Invalid);
    }
    u64::from_str_radix(digits, radix).map_err(|_| SysfsError::Range)
}

fn narrow(text: &str) -> Result<u32, SysfsError> {
    u32::try_from(number(text)?).map_err(|_| SysfsError::Range)
}

/// A mask of processors, in hexadecimal groups.
fn cpus(text: &str) -> Result<String, SysfsError> {
    let digits: String = text.trim().chars().filter(|c| *c != ',').collect();
    let mask = u64::from_str_radix(&digits, 16).map_err(|_| SysfsError::Invalid)?;
    let count = std::thread::available_parallelism().map_or(1, usize::from).min(63);
    if mask >> count == 0 { Ok(format!("{mask:x}")) } else { Err(SysfsError::TooManyCpus) }
}

/// What a write means.
enum Meaning {
    Change(Box<LinkChange>),
    /// The file reads so from now on, and nothing else comes of it.
    Reads(String),
    Nothing,
}

fn change(change: LinkChange) -> Meaning {
    Meaning::Change(Box::new(change))
}

fn meaning(link: &Link, path: &str, text: &str) -> Result<Meaning, SysfsError> {
    Ok(match path {
        "mtu" => change(LinkChange { mtu: Some(narrow(text)?), ..LinkChange::default() }),
        "tx_queue_len" => change(LinkChange { tx_queue_len: Some(narrow(text)?), ..LinkChange::default() }),
        // Of a group the lower half counts.
        "netdev_group" => change(LinkChange { group: Some(number(text)? as u32), ..LinkChange::default() }),
        "flags" => {
            let flags = IfFlags::from_bits(number(text)? as u32);
            change(LinkChange { flags: Some(FlagChange { flags, mask: IfFlags::NONE }), ..LinkChange::default() })
        }
        "ifalias" => {
            let text = text.strip_suffix('\n').unwrap_or(text);
            if text.len() > 255 {
                return Err(SysfsError::Invalid);
            }
            change(LinkChange { alias: Some(text.into()), ..LinkChange::default() })
        }
        "carrier" if link.class().kind != Some("dummy") => return Err(SysfsError::Unsupported),
        "carrier" if !link.is_up() => return Err(SysfsError::Invalid),
        "carrier" => change(LinkChange { carrier: Some(number(text)? != 0), ..LinkChange::default() }),
        "proto_down" => change(LinkChange { proto_down: Some(number(text)? != 0), ..LinkChange::default() }),
        "gro_flush_timeout" => Meaning::Reads(number(text)?.to_string()),
        "napi_defer_hard_irqs" => match number(text)? {
            n if n > i32::MAX as u64 => return Err(SysfsError::Range),
            n => Meaning::Reads(n.to_string()),
        },
        "threaded" => {
            number(text)?;
            return Err(SysfsError::Unsupported);
        }
        "uevent" => match text.trim_end().split(' ').next() {
            Some("add" | "remove" | "change" | "move" | "online" | "offline" | "bind" | "unbind") => Meaning::Nothing,
            _ => return Err(SysfsError::Invalid),
        },
        "power/control" => match text.trim_end() {
            word @ ("on" | "auto") => Meaning::Reads(word.into()),
            _ => return Err(SysfsError::Invalid),
        },
        "power/autosuspend_delay_ms" => return Err(SysfsError::NoPowerManagement),
        _ => match path.rsplit('/').next() {
            Some("rps_cpus" | "xps_cpus" | "xps_rxqs") => Meaning::Reads(cpus(text)?),
            // Kept as a table, whose size is a power of two.
            Some("rps_flow_cnt") => match number(text)? {
                0 => Meaning::Reads("0".into()),
                n if n > 1 << 30 => return Err(SysfsError::Invalid),
                n => Meaning::Reads(n.next_power_of_two().to_string()),
            },
            Some("tx_maxrate") => return Err(SysfsError::Unsupported),
            _ => return Err(SysfsError::ReadOnly),
        },
    })
}

impl Rtnl<'_> {
    /// Writes a file of a device's directory.
    ///
    /// # Errors
    /// [`SysfsError`]; nothing has changed then.
    pub fn sysfs_write(&mut self, net: &Net, ifindex: u32, path: &str, text: &[u8]) -> Result<(), SysfsError> {
        let ns = self.ns(net).ok_or(SysfsError::NoDevice)?;
        let link = ns.links.by_index(ifindex).ok_or(SysfsError::NoDevice)?;
        if text.is_empty() {
            return Ok(());
        }
        let text = std::str::from_utf8(text).map_err(|_| SysfsError::Invalid)?;
        match meaning(&link, path, text)? {
            Meaning::Change(change) => self.set_link(net, ifindex, &change)?,
            Meaning::Reads(text) => {
                ns.sysctl.write().sysfs.insert((ifindex, path.into()), text.into());
            }
            Meaning::Nothing => {}
        }
        Ok(())
    }
}

impl Stack {
    /// What a file of a device's directory reads as, trailing newline included; `None` if there is no such file.
    #[must_use]
    pub fn sysfs_read(&self, net: &Net, link: &Link, path: &str) -> Option<Result<String, AttrError>> {
        let key = (link.index(), path.into());
        let written = self.state(net).and_then(|state| state.peek_sysctl()?.sysfs.get(&key).cloned());
        written.map_or_else(|| super::sysfs_attr(link, path), |text| Some(Ok(format!("{text}\n"))))
    }
}
