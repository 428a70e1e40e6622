//! What is where below `/proc/sys/net`.

use std::collections::BTreeSet;

use super::device::{self, Setting};
use super::kind::Kind;
use super::table::TABLE;
use crate::state::{ConfOf, Ns};

/// Something that a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SysctlNode {
    /// A directory: names of what is in it, in the order in which Linux lists them, and whether that is a directory too; mode
    /// for files.
    Dir(Vec<(String, Option<u16>)>),
    /// A setting with this mode.
    File(u16),
}

pub(super) enum Found {
    Dir,
    Whole(&'static str, u16, &'static str, Kind),
    Device(Setting),
}

/// Directories with a directory for each device.
const DEVICE_DIRS: [&str; 4] = ["ipv4/conf", "ipv4/neigh", "ipv6/conf", "ipv6/neigh"];

/// The family's directory and the rest of a path into a device's directory.
fn split(path: &str) -> Option<(&'static str, &str)> {
    DEVICE_DIRS.into_iter().find_map(|dir| Some((dir, path.strip_prefix(dir)?.strip_prefix('/')?)))
}

/// Whose settings a directory has. A slash cannot be part of a name here: it is written as a dot.
fn owner(ns: Ns<'_>, dir: &str, name: &str) -> Option<ConfOf> {
    match name {
        "all" if dir.ends_with("conf") => Some(ConfOf::All),
        "default" if dir.ends_with("conf") => Some(ConfOf::Default),
        name => {
            let link = ns.links.by_name(name).filter(|l| l.name().as_str() == name)?;
            device::exists(&link, dir).then(|| ConfOf::Dev(link.index()))
        }
    }
}

pub(super) fn find(ns: Ns<'_>, path: &str) -> Option<Found> {
    if let Some((dir, rest)) = split(path) {
        let (name, file) = rest.split_once('/').map_or((rest, None), |(name, file)| (name, Some(file)));
        let of = owner(ns, dir, name)?;
        return match file {
            None => Some(Found::Dir),
            Some(file) => device::setting(dir, of, file).map(Found::Device),
        };
    }
    if let Ok(at) = TABLE.binary_search_by(|row| row.0.cmp(path)) {
        let (name, mode, born, kind) = TABLE[at];
        return Some(Found::Whole(name, mode, born, kind));
    }
    let below = |row: &str| path.is_empty() || row.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
    let dir = DEVICE_DIRS.contains(&path) || TABLE.iter().any(|row| below(row.0));
    dir.then_some(Found::Dir)
}

pub(super) fn node(ns: Ns<'_>, path: &str) -> Option<SysctlNode> {
    Some(match find(ns, path)? {
        Found::Whole(_, mode, ..) => SysctlNode::File(mode),
        Found::Device(setting) => SysctlNode::File(setting.mode()),
        Found::Dir => {
            let mut names = list(ns, path);
            names.sort();
            SysctlNode::Dir(names)
        }
    })
}

fn list(ns: Ns<'_>, path: &str) -> Vec<(String, Option<u16>)> {
    if let Some((dir, _)) = split(path) {
        return device::names(dir).map(|(name, mode)| (name.to_owned(), Some(mode))).collect();
    }
    if let Some(dir) = DEVICE_DIRS.into_iter().find(|dir| *dir == path) {
        let shared = ["all", "default"].into_iter().filter(|_| dir.ends_with("conf")).map(str::to_owned);
        let links = ns.links.all();
        let devices = links.iter().filter(|l| device::exists(l, dir)).map(|l| l.name().as_str().to_owned());
        return shared.chain(devices).map(|name| (name, None)).collect();
    }
    let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
    let mut dirs = BTreeSet::new();
    let mut out = Vec::new();
    for (name, mode) in TABLE.iter().map(|row| (row.0, Some(row.1))).chain(DEVICE_DIRS.map(|dir| (dir, None))) {
        let Some(rest) = name.strip_prefix(&prefix) else { continue };
        match rest.split_once('/') {
            Some((dir, _)) => {
                dirs.insert(dir.to_owned());
            }
            None if mode.is_none() => {
                dirs.insert(rest.to_owned());
            }
            None => out.push((rest.to_owned(), mode)),
        }
    }
    out.extend(dirs.into_iter().map(|dir| (dir, None)));
    out
}
