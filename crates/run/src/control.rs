//! `pernet ns`: named namespaces where the machine refuses programs the calls that `ip netns` needs.
//!
//! Inside a container whose own filter answers `setns`, `unshare` and `mount` with EPERM, those calls never reach us.
//! `socket` does: a netlink protocol that no kernel has ([`PROTOCOL`]) is the channel.  Outside of a run the kernel
//! answers EPROTONOSUPPORT, which tells the caller where it is.
//!
//! A request is one message: words separated by NUL.  An answer is one message: `ok` or `error`, NUL, text.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use pernet::{Cap, NetRef, Nsid, Origin};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

use crate::paths::{NETNS_DIR, netns_path};
use crate::sys;
use crate::syscalls::namespace::in_turn;
use crate::tag::SpaceId;
use crate::task::{Task, numbers};
use crate::world::{World, lock};

/// The protocol number of the channel: beyond any that the kernel has (it stops at 31).
pub(crate) const PROTOCOL: i32 = 0x7065;
const ANSWER_MAX: usize = 1 << 20;

/// Our end of the channel.
pub(crate) struct ControlFd {
    supervisor: OwnedFd,
}

/// What went wrong with a request, in words for the person who made it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The caller is not inside `pernet run`.
    #[error("not inside `pernet run`: start one with `pernet run -- bash`, then ask again in it")]
    NotInside,
    /// The supervisor is gone.
    #[error("the supervisor of this run has ended: start a new one with `pernet run`")]
    Gone,
    /// The request was refused.
    #[error("{0}")]
    Refused(String),
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Make a namespace and give it a name.
    Add(String),
    /// Take the name away.
    Delete(String),
    /// Names, each with the id that it has here.
    List,
    /// Ids that this namespace knows, each with a name if one stands for it.
    ListIds,
    /// Give a named namespace an id here; `None`: the lowest free.
    Set(String, Option<i32>),
    /// Move the caller into a named namespace.
    Enter(String),
    /// The names of the namespace that a process (`None`: the caller) is in.
    Identify(Option<i32>),
    /// The processes in a named namespace.
    Pids(String),
}

impl Request {
    fn words(&self) -> Vec<String> {
        let w = |s: &str| s.to_owned();
        match self {
            Self::Add(n) => vec![w("add"), n.clone()],
            Self::Delete(n) => vec![w("del"), n.clone()],
            Self::List => vec![w("list")],
            Self::ListIds => vec![w("list-id")],
            Self::Set(n, id) => vec![w("set"), n.clone(), id.map_or_else(|| w("auto"), |i| i.to_string())],
            Self::Enter(n) => vec![w("enter"), n.clone()],
            Self::Identify(pid) => [Some(w("identify")), pid.map(|p| p.to_string())].into_iter().flatten().collect(),
            Self::Pids(n) => vec![w("pids"), n.clone()],
        }
    }

    fn parse(raw: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(raw).ok()?;
        let words: Vec<&str> = text.split('\0').collect();
        Some(match words.as_slice() {
            ["add", n] => Self::Add((*n).into()),
            ["del", n] => Self::Delete((*n).into()),
            ["list"] => Self::List,
            ["list-id"] => Self::ListIds,
            ["set", n, "auto"] => Self::Set((*n).into(), None),
            ["set", n, id] => Self::Set((*n).into(), Some(id.parse().ok()?)),
            ["enter", n] => Self::Enter((*n).into()),
            ["identify"] => Self::Identify(None),
            ["identify", pid] => Self::Identify(Some(pid.parse().ok()?)),
            ["pids", n] => Self::Pids((*n).into()),
            _ => return None,
        })
    }
}

/// Asks the supervisor of the run that the caller is in.
///
/// # Errors
/// [`ControlError`].
pub fn ask(request: &Request) -> Result<String, ControlError> {
    let protocol = u32::try_from(PROTOCOL).ok().and_then(std::num::NonZeroU32::new).map(Protocol::from_raw);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::SEQPACKET, SocketFlags::CLOEXEC, protocol).map_err(
        |e| match e {
            rustix::io::Errno::NOSYS => ControlError::Gone,
            _ => ControlError::NotInside,
        },
    )?;
    let words = request.words().join("\0");
    rustix::io::write(&socket, words.as_bytes()).map_err(|_| ControlError::Gone)?;
    let mut answer = vec![0; ANSWER_MAX];
    let n = rustix::io::read(&socket, &mut answer).map_err(|_| ControlError::Gone)?;
    let text = String::from_utf8_lossy(&answer[..n]).into_owned();
    match text.split_once('\0') {
        Some(("ok", data)) => Ok(data.to_owned()),
        Some((_, why)) => Err(ControlError::Refused(why.to_owned())),
        None => Err(ControlError::Gone),
    }
}

