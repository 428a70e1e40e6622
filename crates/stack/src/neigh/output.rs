//! Handing packets to neighbours, and what packets tell of them (`neigh_output`, `neigh_update`).

use std::net::IpAddr;
use std::sync::Arc;

use pernet::Origin;

use super::change::{around, peek};
use super::entry::{Entry, NeighFamily, NeighFlags};
use super::parms::NeighParm;
use super::state::NeighState;
use super::update::Said;
use super::{NeighNotice, gc, kind, solicit};
use crate::dev::{HwAddr, Link};
use crate::errno;
use crate::l2::{self, Cx, Frame, Work};
use crate::notice::Notice;
use crate::rtnl::Rtnl;
use crate::state::Ns;

/// Sends a packet to a neighbour, or lets it wait until that one has said where it is. The frame's data begin at the network
/// header, and its protocol is set.
///
/// # Errors
/// A positive errno: `ENOBUFS` if the table is full, `EINVAL` on a device without the protocol, what the device says.
pub(crate) fn output(cx: Cx<'_>, link: &Arc<Link>, dst: IpAddr, frame: Frame) -> Result<(), i32> {
    let key = kind::key(link, dst);
    let known = cx.state.peek_neigh().and_then(|table| {
        let entry = table.find(link.index(), key)?;
        if entry.state.is(NeighState::CONNECTED) {
            return Some(entry.address);
        }
        let asked = entry.state.is(NeighState::DELAY.or(NeighState::PROBE));
        asked.then(|| {
            entry.used.set(super::timer::millis(cx.now()));
            entry.address
        })
    });
    match known {
        Some(address) => send(cx, link, &address, frame),
        None => resolve(cx, link, dst, frame),
    }
}

/// Where a neighbour is, if that is known and need not be confirmed: so it stays until the table changes.
pub(crate) fn connected(cx: Cx<'_>, link: &Link, dst: IpAddr) -> Option<HwAddr> {
    let key = kind::key(link, dst);
    let table = cx.state.peek_neigh()?;
    table.find(link.index(), key).filter(|entry| entry.state.is(NeighState::CONNECTED)).map(|entry| entry.address)
}

fn send(cx: Cx<'_>, link: &Arc<Link>, address: &HwAddr, mut frame: Frame) -> Result<(), i32> {
    l2::hard_header(&mut frame, link, address.as_bytes());
    l2::dev_queue_xmit(cx, link, frame)
}

/// Nothing is known of the neighbour, or it is to be asked whether it is still there: that changes the table, under rtnl.
fn resolve(cx: Cx<'_>, link: &Arc<Link>, dst: IpAddr, frame: Frame) -> Result<(), i32> {
    let ns = cx.ns();
    let mut rtnl = cx.stack.rtnl(Origin::KERNEL);
    // The device may have gone, and its entries with it, before the lock was had.
    let Some(now) = ns.links.by_index(link.index()) else { return Err(errno::ENETDOWN) };
    if !now.is_up() {
        drop(rtnl);
        return l2::dev_queue_xmit(cx, &now, frame);
    }
    let mut entry = entry(&mut rtnl, ns, link, dst)?;
    let around = around(&rtnl, ns, link, entry.family());
    let asks = entry.use_it(&around);
    let (id, state, address) = (entry.id, entry.state, entry.address);
    let room = usize::try_from(around.parms.get(NeighParm::QueueLenBytes)).unwrap_or(0);
    if asks {
        solicit::ask(&rtnl, ns, link, &entry, solicit::source_of(&frame, entry.dst));
    }
    let mut frame = Some(frame);
    {
        let mut table = ns.neigh.write();
        table.replace(entry);
        if state.is(NeighState::INCOMPLETE)
            && let Some(frame) = frame.take()
        {
            table.wait(id, frame, room);
        }
    }
    rtnl.arm(ns, id);
    drop(rtnl);
    match frame {
        Some(frame) if state.is(NeighState::VALID) => send(cx, link, &address, frame),
        Some(frame) => {
            // Nobody is asked on this device: so nobody answers.
            crate::l3::link_failure(cx, link.index(), frame);
            Ok(())
        }
        None => Ok(()),
    }
}

/// The entry of a neighbour, made if there is none.
fn entry(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Arc<Link>, dst: IpAddr) -> Result<Entry, i32> {
    let key = kind::key(link, dst);
    if let Some(known) = peek(ns, |table| table.find(link.index(), key).cloned()).flatten() {
        return Ok(known);
    }
    let born = kind::born(ns, link, dst).map_err(|_| errno::EINVAL)?;
    let family = NeighFamily::of(&dst);
    gc::make_room(rtnl, ns, family).map_err(|_| errno::ENOBUFS)?;
    let around = around(rtnl, ns, link, family);
    let mut entry = Entry::new(link, born, &around);
    entry.id = ns.neigh.write().insert(entry.clone());
    Ok(entry)
}

