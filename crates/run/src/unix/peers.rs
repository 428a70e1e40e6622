//! Whose a connection or a message is that we made for a program: the kernel only knows us.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use pernet_stack::ControlMessage;
use rustix::net::UCred;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Gid, Pid, Uid};

use super::host;
use crate::listener::Call;
use crate::sockets::identity;
use crate::task::Task;
use crate::world::{World, lock};

/// So many are known before those are looked for whose socket is gone.
const FEW: usize = 1024;

/// A process, and for whom it acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) tgid: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Who asked for connections, by the inode of the asking socket.
#[derive(Default)]
pub(super) struct Peers {
    /// And how many there may be before it is looked who is gone. A leaf lock.
    known: Mutex<(HashMap<u64, Peer>, usize)>,
}

impl Peers {
    /// Does `connect` for `task`, who is known before whoever accepts can ask.
    pub(super) fn connecting<T, E>(
        &self,
        socket: &OwnedFd,
        task: Task,
        connect: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let (Ok(id), Some(tgid), Some(ids)) = (identity(socket), task.tgid(), task.ids()) else { return connect() };
        let before = self.note(id.ino, Peer { tgid, uid: ids.uid[1], gid: ids.gid[1] });
        let result = connect();
        if result.is_err() {
            // It is connected as it was, if it was.
            let peers = &mut lock(&self.known).0;
            match before {
                Some(before) => peers.insert(id.ino, before),
                None => peers.remove(&id.ino),
            };
        }
        result
    }

    fn note(&self, inode: u64, peer: Peer) -> Option<Peer> {
        let mut known = lock(&self.known);
        let (peers, most) = &mut *known;
        if peers.len() >= (*most).max(FEW) {
            let there = host::inodes();
            peers.retain(|inode, _| there.contains(inode));
            *most = peers.len() * 2;
        }
        peers.insert(inode, peer)
    }

    fn of(&self, inode: u64) -> Option<Peer> {
        lock(&self.known).0.get(&inode).copied()
    }
}

/// Who is at the other end of this socket, if the kernel says that we are.
pub(crate) fn peer(world: &World, task: Task, call: &Call) -> Option<Peer> {
    if !world.unix.any() {
        return None;
    }
    let socket = world.copy_any_fd(task, call.int(0)).ok()?;
    let told = socket_peercred(&socket).ok()?;
    if told.pid.as_raw_nonzero().get().unsigned_abs() != std::process::id() {
        return None;
    }
    let inode = identity(&socket).ok()?.ino;
    // Its copy does not keep the program's end: who asks has one.
    drop(socket);
    world.unix.peers.of(host::peer_of(inode)?)
}

/// The credentials that go with a message (SCM_CREDENTIALS): those that the program claims, or its own.
///
/// # Errors
/// EINVAL for what are none, EPERM for those of somebody else.
pub(super) fn claimed(task: Task, messages: &[ControlMessage]) -> Result<Option<UCred>, i32> {
    let (Some(tgid), Some(ids)) = (task.tgid(), task.ids()) else { return Ok(None) };
    let claim =
        messages.iter().rfind(|message| (message.level, message.kind) == (libc::SOL_SOCKET, libc::SCM_CREDENTIALS));
    let (pid, uid, gid) = match claim.map(|claim| claim.data.as_chunks::<4>()) {
        None => (tgid, ids.uid[0], ids.gid[0]),
        Some((&[pid, uid, gid], [])) => {
            let [uid, gid] = [uid, gid].map(u32::from_ne_bytes);
            let pid = task.translate_pid(i32::from_ne_bytes(pid)).ok_or(libc::ESRCH)?;
            let effective = task.privileges().map_or(0, |privileges| privileges.effective);
            let may = |cap: pernet::Cap| effective & 1 << cap as u32 != 0;
            let own = (pid == tgid || may(pernet::Cap::SysAdmin))
                && (ids.uid.contains(&uid) || may(pernet::Cap::SetUid))
                && (ids.gid.contains(&gid) || may(pernet::Cap::SetGid));
            if !own {
                return Err(libc::EPERM);
            }
            (pid, uid, gid)
        }
        Some(_) => return Err(libc::EINVAL),
    };
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    Ok(pid.map(|pid| UCred { pid, uid: Uid::from_raw(uid), gid: Gid::from_raw(gid) }))
}
