//! What TCP counts of connections that begin, talk and end, as Linux 6.18 counts the same.

use std::time::Duration;

use pernet_stack::TcpSocket;

mod common;

use common::{World, world};

const EINPROGRESS: i32 = 115;

fn listening(w: &World, backlog: i32) -> TcpSocket {
    let listener = TcpSocket::new_v4(&w.stack, &w.b);
    listener.bind("10.0.0.2:80".parse().unwrap(), true).unwrap();
    listener.listen(backlog).unwrap();
    listener
}

fn asking(w: &World, port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4(&w.stack, &w.a);
    assert_eq!(socket.connect(([10, 0, 0, 2], port).into()), Err(EINPROGRESS));
    w.settle();
    socket
}

fn connected(w: &World, listener: &TcpSocket) -> (TcpSocket, TcpSocket) {
    let a = asking(w, 80);
    (a, listener.accept().unwrap().0)
}

#[test]
fn a_connection_from_its_begin_to_its_end() {
    let w = world();
    let listener = listening(&w, 5);
    let mut pair = None;
    let opens =
        ["Tcp ActiveOpens", "Tcp PassiveOpens", "Tcp CurrEstab", "Tcp InSegs", "Tcp OutSegs", "TcpExt TCPDelivered"];
    assert_eq!(w.more(&w.a, opens, || pair = Some(connected(&w, &listener))), [1, 0, 1, 1, 2, 1]);
    let now = w.counted(&w.b);
    assert_eq!(opens.map(|name| now[name]), [0, 1, 1, 2, 1, 0]);
    let (a, b) = pair.unwrap();
    let talk = ["TcpExt TCPOrigDataSent", "TcpExt TCPDelivered", "TcpExt TCPPureAcks", "Tcp RetransSegs"];
    let said = w.more(&w.a, talk, || {
        assert_eq!(a.send(b"hello"), Ok(5));
        w.settle();
        w.pass(Duration::from_millis(100));
    });
    assert_eq!(said, [1, 1, 1, 0]);
    // Who closes first waits for a minute, the other not.
    let ended = w.more(&w.a, ["TcpExt TW", "Tcp EstabResets"], || {
        drop(a);
        w.settle();
        let mut piece = [0; 9];
        assert_eq!((b.recv(&mut piece), b.recv(&mut piece)), (Ok(5), Ok(0)));
        drop(b);
        w.settle();
    });
    assert_eq!((ended, w.counted(&w.b)["TcpExt TW"], w.counted(&w.a)["Tcp CurrEstab"]), ([1, 0], 0, 0));
}

#[test]
fn who_is_refused_and_who_is_reset() {
    let w = world();
    let refused = w.more(&w.a, ["Tcp ActiveOpens", "Tcp AttemptFails", "TcpExt TCPDelivered"], || drop(asking(&w, 81)));
    assert_eq!((refused, w.counted(&w.b)["Tcp OutRsts"]), ([1, 1, 0], 1));
    let listener = listening(&w, 5);
    let resets = ["Tcp EstabResets", "Tcp OutRsts", "TcpExt TCPAbortOnClose", "TcpExt TCPAbortOnData"];
    let (a, b) = connected(&w, &listener);
    a.send(b"unread").unwrap();
    w.settle();
    let closed = w.more(&w.b, resets, || {
        drop(b);
        w.settle();
    });
    assert_eq!((closed, w.counted(&w.a)["Tcp EstabResets"]), ([1, 1, 1, 0], 1));
    let (a, _b) = connected(&w, &listener);
    a.set_linger(Some(0));
    let cut = w.more(&w.a, resets, || {
        drop(a);
        w.settle();
    });
    assert_eq!(cut, [1, 1, 0, 1]);
}

#[test]
fn a_listener_without_room_says_so() {
    let w = world();
    let _listener = listening(&w, 1);
    let drops = ["TcpExt ListenOverflows", "TcpExt ListenDrops", "Tcp PassiveOpens"];
    let mut all = Vec::new();
    assert_eq!(w.more(&w.b, drops, || all.extend((0..4).map(|_| asking(&w, 80)))), [2, 2, 2]);
}

#[test]
fn what_is_said_again_and_given_up() {
    let w = world();
    let listener = listening(&w, 5);
    let (a, _b) = connected(&w, &listener);
    let (idle, _c) = connected(&w, &listener);
    idle.set_keepalive(true);
    for (option, value) in [(4, 10), (5, 5), (6, 2)] {
        idle.set_tcp_option(option, &i32::to_ne_bytes(value)).unwrap();
    }
    let probes = w.more(&w.a, ["TcpExt TCPKeepAlive", "Tcp RetransSegs", "TcpExt TCPTimeouts"], || {
        w.pass(Duration::from_secs(35));
    });
    assert_eq!((probes[0] >= 3, probes[1], probes[2]), (true, 0, 0), "{probes:?}");
    w.unplug();
    let lost = w.more(&w.a, ["Tcp RetransSegs", "TcpExt TCPTimeouts", "TcpExt TCPAbortOnTimeout"], || {
        a.set_tcp_option(18, &5000i32.to_ne_bytes()).unwrap();
        a.send(b"anybody there?").unwrap();
        w.pass(Duration::from_secs(40));
    });
    // One had nothing to say again.
    assert!(lost[0] >= 2 && lost[1] == lost[0] + 1 && lost[2] == 2, "{lost:?}");
}
