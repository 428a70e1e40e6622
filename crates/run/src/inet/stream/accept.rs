//! `listen` and `accept`.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pernet_stack::{TcpSocket, TcpState};
use rustix::net::{SocketFlags, connect};

use super::inherit::Inherited;
use super::options::set_native;
use super::{Listening, Phase, State, StreamFd, join, pump, wire};
use crate::caller::Caller;
use crate::descriptors::refused;
use crate::inet::{address, keep};
use crate::listener::{Call, Delivery, Notification};
use crate::mem::Memory;
use crate::netlink::answer;
use crate::reactor::Token;
use crate::sockets::{Emulated, identity};
use crate::sys;
use crate::task::{FileId, Task};
use crate::world::{World, lock};

/// What an accepted socket is to be.
fn accept_flags(call: &Call) -> i32 {
    if call.nr == libc::SYS_accept4 { call.int(3) } else { 0 }
}

/// The same, as `socketpair` takes it.
fn socket_flags(flags: i32) -> SocketFlags {
    if flags & libc::SOCK_NONBLOCK != 0 { SocketFlags::NONBLOCK } else { SocketFlags::empty() }
}

impl StreamFd {
    pub(super) fn listen(self: &Arc<Self>, world: &World, task: Task, fd: i32, backlog: i32) -> Result<i64, i32> {
        let app = self.app(world, task, fd)?;
        let mut state = lock(&self.state);
        if !matches!(state.phase, Phase::Fresh | Phase::Listening(_)) {
            return Err(libc::EINVAL);
        }
        self.socket.listen(backlog)?;
        // One more than that, as with TCP.
        let name = wire::listen(app.as_fd(), backlog).map_err(|e| sys::errno_of(&e))?;
        if matches!(state.phase, Phase::Fresh) {
            let (alive, me) = (name.clone(), Arc::downgrade(self));
            let waits = move || me.upgrade().is_some_and(|me| me.is_waited_on());
            self.socket.on_knock(Some(Arc::new(move || waits() || wire::is_listening(&alive))));
            let listening = Listening { name, children: VecDeque::new(), ends: VecDeque::new() };
            state.phase = Phase::Listening(Box::new(listening));
        }
        Ok(0)
    }

    /// Does a call wait on it? Then it is open, whoever has closed it meanwhile: the kernel, too, would hold it for the call.
    ///
    /// Who asks may hold another connection's lock, so this one is only tried.
    fn is_waited_on(&self) -> bool {
        self.state.try_lock().is_ok_and(|state| state.parked.iter().any(|p| p.notification.is_valid()))
    }

    /// Lets the program see the connections that wait, as many as its own queue takes.
    pub(super) fn announce(&self, world: &World, state: &mut State) {
        let Phase::Listening(listening) = &mut state.phase else { return };
        let Listening { name, children, ends } = &mut **listening;
        while ends.len() < children.len() || self.socket.readiness().readable {
            let Ok(end) = wire::lasting_end() else {
                // Nothing tells when there is room again.
                return world.sockets.watch(self.id, &world.reactor);
            };
            // No room, or nobody there any more: they stay where they are.
            if connect(&end, name).is_err() {
                return;
            }
            if ends.len() == children.len() {
                match self.socket.accept() {
                    Ok((child, _)) => children.push_back(Arc::new(child)),
                    Err(_) => return,
                }
            }
            ends.push_back(end);
            self.socket.set_taken(children.len());
        }
    }

    pub(super) fn accept_or_wait(self: &Arc<Self>, world: &Arc<World>, caller: Caller, notification: Notification) {
        let Some((caller, notification)) = self.accept_at_once(world, caller, notification) else { return };
        let call = notification.call;
        let nonblocking = caller.is_nonblocking();
        let limit = caller.with_end(world, self.id, self.kept.as_ref(), sys::receive_timeout).ok().flatten();
        if let Some(notification) = self.accept_or_give_back(world, caller, notification, !nonblocking) {
            debug_assert_eq!(notification.call.nr, call.nr);
            if nonblocking {
                return answer(world, notification, Err(libc::EAGAIN));
            }
            self.park(world, notification, limit, libc::EAGAIN);
        }
    }

    /// Answers with the next connection, or an error; gives the call back if there is none.
    pub(super) fn accept(
        self: &Arc<Self>,
        world: &Arc<World>,
        caller: Caller,
        notification: Notification,
    ) -> Option<Notification> {
        let (caller, notification) = self.accept_at_once(world, caller, notification)?;
        self.accept_or_give_back(world, caller, notification, true)
    }

