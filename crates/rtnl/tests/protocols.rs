//! The protocols beside NETLINK_ROUTE, as a 6.18 kernel answers them in a namespace without sockets.

mod common;

use common::*;
use pernet_rtnl::{LocalClient, Protocol, SockAddr, SockError, Socket};
use pernet_wire::uapi::*;
use pernet_wire::{Builder, Errno, Messages, MsgHeader, Reply};

fn setting(protocol: Protocol) -> (World, Socket, LocalClient) {
    let world = World::new();
    let (socket, client) = (world.rtnl.open(&world.obs, protocol, &world.root), world.client());
    set(&socket, NETLINK_EXT_ACK, 1, &client);
    (world, socket, client)
}

fn message(ty: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = MsgHeader { len: 16 + body.len() as u32, ..MsgHeader::request(ty, flags, 7) }.to_bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes
}

/// The type and result of the one answer.
fn result(socket: &Socket, bytes: &[u8], client: &LocalClient) -> (u16, Result<(), Errno>) {
    let answer = talk(socket, bytes, client);
    assert_eq!(answer.len(), 1);
    let msg = Messages::new(&answer[0].bytes).next().unwrap();
    (msg.header.ty, Reply::read(&msg).expect("an error or a done").result)
}

#[test]
fn which_exist() {
    let known: Vec<i32> = (-1..=40).filter(|&number| Protocol::from_number(number).is_some()).collect();
    assert_eq!(known, [0, 2, 4, 15, 16]);
}

#[test]
fn socket_diagnostics() {
    let (_world, socket, client) = setting(Protocol::SockDiag);
    const OK: (u16, Result<(), Errno>) = (NLMSG_DONE, Ok(()));
    let err = |errno| (NLMSG_ERROR, Err(errno));
    let late = |errno| (NLMSG_DONE, Err(errno));
    let (dump, get) = (REQUEST | NLM_F_DUMP, REQUEST);
    for (family, protocol, len, flags, expected) in [
        (2, 6, 56, dump, OK),
        (10, 17, 56, dump, OK),
        (2, 136, 56, dump, OK),
        (2, 1, 56, dump, late(Errno::ENOENT)),
        (2, 6, 55, dump, err(Errno::EINVAL)),
        (2, 6, 56, get, err(Errno::ENOENT)),
        (10, 6, 56, get, err(Errno::ENOENT)),
        (1, 0, 24, dump, OK),
        (1, 0, 23, dump, err(Errno::EINVAL)),
        (1, 0, 24, get, err(Errno::EINVAL)),
        (16, 1, 20, dump, OK),
        (16, 32, 20, dump, late(Errno::ENOENT)),
        (16, 0, 19, dump, err(Errno::EINVAL)),
        (16, 0, 20, get, err(Errno::EOPNOTSUPP)),
        (17, 0, 20, dump, OK),
        (17, 6, 20, dump, err(Errno::EINVAL)),
        (17, 0, 19, dump, err(Errno::EINVAL)),
        (17, 0, 20, get, err(Errno::EOPNOTSUPP)),
        (0, 0, 56, dump, err(Errno::ENOENT)),
        (40, 0, 56, dump, err(Errno::ENOENT)),
        (99, 0, 56, dump, err(Errno::EINVAL)),
        (2, 0, 1, dump, err(Errno::EINVAL)),
        (2, 0, 0, dump, err(Errno::EINVAL)),
    ] {
        let mut body = vec![family, protocol];
        body.resize(len.max(2), 0);
        body.truncate(len);
        let bytes = message(SOCK_DIAG_BY_FAMILY, flags, &body);
        assert_eq!(result(&socket, &bytes, &client), expected, "{family} {protocol} {len} {flags:x}");
    }
    let mut with_inode = [0; 24];
    (with_inode[0], with_inode[8]) = (1, 5);
    assert_eq!(result(&socket, &message(SOCK_DIAG_BY_FAMILY, get, &with_inode), &client), err(Errno::ENOENT));
    for (ty, len, flags, expected) in [
        (TCPDIAG_GETSOCK, 60, dump, OK),
        (TCPDIAG_GETSOCK, 59, dump, err(Errno::EINVAL)),
        (TCPDIAG_GETSOCK, 60, get, err(Errno::ENOENT)),
        (DCCPDIAG_GETSOCK, 60, dump, err(Errno::EINVAL)),
        (100, 60, dump, err(Errno::EINVAL)),
        (SOCK_DESTROY, 56, get, err(Errno::ENOENT)),
        (SOCK_DESTROY, 4, get, err(Errno::EINVAL)),
    ] {
        let mut body = vec![0; len];
        body[..2].copy_from_slice(&[2, 6]);
        assert_eq!(result(&socket, &message(ty, flags, &body), &client), expected, "type {ty}, {len} bytes");
    }
}

