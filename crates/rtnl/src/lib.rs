//! Genuine rtnetlink over pernet namespaces: sockets, dispatch, dumps and notifications, with the errnos, texts, offsets
//! and datagram sizes of Linux 6.18.
//!
//! A [`Socket`] behaves as `socket(AF_NETLINK, SOCK_RAW, ..)` does in the namespace it was opened in. Requests are
//! processed inside [`Socket::send`], in the sender's context, and answers wait in the receive queue.
//!
//! ```
//! use pernet::{Cred, Namespaces};
//! use pernet_rtnl::{LocalClient, Protocol, Rtnetlink};
//! use pernet_stack::Stack;
//! use pernet_wire::{uapi::*, Builder, Messages, MsgHeader};
//!
//! let system = Namespaces::new();
//! let stack = Stack::register(&system)?;
//! let rtnl = Rtnetlink::new(&system, &stack)?;
//!
//! let root = Cred::root(system.init_user_ns());
//! let blue = system.create(&root)?;
//! let me = LocalClient::new(root.clone(), 100).with_fd(5, &blue);
//!
//! // ip netns set blue 7
//! let socket = rtnl.open(&system.init_net(), Protocol::Route, &root);
//! let mut request = Builder::message(&MsgHeader::request(RTM_NEWNSID, NLM_F_REQUEST | NLM_F_ACK, 1));
//! request.put_raw(&[0; 4]).put_i32(NETNSA_NSID, 7).put_u32(NETNSA_FD, 5);
//! socket.send(&request.finish(), None, &me)?;
//!
//! let ack = socket.recv(8192)?.expect("an ack");
//! assert_eq!(Messages::new(&ack.bytes).next().unwrap().header.ty, NLMSG_ERROR);
//! assert_eq!(system.init_net().net_by_nsid(7), Some(blue));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Locks
//! In the order in which they may be taken; see `ARCHITECTURE` of the project for those above.
//!
//! 1. a socket's dump (held while a datagram of it is produced),
//! 2. core's peer table of the observer (held by core while it emits an event),
//! 3. the netlink bus of one namespace, or the list of all-nsid listeners; never two of them together,
//! 4. the receive queue of one socket.
//!
//! Readiness callbacks ([`Socket::on_ready`]) run with none of 1, 3 and 4 held. Number 2 is core's: an event is queued
//! inside its critical section, and so is the wake-up it causes.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod bus;
mod dispatch;
mod dump;
mod endpoint;
mod error;
mod handlers;
mod notify;
mod peer;
mod protocols;
mod queue;
mod socket;
mod sockopt;

pub use error::SockError;
pub use peer::{Client, LocalClient, PeerError, UnixEntry};
pub use protocols::Protocol;
pub use socket::{Datagram, Rtnetlink, SockAddr, Socket, SocketInfo, UnixSockets};