    /// Answers if that is possible without the queue of the program's end; gives the call back if not.
    fn accept_at_once(
        self: &Arc<Self>,
        world: &Arc<World>,
        caller: Caller,
        notification: Notification,
    ) -> Option<(Caller, Notification)> {
        let flags = accept_flags(&notification.call);
        let known = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        if flags & !known != 0 {
            drop(caller);
            answer(world, notification, Err(libc::EINVAL));
            return None;
        }
        let straight = self.accept_straight(&mut lock(&self.state), socket_flags(flags));
        let Some((child, wire, end)) = straight else { return Some((caller, notification)) };
        let task = caller.task;
        let inherited = match self.touched.load(Ordering::Relaxed) {
            0 => Inherited::default(),
            touched => {
                let of = |listener: BorrowedFd<'_>| Inherited::of(listener, touched);
                caller.with_end(world, self.id, self.kept.as_ref(), of).unwrap_or_default()
            }
        };
        drop(caller);
        if let Err((notification, e)) = self.hand_over(world, task, notification, (child, &inherited), wire, end) {
            answer(world, notification, Err(e));
        }
        None
    }

    /// As [`Self::accept`], by the program's end; `waits`: the call is one that would wait.
    fn accept_or_give_back(
        self: &Arc<Self>,
        world: &Arc<World>,
        mut caller: Caller,
        notification: Notification,
        waits: bool,
    ) -> Option<Notification> {
        let task = caller.task;
        let nonblocking = socket_flags(accept_flags(&notification.call));
        let app = match caller.take_end(world, self.id, self.kept.as_ref()) {
            Ok(app) => app,
            Err(e) => {
                answer(world, notification, Err(e));
                return None;
            }
        };
        let (child, wire, end) = {
            let mut state = lock(&self.state);
            if let Some(straight) = self.accept_straight(&mut state, nonblocking) {
                straight
            } else {
                self.announce(world, &mut state);
                let Phase::Listening(listening) = &mut state.phase else {
                    drop((state, app));
                    answer(world, notification, Err(libc::EINVAL));
                    return None;
                };
                let Listening { children, ends, .. } = &mut **listening;
                // Nobody else connects there, so as long as it listens there is nothing that was not announced. Who does not
                // want to wait has perhaps seen something all the same: then it is taken away.
                let listens = self.socket.state() == TcpState::Listen;
                let nothing = || listens && waits || !sys::is_readable(app.as_fd());
                // Our copy of a listener that waits would wait with it.
                let end = if ends.is_empty() && nothing() {
                    return Some(notification);
                } else {
                    wire::accept(app.as_fd(), SocketFlags::CLOEXEC | nonblocking)
                };
                match (end, ends.pop_front(), children.pop_front()) {
                    (Ok(end), Some(wire), Some(child)) => {
                        self.socket.set_taken(children.len());
                        (child, wire, end)
                    }
                    (Err(e), wire, child) => {
                        if let (Some(wire), Some(child)) = (wire, child) {
                            ends.push_front(wire);
                            children.push_front(child);
                        }
                        drop((state, app));
                        let e = refused(&e);
                        if e == libc::EAGAIN {
                            return Some(notification);
                        }
                        answer(world, notification, Err(e));
                        return None;
                    }
                    (Ok(_), ..) => return Some(notification),
                }
            }
        };
        let inherited = Inherited::of(app.as_fd(), self.touched.load(Ordering::Relaxed));
        drop(app);
        let delivered = self.hand_over(world, task, notification, (child, &inherited), wire, end);
        if let Err((notification, e)) = delivered {
            answer(world, notification, Err(e));
        }
        None
    }

    /// The next connection, where nothing of it or of one before it is in the queue of the program's end: then the two ends
    /// need not go through there.
    ///
    /// Nobody is overtaken, and nothing is told of twice: what waits and was not announced is in the stack's own queue, from
    /// which the lock of this state lets one take at a time. `None` also where no pair can be had: that is told, or waited
    /// for, where it goes through the queue.
    fn accept_straight(
        &self,
        state: &mut State,
        nonblocking: SocketFlags,
    ) -> Option<(Arc<TcpSocket>, OwnedFd, OwnedFd)> {
        let Phase::Listening(listening) = &mut state.phase else { return None };
        let Listening { children, ends, .. } = &mut **listening;
        if !ends.is_empty() || children.is_empty() && !self.socket.readiness().readable {
            return None;
        }
        let (end, wire) = wire::pair(nonblocking).ok()?;
        let child = match children.pop_front() {
            Some(child) => child,
            None => Arc::new(self.socket.accept().ok()?.0),
        };
        self.socket.set_taken(children.len());
        Some((child, wire, end))
    }