#[test]
fn netlink_sockets_are_listed_with_the_kernels() {
    let (_world, socket, client) = setting(Protocol::SockDiag);
    socket.bind(pernet_rtnl::SockAddr::new(77, 0), &client).unwrap();
    let mut body = [0; 20];
    (body[0], body[1]) = (16, 255);
    let answer = talk(&socket, &message(SOCK_DIAG_BY_FAMILY, REQUEST | NLM_F_DUMP, &body), &client);
    let mut listed = Vec::new();
    for datagram in &answer {
        for msg in Messages::new(&datagram.bytes).filter(|msg| msg.header.ty == SOCK_DIAG_BY_FAMILY) {
            let payload = msg.payload();
            listed.push((payload[2], u32::from_ne_bytes(payload[4..8].try_into().unwrap())));
        }
    }
    let kernel = [0, 4, 6, 9, 10, 12, 15, 16].map(|protocol| (protocol, 0));
    let mut expected = kernel.to_vec();
    expected.insert(2, (4, 77));
    assert_eq!(listed, expected);
}

#[test]
fn a_filter_of_ss_is_accepted() {
    let (_world, socket, client) = setting(Protocol::SockDiag);
    let request = |filter: &[u8]| {
        let mut out = Builder::message(&MsgHeader::request(SOCK_DIAG_BY_FAMILY, DUMP, 1));
        let mut body = [0; 56];
        (body[0], body[1]) = (2, 6);
        out.put_raw(&body).put(1, filter);
        out.finish()
    };
    assert_eq!(result(&socket, &request(&[0, 4, 8, 0]), &client), (NLMSG_DONE, Ok(())));
    assert_eq!(result(&socket, &request(b"ab"), &client), (NLMSG_ERROR, Err(Errno::EINVAL)));
    // A port to compare with is missing.
    assert_eq!(result(&socket, &request(&[2, 4, 8, 0]), &client), (NLMSG_ERROR, Err(Errno::EINVAL)));
}

fn controller(flags: u16, command: u8, attrs: impl for<'a> FnOnce(&'a mut Builder) -> &'a mut Builder) -> Vec<u8> {
    let mut out = Builder::message(&MsgHeader::request(GENL_ID_CTRL, flags, 3));
    out.put_raw(&[command, 1, 0, 0]);
    attrs(&mut out);
    out.finish()
}

/// The answer of Linux 6.18 about nlctrl, from the length to the last attribute; only the port differs.
const NLCTRL: &str = "88000000100000000300000079230000010200000b0002006e6c6374726c000006000100100000000800030002000000\
    080004000000000008000500000000002c000600140001000800010003000000080002000e00000014000200080001000a00000008000200\
    0c0000001c0007001800010008000200100000000b0001006e6f746966790000";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_controller_knows_itself() {
    let (_world, socket, client) = setting(Protocol::Generic);
    socket.bind(SockAddr::new(0x2379, 0), &client).unwrap();
    for request in [
        controller(ACKED, CTRL_CMD_GETFAMILY, |out| out.put_str(CTRL_ATTR_FAMILY_NAME, "nlctrl")),
        controller(ACKED, CTRL_CMD_GETFAMILY, |out| out.put_u16(CTRL_ATTR_FAMILY_ID, GENL_ID_CTRL)),
        controller(ACKED, CTRL_CMD_GETFAMILY, |out| {
            out.put_u16(CTRL_ATTR_FAMILY_ID, 0x99).put_str(CTRL_ATTR_FAMILY_NAME, "nlctrl")
        }),
    ] {
        let answer = talk(&socket, &request, &client);
        if cfg!(target_endian = "little") {
            assert_eq!(hex(&answer[0].bytes), NLCTRL.replace(' ', ""));
        }
        assert_eq!(got(&answer[1..]), [ack()]);
    }
    let listed = talk(&socket, &controller(DUMP, CTRL_CMD_GETFAMILY, |out| out), &client);
    let types: Vec<u16> = listed.iter().flat_map(|d| Messages::new(&d.bytes)).map(|m| m.header.ty).collect();
    // Itself, ethtool and tcp_metrics.
    assert_eq!(types, [GENL_ID_CTRL, GENL_ID_CTRL, GENL_ID_CTRL, NLMSG_DONE]);
}

#[test]
fn the_controller_describes_its_policies() {
    let (_world, socket, client) = setting(Protocol::Generic);
    let request = controller(DUMP, CTRL_CMD_GETPOLICY, |out| out.put_u16(CTRL_ATTR_FAMILY_ID, GENL_ID_CTRL));
    let answer = talk(&socket, &request, &client);
    let bodies: Vec<String> = answer
        .iter()
        .flat_map(|d| Messages::new(&d.bytes))
        .filter(|m| m.header.ty == GENL_ID_CTRL)
        .map(|m| hex(&m.payload()[12..]))
        .collect();
    if cfg!(target_endian = "little") {
        assert_eq!(
            bodies,
            [
                "1800098014000380080001000000000008000200000000".to_owned() + "00",
                "100009800c0000800800020001000000".to_owned(),
                "2c00088028000080240001800c00040000000000000000000c000500ffff0000000000000800010003000000".to_owned(),
                "1c0008801800008014000280080007000f000000080001000c000000".to_owned(),
                "2c00088028000180240001800c00040000000000000000000c000500ffff0000000000000800010003000000".to_owned(),
                "1c0008801800018014000280080007000f000000080001000c000000".to_owned(),
                "2c0008802800018024000a800c00040000000000000000000c000500ffffffff000000000800010004000000".to_owned(),
            ]
        );
    }
}