/// What a packet says of a neighbour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) dst: IpAddr,
    /// Where it is; `None` if that was not said.
    pub(crate) address: Option<HwAddr>,
    pub(crate) state: NeighState,
    /// It counts though another address is known.
    pub(crate) overrides: bool,
    /// If it does not count, what is known becomes doubtful.
    pub(crate) doubts: bool,
    /// An entry is made if there is none.
    pub(crate) create: bool,
    /// Whether it is a router, if that was said.
    pub(crate) router: Option<bool>,
}

/// Somebody said something of a neighbour (`neigh_update`).
pub(crate) fn heard(cx: Cx<'_>, link: &Arc<Link>, heard: &Heard) {
    let ns = cx.ns();
    let mut rtnl = cx.stack.rtnl(Origin::KERNEL);
    if ns.links.by_index(link.index()).is_none_or(|link| !link.is_up()) {
        return;
    }
    let known = peek(ns, |table| table.find(link.index(), heard.dst).cloned()).flatten();
    let mut found = match known {
        Some(found) => found,
        None if heard.create => match entry(&mut rtnl, ns, link, heard.dst) {
            Ok(new) => new,
            Err(_) => return,
        },
        None => return,
    };
    // What an administrator said, or the device itself, no packet changes.
    if found.state.is(NeighState::PERMANENT.or(NeighState::NOARP)) {
        return;
    }
    let around = around(&rtnl, ns, link, found.family());
    let mut flags = found.flags;
    if let Some(router) = heard.router {
        flags.set(NeighFlags::ROUTER, router);
    }
    let mut said = Said { state: heard.state, address: heard.address, flags, overrides: heard.overrides, admin: false };
    if let Some(address) = heard.address
        && heard.doubts
        && !heard.overrides
        && found.state.is(NeighState::CONNECTED)
        && address != found.address
    {
        // Another answers in its place: who is right will be found out by asking.
        said.state = NeighState::STALE;
        said.address = Some(found.address);
        said.admin = true;
    }
    let was_router = found.flags.has(NeighFlags::ROUTER);
    let Ok(mut told) = found.update(said, &around) else { return };
    if let Some(router) = heard.router
        && router != found.flags.has(NeighFlags::ROUTER)
    {
        found.flags.set(NeighFlags::ROUTER, router);
    }
    told |= was_router != found.flags.has(NeighFlags::ROUTER);
    let id = found.id;
    let report = found.report(around.now, true);
    ns.neigh.write().replace(found);
    settle(&rtnl, ns, link, id);
    rtnl.arm(ns, id);
    if told {
        rtnl.notify_caused(ns, Notice::Neigh(NeighNotice::New(report)));
    }
}

/// It is known now where the neighbour is, or that it is nowhere: what waited goes there, or back.
pub(super) fn settle(rtnl: &Rtnl<'_>, ns: Ns<'_>, link: &Link, id: u64) {
    let settled = peek(ns, |table| {
        let entry = table.get(id).filter(|_| table.has_waiting(id))?;
        let decided = !entry.state.is(NeighState::INCOMPLETE);
        decided.then(|| entry.state.is(NeighState::VALID).then_some(entry.address))
    });
    match settled.flatten() {
        None => {}
        Some(None) => give_up(rtnl, ns, link, id),
        Some(Some(address)) => {
            let waited = ns.neigh.write().waited(id);
            for mut frame in waited {
                l2::hard_header(&mut frame, link, address.as_bytes());
                l2::later(rtnl.stack(), ns, Work::Xmit(link.index(), frame));
            }
        }
    }
}

/// The neighbour did not answer: whoever sent what waited is told.
pub(super) fn give_up(rtnl: &Rtnl<'_>, ns: Ns<'_>, link: &Link, id: u64) {
    if !peek(ns, |table| table.has_waiting(id)).unwrap_or(false) {
        return;
    }
    let waited = ns.neigh.write().waited(id);
    for frame in waited {
        l2::later(rtnl.stack(), ns, Work::LinkFailure(link.index(), frame));
    }
}

/// Whether it is known where a neighbour is.
pub(crate) fn is_valid(cx: Cx<'_>, link: &Link, dst: IpAddr) -> bool {
    let key = kind::key(link, dst);
    let table = cx.state.peek_neigh();
    table.is_some_and(|table| table.find(link.index(), key).is_some_and(|entry| entry.state.is(NeighState::VALID)))
}

/// Asks for a neighbour though there is nothing to send him (`neigh_event_send`).
pub(crate) fn ask_for(cx: Cx<'_>, link: &Arc<Link>, dst: IpAddr) {
    let ns = cx.ns();
    let mut rtnl = cx.stack.rtnl(Origin::KERNEL);
    if ns.links.by_index(link.index()).is_none_or(|link| !link.is_up()) {
        return;
    }
    let Ok(mut entry) = entry(&mut rtnl, ns, link, dst) else { return };
    let around = around(&rtnl, ns, link, entry.family());
    let asks = entry.use_it(&around);
    if asks {
        solicit::ask(&rtnl, ns, link, &entry, None);
    }
    let id = entry.id;
    ns.neigh.write().replace(entry);
    rtnl.arm(ns, id);
}
