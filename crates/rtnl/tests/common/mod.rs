//! A system with a few namespaces, and the shorthand of a netlink client.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::sync::atomic::{AtomicU32, Ordering};

use pernet::{Cap, Caps, Cred, Namespaces, NetRef, Uid};
use pernet_rtnl::{Datagram, LocalClient, Protocol, Rtnetlink, SockAddr, SockError, Socket};
use pernet_stack::Stack;
use pernet_wire::uapi::*;
use pernet_wire::{Builder, Errno, ExtAck, Messages, MsgHeader, Reply};

/// Requester's port wherever one is not random.
pub(crate) const TGID: u32 = 3547;
pub(crate) const REQUEST: u16 = NLM_F_REQUEST;
pub(crate) const ACKED: u16 = NLM_F_REQUEST | NLM_F_ACK;
pub(crate) const DUMP: u16 = NLM_F_REQUEST | NLM_F_DUMP;

pub(crate) struct World {
    pub(crate) system: Namespaces,
    pub(crate) rtnl: Rtnetlink,
    pub(crate) root: Cred,
    /// Where the requester lives (not the initial namespace).
    pub(crate) obs: NetRef,
}

impl World {
    pub(crate) fn new() -> Self {
        let system = Namespaces::new();
        let stack = Stack::register(&system).expect("stack");
        let rtnl = Rtnetlink::new(&system, &stack).expect("rtnl");
        let root = Cred::root(system.init_user_ns());
        let obs = system.create(&root).expect("namespace");
        Self { system, rtnl, root, obs }
    }

    pub(crate) fn net(&self) -> NetRef {
        self.system.create(&self.root).expect("namespace")
    }

    pub(crate) fn nobody(&self) -> Cred {
        Cred::user(self.system.init_user_ns(), Uid(65_534))
    }

    /// Root without these.
    pub(crate) fn root_without(&self, caps: &[Cap]) -> Cred {
        let caps = caps.iter().fold(Caps::FULL, |all, cap| all.without(*cap));
        Cred { caps, ..self.root.clone() }
    }

    pub(crate) fn client(&self) -> LocalClient {
        LocalClient::new(self.root.clone(), TGID)
    }

    /// A socket in the requester's namespace with EXT_ACK.
    pub(crate) fn route(&self) -> Socket {
        self.route_in(&self.obs)
    }

    pub(crate) fn route_in(&self, net: &NetRef) -> Socket {
        let socket = self.rtnl.open(net, Protocol::Route, &self.root);
        set(&socket, NETLINK_EXT_ACK, 1, &self.client());
        socket
    }

    pub(crate) fn strict(&self) -> Socket {
        let socket = self.route();
        set(&socket, NETLINK_GET_STRICT_CHK, 1, &self.client());
        socket
    }

    /// A listener of RTNLGRP_NSID in `net`.
    pub(crate) fn listener(&self, net: &NetRef) -> Socket {
        let socket = self.rtnl.open(net, Protocol::Route, &self.root);
        bind_aside(&socket);
        set(&socket, NETLINK_ADD_MEMBERSHIP, RTNLGRP_NSID, &self.client());
        socket
    }

    /// Gives `peer` an id in `obs`.
    pub(crate) fn name(&self, peer: &NetRef, id: i32) {
        let origin = pernet::Origin::KERNEL;
        self.obs.assign_nsid(peer, pernet::Nsid::new(id), origin).expect("id");
    }
}

/// Binds to a port that nobody else uses or expects: who is not bound hears nothing.
pub(crate) fn bind_aside(socket: &Socket) {
    static NEXT: AtomicU32 = AtomicU32::new(0x7000_0000);
    let port = SockAddr::new(NEXT.fetch_add(1, Ordering::Relaxed), 0);
    let client = LocalClient::new(Cred::root(socket.net().owner()), 1);
    socket.bind(port, &client).expect("a port of its own");
}

pub(crate) fn set(socket: &Socket, opt: i32, value: u32, client: &LocalClient) {
    socket.setsockopt(opt, &value.to_ne_bytes(), client).expect("option");
}

/// A request of the nsid family.
pub(crate) struct Req(Builder);

pub(crate) fn req(ty: u16, flags: u16, seq: u32) -> Req {
    let mut out = Builder::message(&MsgHeader::request(ty, flags, seq));
    out.put_raw(&[0; 4]);
    Req(out)
}