#[test]
fn the_controller_refuses() {
    let (_world, socket, client) = setting(Protocol::Generic);
    let get = CTRL_CMD_GETFAMILY;
    for (request, errno) in [
        (controller(ACKED, get, |out| out.put_str(CTRL_ATTR_FAMILY_NAME, "nosuch")), Errno::ENOENT),
        (controller(ACKED, get, |out| out.put_u16(CTRL_ATTR_FAMILY_ID, 999)), Errno::ENOENT),
        (controller(ACKED, get, |out| out), Errno::EINVAL),
        (controller(ACKED, get, |out| out.put(CTRL_ATTR_FAMILY_NAME, b"nlctrl")), Errno::EINVAL),
        (controller(ACKED, get, |out| out.put(CTRL_ATTR_FAMILY_NAME, &[b'a'; 16])), Errno::EINVAL),
        (controller(ACKED, get, |out| out.put(CTRL_ATTR_FAMILY_ID, b"a")), Errno::ERANGE),
        (controller(ACKED, get, |out| out.put(0, b"nlctrl\0")), Errno::EINVAL),
        (controller(ACKED, 99, |out| out), Errno::EOPNOTSUPP),
        (controller(DUMP, 99, |out| out), Errno::EOPNOTSUPP),
        (controller(ACKED, CTRL_CMD_GETPOLICY, |out| out), Errno::EOPNOTSUPP),
        (controller(DUMP, CTRL_CMD_GETPOLICY, |out| out), Errno::EINVAL),
        (controller(DUMP, CTRL_CMD_GETPOLICY, |out| out.put_str(CTRL_ATTR_FAMILY_NAME, "zz")), Errno::ENOENT),
        (message(17, ACKED, &[3, 1, 0, 0]), Errno::ENOENT),
        (message(100, DUMP, &[3, 1, 0, 0]), Errno::ENOENT),
        (message(16, ACKED, &[]), Errno::EINVAL),
        (message(16, ACKED, &[3, 1, 0]), Errno::EINVAL),
    ] {
        assert_eq!(result(&socket, &request, &client), (NLMSG_ERROR, Err(errno)), "{}", hex(&request));
    }
}

#[test]
fn uevents_are_accepted_and_nobody_sends() {
    let (_world, socket, client) = setting(Protocol::KobjectUevent);
    set(&socket, NETLINK_ADD_MEMBERSHIP, 1, &client);
    for ty in [1, 16, 18, 0x500] {
        assert_eq!(got(&talk(&socket, &message(ty, ACKED, &[0; 4]), &client)), [ack()]);
        assert_eq!(got(&talk(&socket, &message(ty, DUMP, &[0; 4]), &client)), []);
    }
}

#[test]
fn programs_own_usersock() {
    let (world, socket, client) = setting(Protocol::Usersock);
    assert_eq!(socket.send(&bare(16, ACKED, 1), None, &client), Err(SockError::NoListener));
    let nobody = client.clone().with_cred(world.nobody());
    for group in [1u32, 99] {
        let refused = socket.setsockopt(NETLINK_ADD_MEMBERSHIP, &group.to_ne_bytes(), &nobody);
        assert_eq!(refused, Err(SockError::NotPermitted));
    }
    assert_eq!(socket.bind(SockAddr::new(0, 1), &nobody), Err(SockError::NotPermitted));
    // Anyone may send here.
    socket.connect(SockAddr::new(999, 0), &nobody).unwrap();
    assert_eq!(socket.send(b"x", Some(SockAddr::new(0, 1)), &nobody), Err(SockError::NoListener));
    let listener = world.rtnl.open(&world.obs, Protocol::Usersock, &world.root);
    bind_aside(&listener);
    set(&listener, NETLINK_ADD_MEMBERSHIP, 1, &client);
    let _ = socket.send(b"x", Some(SockAddr::new(0, 1)), &nobody);
    assert_eq!(drain(&listener).len(), 1, "delivered before the kernel's side refused");
}

#[test]
fn groups_of_each_protocol() {
    for (protocol, last) in [
        (Protocol::Route, 39u32),
        (Protocol::Usersock, 32),
        (Protocol::SockDiag, 32),
        (Protocol::KobjectUevent, 32),
        (Protocol::Generic, 64),
    ] {
        let (_world, socket, client) = setting(protocol);
        set(&socket, NETLINK_ADD_MEMBERSHIP, last, &client);
        let beyond = socket.setsockopt(NETLINK_ADD_MEMBERSHIP, &(last + 1).to_ne_bytes(), &client);
        assert_eq!(beyond, Err(SockError::NoSuchGroup));
        let bitmap = socket.getsockopt(NETLINK_LIST_MEMBERSHIPS, 0).unwrap();
        assert_eq!(bitmap.len(), if last > 32 { 8 } else { 4 });
        assert_eq!(bitmap.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
    }
}
