//! The `SIOCGIF*` requests against what Linux 6.18 answers in a new namespace.

use pernet::{Namespaces, NetRef};
use pernet_stack::{IFREQ_LEN, IfFlags, IfRequest, IfRequestError, Stack, ioctl_ifconf, ioctl_ifreq};

const AF_INET: i32 = 2;
const AF_UNIX: i32 = 1;

/// A new namespace, with its loopback device.
fn system() -> (Stack, NetRef) {
    let ns = Namespaces::new();
    let stack = Stack::register(&ns).unwrap();
    let net = ns.init_net();
    (stack, net)
}

/// An `ifreq` with a name and a union of `0xee`, as the requests were made in the kernel.
fn ifreq(name: &[u8]) -> [u8; IFREQ_LEN] {
    let mut req = [0xee; IFREQ_LEN];
    req[..16].fill(0);
    req[..name.len()].copy_from_slice(name);
    req
}

fn ask(family: i32, number: u32, name: &[u8]) -> Result<Vec<u8>, i32> {
    let mut req = ifreq(name);
    let request = IfRequest::from_number(number).unwrap();
    let (stack, net) = system();
    ioctl_ifreq(&stack, &net, family, request, &mut req).map_err(IfRequestError::errno)?;
    assert_eq!(&req[..16], &ifreq(name)[..16], "the name stays as it was");
    let untouched = req.iter().rev().take_while(|&&b| b == 0xee).count();
    Ok(req[16..IFREQ_LEN - untouched].to_vec())
}

#[test]
fn answers_about_a_device() {
    let map = [0; 21];
    let cases: [(u32, &[u8]); 7] = [
        (0x8913, &[8, 0]),
        (0x891d, &[0, 0, 0, 0]),
        (0x8921, &[0, 0, 1, 0]),
        (0x8927, &[4, 3, 0, 0, 0, 0, 0, 0]),
        (0x8933, &[1, 0, 0, 0]),
        (0x8942, &[0xe8, 3, 0, 0]),
        (0x8970, &map),
    ];
    for (number, bytes) in cases {
        for name in [&b"lo"[..], b"lo:1"] {
            assert_eq!(ask(AF_INET, number, name).as_deref(), Ok(bytes), "{number:#x}");
            assert_eq!(ask(AF_UNIX, number, name).as_deref(), Ok(bytes), "{number:#x}");
        }
        for name in [&b"zz"[..], b"", b"abcdefghijklmnop", b"\xff\xfe"] {
            assert_eq!(ask(AF_INET, number, name), Err(19), "{number:#x} {name:?}");
        }
    }
}

#[test]
fn requests_that_fail() {
    for number in [0x8915, 0x8917, 0x8919, 0x891b] {
        assert_eq!(ask(AF_INET, number, b"lo"), Err(99), "{number:#x}");
        assert_eq!(ask(AF_INET, number, b"lo:1"), Err(99), "{number:#x}");
        assert_eq!(ask(AF_INET, number, b"zz"), Err(19), "{number:#x}");
        assert_eq!(ask(AF_UNIX, number, b"lo"), Err(25), "{number:#x}");
    }
    assert_eq!(ask(AF_INET, 0x891f, b"lo"), Err(25));
    assert_eq!(ask(AF_INET, 0x8929, b"lo"), Err(22));
    assert_eq!(ask(AF_INET, 0x8929, b"zz"), Err(19));
    assert_eq!(ask(AF_INET, 0x8935, b"zz"), Err(22));
    assert_eq!(ask(AF_UNIX, 0x8935, b"lo"), Err(25));
    assert_eq!(IfRequest::from_number(0x8946), None);
}

#[test]
fn an_index_has_a_name() {
    let mut req = [0xee; IFREQ_LEN];
    for (index, answer) in [(1_i32, Ok(())), (0, Err(19)), (2, Err(19)), (-1, Err(19))] {
        req[16..20].copy_from_slice(&index.to_ne_bytes());
        let (stack, net) = system();
        let got = ioctl_ifreq(&stack, &net, AF_INET, IfRequest::Name, &mut req).map_err(IfRequestError::errno);
        assert_eq!(got, answer, "{index}");
        assert_eq!(&req[..4], b"lo\0\0");
    }
}

#[test]
fn flags_follow_the_device_in_sixteen_bits() {
    let (stack, net) = system();
    stack.links(&net).unwrap().update(1, |l| l.stored_flags |= IfFlags::UP).unwrap();
    let mut req = ifreq(b"lo");
    ioctl_ifreq(&stack, &net, AF_INET, IfRequest::Flags, &mut req).unwrap();
    assert_eq!(req[16..20], [0x49, 0, 0xee, 0xee]);
}

#[test]
fn no_address_no_interface_configuration() {
    let (stack, net) = system();
    assert!(ioctl_ifconf(&stack, &net).is_empty());
}