impl ControlFd {
    /// Over this end.
    pub(crate) fn new(supervisor: OwnedFd) -> Self {
        Self { supervisor }
    }

    /// Our end, for registration.
    pub(crate) fn supervisor_end(&self) -> BorrowedFd<'_> {
        self.supervisor.as_fd()
    }

    /// Answers what was asked.
    pub(crate) fn serve(&self, world: &World) {
        let mut buffer = vec![0; 8192];
        while let Ok((n, pid)) = sys::recv_with_sender(self.supervisor.as_fd(), &mut buffer) {
            if n == 0 {
                break;
            }
            let result =
                Request::parse(&buffer[..n]).ok_or_else(|| "a request that this version does not know".to_owned());
            let result = result.and_then(|r| carry_out(world, Task::new(pid), &r));
            let (word, text) = match result {
                Ok(data) => ("ok", data),
                Err(why) => ("error", why),
            };
            // The asker may have left.
            let _ = sys::send_datagram(self.supervisor.as_fd(), format!("{word}\0{text}").as_bytes());
        }
    }
}

fn carry_out(world: &World, task: Task, request: &Request) -> Result<String, String> {
    let os = |e: i32| std::io::Error::from_raw_os_error(e).to_string();
    match request {
        Request::Add(name) => add(world, task, name),
        Request::Delete(name) => {
            let file = world.vfs.netns_dir().map_err(os)?.join(check(name)?);
            let bound = lock(&world.binds).pop(&netns_path(OsStr::new(name)));
            if let Some(space) = bound {
                lock(&world.spaces).bound(space, -1);
            } else if file.symlink_metadata().is_err() {
                return Err(unknown(name));
            }
            std::fs::remove_file(&file).map_err(|e| format!("cannot remove the name \"{name}\": {e}"))?;
            Ok(String::new())
        }
        Request::List => {
            let me = world.net_of(task).map_err(os)?;
            let rows = names(world).into_iter().map(|(name, net)| match me.peernet2id(&net) {
                Some(id) => format!("{name} (id: {})\n", id.get()),
                None => format!("{name}\n"),
            });
            Ok(rows.collect())
        }
        Request::ListIds => list_ids(world, &world.net_of(task).map_err(os)?),
        Request::Set(name, id) => {
            let me = world.net_of(task).map_err(os)?;
            let (_, peer) = find(world, name)?;
            if !world.users.cred(task).capable(me.owner(), Cap::NetAdmin) {
                return Err("giving an id needs CAP_NET_ADMIN here".into());
            }
            let want = id.filter(|&i| i >= 0).and_then(Nsid::new);
            let id = me
                .assign_nsid(&peer, want, Origin::KERNEL)
                .map_err(|e| format!("cannot give \"{name}\" that id: {e}"))?;
            Ok(format!("{}\n", id.get()))
        }
        Request::Enter(name) => {
            let (space, net) = find(world, name)?;
            if !world.users.cred(task).capable(net.owner(), Cap::SysAdmin) {
                return Err(format!("entering \"{name}\" needs CAP_SYS_ADMIN in it"));
            }
            in_turn(world, |spaces| spaces.join(task, space));
            Ok(String::new())
        }
        Request::Identify(pid) => {
            let target = match pid {
                Some(pid) => Task::new(task.translate_pid(*pid).ok_or_else(|| format!("there is no process {pid}"))?),
                None => task,
            };
            let net = world.net_of(target).map_err(|_| format!("there is no process {} in this run", target.tid))?;
            Ok(names(world).into_iter().filter(|(_, n)| *n == net).map(|(name, _)| name + "\n").collect())
        }
        Request::Pids(name) => {
            let (space, _) = find(world, name)?;
            let mut spaces = lock(&world.spaces);
            let mut inside: Vec<u32> =
                numbers("/proc").into_iter().filter(|&pid| spaces.of_task(Task::new(pid)) == Some(space)).collect();
            inside.sort_unstable();
            Ok(inside.into_iter().map(|pid| format!("{pid}\n")).collect())
        }
    }
}

