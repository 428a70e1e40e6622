//! Events of the core become bytes, once, and go to the group.

use std::sync::Arc;

use pernet::{Event, EventSink, Net, Nsid, Origin};
use pernet_wire::uapi::*;
use pernet_wire::{Builder, MsgHeader};

use crate::bus::{Bus, Multicast};
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

impl Notifier {
    fn nsid(&self, observer: &Net, ty: u16, id: Nsid, origin: Origin) {
        let heard = self.bus.heard(observer, Protocol::Route, RTNLGRP_NSID);
        if !heard && !origin.echo {
            return;
        }
        let bytes = nsid_message(&MsgHeader::new(ty, 0, origin.seq, origin.portid), Some(id), None);
        if heard {
            self.bus.multicast(
                observer,
                &Multicast {
                    protocol: Protocol::Route,
                    group: RTNLGRP_NSID,
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
        let requester = self.bus.of(observer).and_then(|bus| bus.by_port(Protocol::Route, origin.portid));
        if let Some(ep) = requester {
            let item = Queued {
                bytes: Bytes::Own(bytes),
                // The unicast copy keeps the group in its address, as in the kernel.
                from: SockAddr { portid: 0, groups: SockAddr::mask(RTNLGRP_NSID) },
                group: RTNLGRP_NSID,
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
