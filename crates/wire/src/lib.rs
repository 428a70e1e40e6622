//! What netlink bytes mean: messages and attributes read through borrowed cursors, checked by policy tables as the
//! kernel's `nla_policy` does, extended acknowledgements built and parsed, and a builder that patches lengths.
//!
//! Three promises hold for any input, however hostile:
//!
//! * nothing panics;
//! * nothing is allocated by a number taken from a message;
//! * what is not understood is answered with the errno, text and offset Linux 6.18 answers with.
//!
//! ```
//! use pernet_wire::{uapi, Builder, ExtAck, Kind, Messages, MsgHeader, Policy, Strictness, parse};
//!
//! // Ask for the nsid of the namespace behind descriptor 5 ...
//! let header = MsgHeader::request(uapi::RTM_GETNSID, uapi::NLM_F_REQUEST, 1);
//! let mut builder = Builder::message(&header);
//! builder.put_raw(&[0; 4]).put_u32(uapi::NETNSA_FD, 5);
//! let bytes = builder.finish();
//!
//! // ... and read it as the kernel would.
//! const POLICY: Policy = Policy(&[None, Some(Kind::S32), Some(Kind::U32), Some(Kind::U32)]);
//! let msg = Messages::new(&bytes).next().unwrap();
//! let mut ext = ExtAck::default();
//! let attrs = parse(&msg, 4, &POLICY, Strictness::Strict, &mut ext).unwrap();
//! assert_eq!(attrs.get(uapi::NETNSA_FD).and_then(|fd| fd.u32()), Some(5));
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]
extern crate alloc;

mod attr;
mod builder;
mod errno;
mod extack;
mod message;
mod policy;
mod reply;
pub mod uapi;
mod validate;

pub use attr::{Attr, Attrs, align4};
pub use builder::Builder;
pub use errno::Errno;
pub use extack::{ExtAck, PolicyTlv};
pub use message::{HEADER_LEN, Messages, Msg, MsgHeader};
pub use policy::{Kind, Policy};
pub use reply::{Reply, done, error_reply};
pub use validate::{AttrTable, Strictness, parse, parse_nested, text};
