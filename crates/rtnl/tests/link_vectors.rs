//! RTM_GETLINK and the dumps of empty tables, byte for byte as Linux 6.18 answers them in a new namespace.

use std::collections::HashMap;
use std::fmt::Write as _;

use pernet::{Cred, Namespaces, NetRef};
use pernet_rtnl::{LocalClient, Protocol, Rtnetlink};
use pernet_stack::Stack;
use pernet_wire::{Builder, Messages, MsgHeader, uapi::*};

const NETLINK_EXT_ACK: i32 = 11;
const NETLINK_GET_STRICT_CHK: i32 = 12;

struct System {
    ns: Namespaces,
    rtnl: Rtnetlink,
    net: NetRef,
    root: Cred,
    client: LocalClient,
}

/// A new namespace, which knows another one as 7 and itself as 9.
fn system() -> System {
    let ns = Namespaces::new();
    let stack = Stack::register(&ns).unwrap();
    let rtnl = Rtnetlink::new(&ns, &stack).unwrap();
    let root = Cred::root(ns.init_user_ns());
    let (net, other) = (ns.create(&root).unwrap(), ns.create(&root).unwrap());
    let client = LocalClient::new(root.clone(), 100).with_fd(5, &other).with_fd(6, &net);
    let system = System { ns, rtnl, net, root, client };
    for (fd, nsid) in [(5, 7), (6, 9)] {
        let mut name = Builder::message(&MsgHeader::request(RTM_NEWNSID, NLM_F_REQUEST | NLM_F_ACK, 1));
        name.put_raw(&[0; 4]).put_i32(NETNSA_NSID, nsid).put_u32(NETNSA_FD, fd);
        let replies = system.ask(&name.finish(), false);
        assert_eq!(replies[0][16..20], [0; 4], "id {nsid} is not assigned");
    }
    system
}

impl System {
    /// Every datagram that answers the request.
    fn ask(&self, request: &[u8], strict: bool) -> Vec<Vec<u8>> {
        let socket = self.rtnl.open(&self.net, Protocol::Route, &self.root);
        let yes = 1_i32.to_ne_bytes();
        socket.setsockopt(NETLINK_EXT_ACK, &yes, &self.client).unwrap();
        if strict {
            socket.setsockopt(NETLINK_GET_STRICT_CHK, &yes, &self.client).unwrap();
        }
        socket.send(request, None, &self.client).unwrap();
        std::iter::from_fn(|| socket.recv(65_536).unwrap()).map(|d| d.bytes).collect()
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap()).collect()
}

/// A datagram in the form of the vectors: what differs from run to run zeroed, each message in hex.
fn shown(datagram: &[u8]) -> String {
    let message = |raw: &[u8]| {
        let mut raw = raw.to_vec();
        raw[12..16].fill(0);
        // IFLA_INET6_CACHEINFO begins with its length, its type and the constant 65535.
        let cache = [0x14, 0, 5, 0, 0xff, 0xff, 0, 0];
        let place = raw.windows(8).position(|w| w == cache);
        if let (Some(place), [16, 0]) = (place, &raw[4..6]) {
            assert_ne!(raw[place + 12..place + 16], [0; 4], "no reachable time");
            raw[place + 8..place + 16].fill(0);
        }
        raw.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    };
    let messages: Vec<_> = Messages::new(datagram).map(|m| message(m.raw)).collect();
    messages.join("+")
}

fn replay(vectors: &str, at_least: usize) {
    let system = system();
    let mut long = HashMap::new();
    let (mut count, mut wrong) = (0, Vec::new());
    for line in vectors.lines().filter(|l| !l.starts_with('#')) {
        if let Some((name, hex)) = line.strip_prefix("= ").and_then(|l| l.split_once(' ')) {
            long.insert(name, hex);
            continue;
        }
        let fields: Vec<_> = line.split(" | ").collect();
        let [what, how, request, replies] = fields[..] else {
            panic!("not a vector: {line}");
        };
        let full = |m: &str| m.strip_prefix('$').map_or_else(|| m.to_owned(), |name| long[name].to_owned());
        let expected: Vec<String> =
            replies.split(' ').map(|d| d.split('+').map(full).collect::<Vec<_>>().join("+")).collect();
        let got: Vec<String> = system.ask(&bytes(request), how == "strict").iter().map(|d| shown(d)).collect();
        count += 1;
        if got != expected {
            wrong.push(format!("{what} ({how})\n  linux  {}\n  pernet {}", expected.join(" "), got.join(" ")));
        }
    }
    assert!(count >= at_least, "only {count} vectors");
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(system.ns.init_net().peernet2id(&system.net), None);
}

#[test]
fn links() {
    replay(include_str!("data/link_vectors.txt"), 600);
}

#[test]
fn empty_tables() {
    replay(include_str!("data/empty_vectors.txt"), 600);
}
