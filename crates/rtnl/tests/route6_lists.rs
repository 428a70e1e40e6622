//! A list of nexthops is taken away as a whole or not at all.

mod common;

use common::{ACKED, DUMP, World, drain, talk};
use pernet_rtnl::Socket;
use pernet_wire::uapi::*;
use pernet_wire::{Builder, Messages, MsgHeader, Reply};

fn attr(ty: u16, value: &[u8]) -> Vec<u8> {
    let mut out = (value.len() as u16 + 4).to_ne_bytes().to_vec();
    out.extend(ty.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn message(ty: u16, flags: u16, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Builder::message(&MsgHeader::request(ty, flags, 1));
    out.put_raw(&parts.concat());
    out.finish()
}

struct Table {
    world: World,
    socket: Socket,
}

impl Table {
    /// Both ends of a cable, devices 2 and 3, are up.
    fn new() -> Self {
        let world = World::new();
        let socket = world.route();
        let table = Self { world, socket };
        let info = attr(IFLA_LINKINFO, &attr(1, b"veth\0"));
        assert_eq!(table.ask(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &[&[0; 16], &info]), 0);
        for index in [2_u8, 3] {
            let up = [0, 0, 0, 0, index, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0];
            assert_eq!(table.ask(RTM_NEWLINK, 0, &[&up]), 0);
        }
        table
    }

    fn ask(&self, ty: u16, flags: u16, parts: &[&[u8]]) -> i32 {
        let answers = talk(&self.socket, &message(ty, ACKED | flags, parts), &self.world.client());
        let ack = answers.iter().flat_map(|answer| Messages::new(&answer.bytes)).find_map(|m| Reply::read(&m));
        ack.expect("an answer").result.map_or_else(|errno| errno.get(), |()| 0)
    }

    /// A request about `2001:db8::/64` by way of `fe80::N` on a device, for each.
    fn route(&self, ty: u16, flags: u16, hops: &[(u8, Option<u8>)]) -> i32 {
        let mut list = Vec::new();
        for &(device, router) in hops {
            let gateway = router.map_or_else(Vec::new, |router| {
                let mut address = [0; 16];
                (address[0], address[1], address[15]) = (0xfe, 0x80, router);
                attr(5, &address)
            });
            list.extend((8 + gateway.len() as u16).to_ne_bytes());
            list.extend([0, 0, device, 0, 0, 0]);
            list.extend(gateway);
        }
        let header = [10, 64, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
        let mut to = [0; 16];
        to[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
        self.ask(ty, flags, &[&header, &attr(1, &to), &attr(9, &list)])
    }

    fn routes(&self) -> Vec<u8> {
        let header = [10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        self.socket.send(&message(RTM_GETROUTE, DUMP, &[&header]), None, &self.world.client()).expect("sent");
        drain(&self.socket).into_iter().flat_map(|answer| answer.bytes).collect()
    }
}

#[test]
fn a_list_of_which_one_is_not_there_takes_none_away() {
    const ESRCH: i32 = 3;
    let table = Table::new();
    let none = table.routes();
    assert_eq!(table.route(RTM_NEWROUTE, NLM_F_CREATE, &[(2, Some(1)), (3, Some(2))]), 0);
    let both = table.routes();
    assert_ne!(both, none);
    let not_there: [&[(u8, Option<u8>)]; 4] = [
        &[(2, Some(1)), (3, Some(9))],
        &[(2, Some(9)), (3, Some(2))],
        // Each goes once, and one without a router takes all that share its traffic.
        &[(2, Some(1)), (3, Some(2)), (3, Some(2))],
        &[(2, None), (3, Some(2))],
    ];
    for hops in not_there {
        assert_eq!(table.route(RTM_DELROUTE, 0, hops), ESRCH, "{hops:?}");
        assert!(table.routes() == both, "{hops:?}");
    }
    assert_eq!(table.route(RTM_DELROUTE, 0, &[(3, Some(2)), (2, Some(1))]), 0);
    assert!(table.routes() == none);
}
