//! With a seed and a clock that is moved by hand, all packets are the same each time.

use std::sync::Arc;
use std::time::Duration;

use pernet::{Cred, Namespaces, NetRef, Origin};
use pernet_stack::{
    Clock, FlagChange, IfFlags, KindSpec, LinkChange, ManualClock, NewAddr4, NewLink, PacketSocket, Stack, TcpSocket,
    VethPeer,
};

/// `NETIF_F_HW_CSUM`.
const CHECKSUMS: u64 = 1 << 3;

struct Shared(Arc<ManualClock>);

impl Clock for Shared {
    fn now(&self) -> Duration {
        self.0.now()
    }
}

/// A cable to `wire`, whose end in `net` has an address; the device's index, and that of the other end.
fn cable(stack: &Stack, net: &NetRef, wire: &NetRef, name: &str, last: u8) -> u32 {
    let end = |net: &NetRef, name: &str| LinkChange {
        name: Some(name.into()),
        net: Some(net.clone()),
        ..LinkChange::default()
    };
    let peer = VethPeer { change: Some(end(wire, name)), ..VethPeer::default() };
    let mut new = NewLink::new(KindSpec::Veth(Box::new(peer)));
    new.change = LinkChange { net: None, ..end(net, "eth") };
    stack.rtnl(Origin::KERNEL).new_link(net, &new).unwrap();
    for (net, name) in [(net, "eth"), (wire, name)] {
        let up = Some(FlagChange { flags: IfFlags::UP, mask: IfFlags::UP });
        let index = stack.links(net).unwrap().by_name(name).unwrap().index();
        stack.rtnl(Origin::KERNEL).set_link(net, index, &LinkChange { flags: up, ..LinkChange::default() }).unwrap();
    }
    // Whoever carries frames by hand wants them as they are on a wire.
    let link = stack.links(net).unwrap().by_name("eth").unwrap();
    stack.rtnl(Origin::KERNEL).set_eth_features(net, &link, CHECKSUMS, 0);
    let ifindex = stack.links(net).unwrap().by_name("eth").unwrap().index();
    let new = NewAddr4::new(ifindex, [10, 0, 0, last].into(), 24);
    stack.rtnl(Origin::KERNEL).new_addr4(net, &new).unwrap();
    stack.links(wire).unwrap().by_name(name).unwrap().index()
}

/// What passes between two hosts, and when, while one sends the other something over a wire that loses every eleventh frame.
fn run(seed: u64) -> Vec<(Duration, Vec<u8>)> {
    let namespaces = Namespaces::new();
    let clock = Arc::new(ManualClock::default());
    clock.advance(Duration::from_secs(1000));
    let stack = Stack::register_with_seed(&namespaces, Box::new(Shared(Arc::clone(&clock))), seed).unwrap();
    let net = || namespaces.create(&Cred::root(namespaces.init_user_ns())).unwrap();
    let (a, b, wire) = (net(), net(), net());
    let ends = [cable(&stack, &a, &wire, "w0", 1), cable(&stack, &b, &wire, "w1", 2)].map(|index| {
        let socket = PacketSocket::new(&stack, wire.clone(), false, 3, 0);
        socket.bind(index, 3).unwrap();
        socket
    });
    let mut capture = Vec::new();
    let carry = |capture: &mut Vec<(Duration, Vec<u8>)>| {
        let mut any = false;
        for (from, to) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
            while let Some(frame) = from.next_frame().filter(|frame| frame.from.kind != 4) {
                capture.push((clock.now(), frame.bytes.clone()));
                if !capture.len().is_multiple_of(11) {
                    to.send(&frame.bytes, None).unwrap();
                }
                any = true;
            }
        }
        any
    };
    let (listener, client) = (TcpSocket::new_v4(&stack, &b), TcpSocket::new_v4(&stack, &a));
    let to = "10.0.0.2:80".parse().unwrap();
    listener.bind(to, true).unwrap();
    listener.listen(1).unwrap();
    let _ = client.connect(to);
    let (sent, mut at, mut got, mut room, mut server) = (vec![5; 100_000], 0, 0, vec![0; 8192], None);
    let end = clock.now() + Duration::from_secs(600);
    while clock.now() < end {
        while carry(&mut capture) {}
        at += client.send(&sent[at..]).unwrap_or(0);
        server = server.or_else(|| listener.accept().ok());
        if let Some((server, _)) = &server {
            while let Ok(more) = server.recv(&mut room) {
                got += more;
            }
        }
        let next = stack.run_timers().unwrap_or(Duration::from_secs(60));
        clock.advance(next.clamp(Duration::from_millis(1), Duration::from_secs(60)));
    }
    assert_eq!(got, sent.len());
    capture
}

#[test]
fn ten_minutes_are_the_same_to_the_byte_with_the_same_seed() {
    let first = run(7);
    assert!(first.len() > 100, "{} frames", first.len());
    assert!(first == run(7), "the same again");
    let other = run(8);
    assert!(first != other, "another seed, other numbers");
}
