//! Which port a socket has, and which pair of ends a connection (`inet_csk_get_port`, `inet_hash_connect`).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::count;
use super::sock::{Inner, Sock};
use super::timewait;
use crate::l2::Cx;
use crate::l4::ports::{Claim, Range, ephemeral_range};
use crate::mib::TcpExt;

impl Inner {
    /// The ports among which one is chosen.
    pub(super) fn ports(&self, cx: Cx<'_>) -> Range {
        let (low, high) = self.options.range;
        ephemeral_range(cx.ns()).within(low, high)
    }
}

impl Sock {
    pub(super) fn claim(&self, inner: &Inner, addr: IpAddr, port: u16) -> Claim {
        Claim {
            addr,
            dual: self.v6 && !inner.options.v6_only,
            port,
            device: inner.options.device,
            reuse_addr: inner.options.reuse_addr,
            reuse_port: inner.options.reuse_port,
            uid: inner.uid,
        }
    }

    /// A connection from `local` to `peer`, by the port that the socket has or one that is chosen.
    ///
    /// What is left of an old one between the same ends gives way. Its entry among those that wait for their end stays until
    /// then: it names nobody any more, and to look for it there would cost more.
    pub(super) fn take_ends(
        self: &Arc<Self>,
        cx: Cx<'_>,
        inner: &mut Inner,
        local: IpAddr,
        peer: SocketAddr,
    ) -> Result<(), i32> {
        cx.state.tcp.expire(cx.now());
        let ports = &cx.state.tcp.ports;
        let (ticket, recycled) = match inner.ticket {
            Some(ticket) => (ticket, ports.connect(ticket, local, peer, timewait::gives_way)?),
            None => {
                let claim = self.claim(inner, local, 0);
                let patience = timewait::patience(cx, peer.ip());
                ports.bind_for(claim, peer, (&inner.ports(cx), self.holder()), |other| {
                    patience.is_some_and(|least| timewait::gives_way_after(other, cx.now(), least))
                })?
            }
        };
        count::mib(cx).ext.add(TcpExt::TWRecycled, recycled as u64);
        inner.ticket = Some(ticket);
        inner.local = Some(SocketAddr::new(local, ports.port_of(ticket)));
        Ok(())
    }
}
