//! Sockets without connections.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use pernet::NetRef;

use super::standin::{self, StandIn};
use super::{Kind, keep};
use crate::listener::{Call, Notification};
use crate::sockets::{Emulated, lone_socket};
use crate::syscalls::Outcome;
use crate::task::Task;
use crate::world::World;

/// Such a socket.
pub(crate) type DatagramFd = StandIn;

/// A fresh one: what goes to the program.
///
/// # Errors
/// errno of making the stand-in.
pub(crate) fn open(world: &World, kind: Kind, net: NetRef, nonblocking: bool) -> Result<OwnedFd, i32> {
    let (app, id) = lone_socket(false, nonblocking)?;
    let kept = keep(world, &app)?;
    let socket = Emulated::Datagram(Arc::new(StandIn::new(id, kind, net, kept)));
    world.sockets.insert_silent(id, socket, &app, &world.reactor)?;
    Ok(app)
}

/// Answers a call that does not wait.
pub(crate) fn handle(world: &World, task: Task, call: &Call, s: &DatagramFd) -> Outcome {
    standin::handle(world, task, call, s)
}

/// Answers a receiving call, now or when something came.
pub(crate) fn receive(_world: &World, notification: Notification, _s: &DatagramFd) {
    // The stand-in waits, and is woken by nothing, as a socket without a network.
    notification.proceed();
}