impl Req {
    pub(crate) fn i32(mut self, ty: u16, value: i32) -> Self {
        self.0.put_i32(ty, value);
        self
    }
    pub(crate) fn bytes(mut self, ty: u16, value: &[u8]) -> Self {
        self.0.put(ty, value);
        self
    }
    pub(crate) fn nsid(self, id: i32) -> Self {
        self.i32(NETNSA_NSID, id)
    }
    pub(crate) fn pid(self, pid: i32) -> Self {
        self.i32(NETNSA_PID, pid)
    }
    pub(crate) fn fd(self, fd: i32) -> Self {
        self.i32(NETNSA_FD, fd)
    }
    pub(crate) fn target(self, id: i32) -> Self {
        self.i32(NETNSA_TARGET_NSID, id)
    }
    pub(crate) fn done(self) -> Vec<u8> {
        self.0.finish()
    }
    /// With bytes behind the attributes that are no attribute.
    pub(crate) fn leftover(self) -> Vec<u8> {
        let mut bytes = self.done();
        bytes.extend_from_slice(b"ab");
        let len = bytes.len() as u32;
        bytes[..4].copy_from_slice(&len.to_ne_bytes());
        bytes
    }
}

/// A message without anything behind its header, of any type.
pub(crate) fn bare(ty: u16, flags: u16, seq: u32) -> Vec<u8> {
    Builder::message(&MsgHeader::request(ty, flags, seq)).finish()
}

pub(crate) fn drain(socket: &Socket) -> Vec<Datagram> {
    std::iter::from_fn(|| socket.recv(65_536).expect("no overrun")).collect()
}

/// Sends and takes every answer.
pub(crate) fn talk(socket: &Socket, bytes: &[u8], client: &LocalClient) -> Vec<Datagram> {
    socket.send(bytes, None, client).expect("sent");
    drain(socket)
}

/// A message taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// NLMSG_ERROR or NLMSG_DONE: the result, text, offset.
    Ack(u16, u16, Result<(), Errno>, Option<String>, Option<u32>),
    /// Type, flags, seq, id, id in the requester's namespace.
    Nsid(u16, u16, u32, i32, Option<i32>),
}

pub(crate) fn got(datagrams: &[Datagram]) -> Vec<Got> {
    let mut out = Vec::new();
    for datagram in datagrams {
        let mut walk = Messages::new(&datagram.bytes);
        for msg in walk.by_ref() {
            let header = msg.header;
            out.push(match Reply::read(&msg) {
                Some(Reply { result, ext: ExtAck { msg, offset, .. }, .. }) => {
                    Got::Ack(header.ty, header.flags, result, msg.map(Into::into), offset)
                }
                None => {
                    let mut ids = (-100, None);
                    for attr in msg.attrs(4) {
                        match attr.ty {
                            NETNSA_NSID => ids.0 = attr.i32().unwrap(),
                            NETNSA_CURRENT_NSID => ids.1 = attr.i32(),
                            other => panic!("unexpected attribute {other}"),
                        }
                    }
                    assert_eq!(msg.payload()[..4], [0; 4], "family and padding");
                    Got::Nsid(header.ty, header.flags, header.seq, ids.0, ids.1)
                }
            });
        }
        assert!(walk.rest().is_empty(), "a datagram of ours is made of whole messages");
    }
    out
}

pub(crate) fn ack() -> Got {
    Got::Ack(NLMSG_ERROR, NLM_F_CAPPED, Ok(()), None, None)
}

pub(crate) fn fails(errno: Errno, text: Option<&str>, offset: Option<u32>) -> Got {
    let flags = if text.is_some() || offset.is_some() { NLM_F_ACK_TLVS } else { 0 };
    Got::Ack(NLMSG_ERROR, flags, Err(errno), text.map(Into::into), offset)
}

pub(crate) fn dump_fails(errno: Errno, text: &str, offset: Option<u32>) -> Got {
    Got::Ack(NLMSG_DONE, NLM_F_MULTI | NLM_F_ACK_TLVS, Err(errno), Some(text.into()), offset)
}

pub(crate) fn done() -> Got {
    Got::Ack(NLMSG_DONE, NLM_F_MULTI, Ok(()), None, None)
}

pub(crate) fn reply(seq: u32, id: i32) -> Got {
    Got::Nsid(RTM_NEWNSID, 0, seq, id, None)
}

pub(crate) fn entry(seq: u32, id: i32) -> Got {
    Got::Nsid(RTM_NEWNSID, NLM_F_MULTI, seq, id, None)
}

pub(crate) fn gone(id: i32) -> Got {
    Got::Nsid(RTM_DELNSID, 0, 0, id, None)
}

/// The ids of a dump.
pub(crate) fn ids(messages: &[Got]) -> Vec<i32> {
    messages.iter().filter_map(|got| if let Got::Nsid(_, _, _, id, _) = got { Some(*id) } else { None }).collect()
}

pub(crate) const KERNEL: SockAddr = SockAddr::KERNEL;
pub(crate) type SockResult<T> = Result<T, SockError>;

/// The observer comes across the peer, as when a link message must name it: an implicit id.
pub(crate) fn meet(observer: &NetRef, peer: &NetRef) {
    assert!(observer.peernet2id_alloc(peer).is_some());
}