fn check(name: &str) -> Result<&str, String> {
    let bad = name.is_empty() || name == "." || name == ".." || name.contains('/') || name.len() > 255;
    if bad { Err(format!("\"{name}\" cannot be a name: it must be one file name")) } else { Ok(name) }
}

fn unknown(name: &str) -> String {
    format!("there is no namespace named \"{name}\": `pernet ns list` shows those there are")
}

fn add(world: &World, task: Task, name: &str) -> Result<String, String> {
    let file = world.vfs.netns_dir().map_err(|e| std::io::Error::from_raw_os_error(e).to_string())?.join(check(name)?);
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(&file);
    made.map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            format!("a namespace named \"{name}\" exists already: choose another name, or `pernet ns del {name}` first")
        }
        _ => format!("cannot create the name \"{name}\": {e}"),
    })?;
    let net = world.namespaces.create(&world.users.cred(task)).map_err(|e| {
        let _ = std::fs::remove_file(&file);
        format!("cannot create a namespace: {e}")
    })?;
    let mut binds = lock(&world.binds);
    let mut spaces = lock(&world.spaces);
    let space = spaces.add(net);
    binds.push(netns_path(OsStr::new(name)), space);
    spaces.bound(space, 1);
    Ok(String::new())
}

/// Every name with its namespace, in the order of names.
fn names(world: &World) -> Vec<(String, NetRef)> {
    let bound: Vec<(String, SpaceId)> = {
        let binds = lock(&world.binds);
        let in_dir = |p: &std::path::Path| {
            p.strip_prefix(NETNS_DIR).ok().map(|n| String::from_utf8_lossy(n.as_os_str().as_bytes()).into_owned())
        };
        binds.iter().filter_map(|(p, s)| Some((in_dir(p)?, s))).collect()
    };
    let spaces = lock(&world.spaces);
    let mut rows: Vec<_> = bound.into_iter().filter_map(|(name, s)| Some((name, spaces.net(s)?))).collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows
}

fn find(world: &World, name: &str) -> Result<(SpaceId, NetRef), String> {
    let space = lock(&world.binds).get(&netns_path(OsStr::new(check(name)?))).ok_or_else(|| unknown(name))?;
    let net = lock(&world.spaces).net(space).ok_or_else(|| unknown(name))?;
    Ok((space, net))
}

fn list_ids(world: &World, me: &NetRef) -> Result<String, String> {
    let named = names(world);
    let mut out = String::new();
    let mut from = Some(Nsid::ZERO);
    while let Some(start) = from {
        let page = me.nsids_from(start, 1024);
        for (id, peer) in &page.entries {
            let name = named.iter().find(|(_, n)| n.cookie() == peer.cookie()).map(|(name, _)| name);
            out += &format!("nsid {}", id.get());
            if let Some(name) = name {
                out += &format!(" (name: {name})");
            }
            out.push('\n');
        }
        from = page.entries.last().and_then(|(id, _)| id.next());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_wire() {
        let all = [
            Request::Add("a".into()),
            Request::Delete("b c".into()),
            Request::List,
            Request::ListIds,
            Request::Set("x".into(), None),
            Request::Set("x".into(), Some(-3)),
            Request::Enter("y".into()),
            Request::Identify(None),
            Request::Identify(Some(1)),
            Request::Pids("z".into()),
        ];
        for r in all {
            assert_eq!(Request::parse(r.words().join("\0").as_bytes()), Some(r));
        }
        for bad in [b"".as_slice(), b"add", b"set\0a\0many", b"\xff\xfe", b"list\0x"] {
            assert_eq!(Request::parse(bad), None);
        }
    }

    #[test]
    fn names_are_single_file_names() {
        for bad in ["", ".", "..", "a/b"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check("a b").is_ok());
    }

    #[test]
    fn outside_of_a_run_the_caller_is_told() {
        assert_eq!(ask(&Request::List), Err(ControlError::NotInside));
    }
}