    fn hand_over(
        self: &Arc<Self>,
        world: &Arc<World>,
        task: Task,
        notification: Notification,
        (child, inherited): (Arc<TcpSocket>, &Inherited),
        wire: OwnedFd,
        end: OwnedFd,
    ) -> Result<(), (Notification, i32)> {
        let call = notification.call;
        if call.args[1] != 0 {
            let peer = child.last_peer().unwrap_or_else(|| address::unspecified(self.v6()));
            if let Err(e) = Memory::of(task.tid).write_sized(call.args[1], call.args[2], &address::bytes(peer)) {
                return Err((notification, e.errno()));
            }
        }
        let prepared = identity(&end).and_then(|id| Ok((id, keep(world, &end)?)));
        let (id, kept) = match prepared {
            Ok(prepared) => prepared,
            Err(e) => return Err((notification, e)),
        };
        // Before it is asked for what it may be joined to: see there.
        child.set_inode(id.ino);
        if kept.is_none()
            && let Some(taken) = join::take(world, &child)
        {
            drop((wire, end));
            return self.join_over(world, task, notification, (child, inherited), taken);
        }
        inherited.give(end.as_fd());
        let fresh = self.admit(world, id, kept, child, &end).and_then(|fresh| {
            fresh.bound(wire.as_fd());
            let watched = world.reactor.arrivals(&wire, Token::Socket(id.ino));
            watched.inspect_err(|_| drop(world.sockets.remove(id))).map_err(|e| sys::errno_of(&e))?;
            Ok(fresh)
        });
        let fresh = match fresh {
            Ok(fresh) => fresh,
            Err(e) => return Err((notification, e)),
        };
        // It moves nothing before the program has it.
        lock(&fresh.state).phase = Phase::Open(pump::Wire::paused(wire));
        let cloexec = accept_flags(&call) & libc::SOCK_CLOEXEC != 0;
        let delivery = notification.fd(end.as_fd(), cloexec);
        drop(end);
        match delivery {
            Ok(Delivery::Delivered) => {
                let mut state = lock(&fresh.state);
                state.last = Some((task, -1));
                if let Phase::Open(wire) = &mut state.phase {
                    wire.start();
                }
                drop(state);
                world.sockets.notify(id, &world.reactor);
                Ok(())
            }
            // The program never saw it: the next accept is to find it again.
            Ok(Delivery::Interrupted) => {
                self.take_back(world, &fresh);
                Ok(())
            }
            Err((notification, e)) => {
                self.take_back(world, &fresh);
                Err((notification, e))
            }
        }
    }

    /// A connection gets its end, which is in the table before the program can name it.
    fn admit(
        &self,
        world: &Arc<World>,
        id: FileId,
        kept: Option<OwnedFd>,
        child: Arc<TcpSocket>,
        end: &OwnedFd,
    ) -> Result<Arc<Self>, i32> {
        let (send, receive) = child.buffers();
        for (option, bytes) in [(libc::SO_SNDBUF, send), (libc::SO_RCVBUF, receive)] {
            // A listener's connections have what it has.
            bytes.inspect(|&bytes| set_native(end.as_fd(), option, bytes));
        }
        let fresh = Arc::new(Self::new(id, self.kind, self.net.clone(), kept, child));
        fresh.listen_in(world);
        let inserted = world.sockets.insert_silent(id, Emulated::Stream(fresh.clone()), end, &world.reactor);
        inserted.inspect_err(|_| drop(world.sockets.remove(id))).map(|()| fresh)
    }

    /// The program gets the end that waits for it instead of one of its own.
    fn join_over(
        self: &Arc<Self>,
        world: &Arc<World>,
        task: Task,
        notification: Notification,
        (child, inherited): (Arc<TcpSocket>, &Inherited),
        taken: join::Taken,
    ) -> Result<(), (Notification, i32)> {
        let call = notification.call;
        let flags = accept_flags(&call);
        let fresh = match identity(&taken.wire).and_then(|id| self.admit(world, id, None, child, &taken.wire)) {
            Ok(fresh) => fresh,
            Err(e) => {
                taken.give_back(world);
                return Err((notification, e));
            }
        };
        taken.dress(flags & libc::SOCK_NONBLOCK != 0);
        inherited.give(taken.wire.as_fd());
        lock(&fresh.state).phase = Phase::Joined(join::Joined::new(world, &taken.wire, &fresh));
        match notification.fd(taken.wire.as_fd(), flags & libc::SOCK_CLOEXEC != 0) {
            Ok(Delivery::Delivered) => {
                lock(&fresh.state).last = Some((task, -1));
                taken.given(world);
                Ok(())
            }
            undelivered => {
                // The client waits again before anybody can accept it again.
                taken.give_back(world);
                self.take_back(world, &fresh);
                undelivered.map(drop)
            }
        }
    }

    /// A connection that the program was not given after all is the next again.
    fn take_back(&self, world: &World, fresh: &Self) {
        drop(world.sockets.remove(fresh.id));
        fresh.socket.set_user(None);
        fresh.socket.set_inode(0);
        // Nothing was moved yet. The pump may be looking at it just now: it finds that there is nothing to move.
        lock(&fresh.state).phase = Phase::Over;
        let mut state = lock(&self.state);
        if let Phase::Listening(listening) = &mut state.phase {
            listening.children.push_front(Arc::clone(&fresh.socket));
            self.announce(world, &mut state);
        }
    }
}
