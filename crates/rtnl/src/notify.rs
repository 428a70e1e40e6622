//! Events of the core and notices of the stack become bytes, once, and go to the group.

use std::sync::Arc;

use pernet::{Event, EventSink, Net, NetRef, Nsid, Origin};
use pernet_stack::{Notice, NoticeSink, Stack};
use pernet_wire::uapi::*;
use pernet_wire::{Builder, MsgHeader};

use crate::bus::{Bus, Multicast};
use crate::handlers;
use crate::protocols::Protocol;
use crate::queue::{Bytes, Queued};
use crate::socket::SockAddr;

/// The subscriber. It runs inside the observer's peer-table lock, which is what keeps a NEW for a reused id behind the
/// DEL of the old one in every queue; so it only queues, and wakes those it queued for.
pub(crate) struct Notifier {
    pub(crate) bus: Arc<Bus>,
}

impl EventSink for Notifier {
    fn emit(&self, event: &Event<'_>) {
        match event {
            Event::NsidNew { observer, id, origin, .. } => self.nsid(observer, RTM_NEWNSID, *id, *origin),
            Event::NsidDel { observer, id } => self.nsid(observer, RTM_DELNSID, *id, Origin::KERNEL),
            _ => {}
        }
    }
}

impl NoticeSink for Notifier {
    fn emit(&self, stack: &Stack, net: &NetRef, notice: &Notice, origin: Origin) {
        handlers::notice(self, stack, net, notice, origin);
    }
}

impl Notifier {
    fn nsid(&self, observer: &Net, ty: u16, id: Nsid, origin: Origin) {
        self.announce(observer, RTNLGRP_NSID, ty, 0, origin, |out| fill_nsid(out, Some(id), None));
    }

    /// Whether anybody in `net` listens to `group`.
    pub(crate) fn heard(&self, net: &Net, group: u32) -> bool {
        self.bus.heard(net, Protocol::Route, group)
    }

    /// Sends a message of type `ty` with `flags` to the members of `group`, and to the requester if it asked for an echo
    /// (`rtnl_notify`). `fill` writes the body, and is not called if nobody listens.
    pub(crate) fn announce(
        &self,
        net: &Net,
        group: u32,
        ty: u16,
        flags: u16,
        origin: Origin,
        fill: impl FnOnce(&mut Builder),
    ) {
        let heard = self.bus.heard(net, Protocol::Route, group);
        if !heard && !origin.echo {
            return;
        }
        let mut out = Builder::append_to(Vec::with_capacity(64));
        out.begin(&MsgHeader::new(ty, flags, origin.seq, origin.portid));
        fill(&mut out);
        let bytes = out.finish();
        if heard {
            self.bus.multicast(
                net,
                &Multicast {
                    protocol: Protocol::Route,
                    group,
                    bytes: &bytes,
                    from: 0,
                    exclude_port: if origin.echo { origin.portid } else { 0 },
                    exclude: None,
                },
            );
        }
        if !origin.echo {
            return;
        }
        if let Some(ep) = self.bus.of(net).and_then(|bus| bus.by_port(Protocol::Route, origin.portid)) {
            let item = Queued {
                bytes: Bytes::Own(bytes),
                // The unicast copy keeps the group in its address, as in the kernel.
                from: SockAddr { portid: 0, groups: SockAddr::mask(group) },
                group,
                origin_nsid: None,
            };
            if ep.deliver(item).wake {
                ep.wake();
            }
        }
    }
}

/// The body of every message about an nsid: family 0, the id (-1 for none), and for answers about a target the id in
/// the requester's namespace.
pub(crate) fn nsid_message(header: &MsgHeader, id: Option<Nsid>, current: Option<Option<Nsid>>) -> Vec<u8> {
    let mut out = Builder::append_to(Vec::with_capacity(36));
    out.begin(header);
    fill_nsid(&mut out, id, current);
    out.finish()
}

/// As [`nsid_message`], behind a header that is there already.
pub(crate) fn fill_nsid(out: &mut Builder, id: Option<Nsid>, current: Option<Option<Nsid>>) {
    let number = |id: Option<Nsid>| id.map_or(NETNSA_NSID_NOT_ASSIGNED, |id| id.get());
    out.put_raw(&[0; 4]).put_i32(NETNSA_NSID, number(id));
    if let Some(current) = current {
        out.put_i32(NETNSA_CURRENT_NSID, number(current));
    }
}
