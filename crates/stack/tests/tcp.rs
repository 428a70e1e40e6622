//! TCP in two namespaces with a wire between them, on a clock that the test moves.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use pernet::NetRef;
use pernet_stack::{TcpListener, TcpSocket, TcpState, TcpStream};

mod common;

const EAGAIN: i32 = 11;
const EPIPE: i32 = 32;
const ENETUNREACH: i32 = 101;
const EADDRINUSE: i32 = 98;
const ECONNRESET: i32 = 104;
const EISCONN: i32 = 106;
const ENOTCONN: i32 = 107;
const ETIMEDOUT: i32 = 110;
const ECONNREFUSED: i32 = 111;
const EHOSTUNREACH: i32 = 113;
const EALREADY: i32 = 114;
const EINPROGRESS: i32 = 115;

use common::{World, world};

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A listener in `b`, and a connection to it from `a`.
fn connected(w: &World) -> (TcpSocket, TcpSocket, TcpSocket) {
    let listener = listening(w, "10.0.0.2:80", 5);
    let (a, b) = another(w, &listener, "10.0.0.2:80");
    (listener, a, b)
}

fn listening(w: &World, at: &str, backlog: i32) -> TcpSocket {
    let listener = TcpSocket::new_v4(&w.stack, &w.b);
    listener.set_reuse_address(true);
    listener.bind(addr(at), true).unwrap();
    listener.listen(backlog).unwrap();
    listener
}

fn another(w: &World, listener: &TcpSocket, to: &str) -> (TcpSocket, TcpSocket) {
    let a = TcpSocket::new_v4(&w.stack, &w.a);
    assert_eq!(a.connect(addr(to)), Err(EINPROGRESS));
    w.settle();
    assert_eq!(a.connect(addr(to)), Ok(()));
    let (b, peer) = listener.accept().unwrap();
    assert_eq!(Some(peer), a.local_addr());
    (a, b)
}

fn read_all(socket: &TcpSocket) -> Result<Vec<u8>, i32> {
    let (mut all, mut piece) = (Vec::new(), vec![0; 70_000]);
    loop {
        match socket.recv(&mut piece) {
            Ok(0) | Err(EAGAIN) => return Ok(all),
            Ok(n) => all.extend_from_slice(&piece[..n]),
            Err(e) => return Err(e),
        }
    }
}

#[test]
fn bytes_go_both_ways_and_the_end_is_told() {
    let w = world();
    let (_listener, a, b) = connected(&w);
    let mut sent = 0;
    let mut got = Vec::new();
    while sent < 1_000_000 {
        match a.send(&vec![sent as u8; (1_000_000 - sent).min(60_000)]) {
            Ok(n) => sent += n,
            Err(e) => assert_eq!(e, EAGAIN),
        }
        w.settle();
        got.extend(read_all(&b).unwrap());
        w.pass(Duration::from_millis(50));
    }
    w.settle();
    got.extend(read_all(&b).unwrap());
    assert_eq!(got.len(), 1_000_000);
    b.send(b"thanks").unwrap();
    a.shutdown(Shutdown::Write).unwrap();
    w.settle();
    let mut piece = [0; 10];
    assert_eq!((b.recv(&mut piece), a.recv(&mut piece)), (Ok(0), Ok(6)));
    assert_eq!((a.state(), b.state()), (TcpState::FinWait2, TcpState::CloseWait));
    assert_eq!(a.send(b"x"), Err(EPIPE));
    b.send(b"late").unwrap();
    drop(b);
    w.settle();
    assert_eq!(read_all(&a).unwrap(), b"late");
    assert_eq!((a.recv(&mut piece), a.state()), (Ok(0), TcpState::Close));
}

#[test]
fn who_is_not_there_is_told() {
    let w = world();
    let socket = TcpSocket::new_v4(&w.stack, &w.a);
    assert_eq!(socket.connect(addr("10.0.0.2:81")), Err(EINPROGRESS));
    w.settle();
    assert_eq!(socket.connect(addr("10.0.0.2:81")), Err(ECONNREFUSED));
    assert_eq!(socket.connect(addr("10.9.9.9:81")), Err(ENETUNREACH));
    let mut piece = [0; 10];
    assert_eq!((socket.recv(&mut piece), socket.send(b"x")), (Err(ENOTCONN), Err(EPIPE)));
    // And whoever does not answer, after two minutes and seven seconds.
    w.unplug();
    assert_eq!(socket.connect(addr("10.0.0.2:81")), Err(EINPROGRESS));
    assert_eq!(socket.connect(addr("10.0.0.2:81")), Err(EALREADY));
}

#[test]
fn a_listener_takes_as_many_as_it_said() {
    let w = world();
    let listener = listening(&w, "10.0.0.2:80", 1);
    let askers: Vec<_> = (0..3)
        .map(|_| {
            let socket = TcpSocket::new_v4(&w.stack, &w.a);
            assert_eq!(socket.connect(addr("10.0.0.2:80")), Err(EINPROGRESS));
            w.settle();
            socket
        })
        .collect();
    let states = |askers: &[TcpSocket]| askers.iter().filter(|s| s.state() == TcpState::Established).count();
    assert_eq!(states(&askers), 2);
    let (_first, _) = listener.accept().unwrap();
    w.pass(Duration::from_secs(1));
    assert_eq!(states(&askers), 3);
    drop(listener);
    w.settle();
    let mut piece = [0; 1];
    assert_eq!(askers[1].recv(&mut piece), Err(ECONNRESET));
    assert_eq!(askers[2].take_error(), ECONNRESET);
}

#[test]
fn a_reset_comes_behind_what_can_be_read() {
    let w = world();
    let (_listener, a, b) = connected(&w);
    b.send(b"last words").unwrap();
    w.settle();
    b.set_linger(Some(0));
    drop(b);
    w.settle();
    let mut piece = [0; 20];
    assert_eq!(a.recv(&mut piece), Ok(10));
    assert_eq!(a.recv(&mut piece), Err(ECONNRESET));
    assert_eq!((a.recv(&mut piece), a.send(b"x")), (Ok(0), Err(EPIPE)));
}

#[test]
fn closing_with_bytes_unread_is_a_reset() {
    let w = world();
    let (_listener, a, b) = connected(&w);
    a.send(b"unread").unwrap();
    w.settle();
    drop(b);
    w.settle();
    assert_eq!(a.take_error(), ECONNRESET);
}

#[test]
fn the_urgent_byte_stands_beside_the_stream() {
    let w = world();
    let (_listener, a, b) = connected(&w);
    a.send_urgent(b"abc!").unwrap();
    a.send(b"def").unwrap();
    w.settle();
    assert!(b.readiness().urgent);
    let mut piece = [0; 20];
    assert_eq!((b.recv(&mut piece), &piece[..3]), (Ok(3), &b"abc"[..]));
    assert_eq!(b.recv_urgent(), Ok(b'!'));
    assert_eq!((b.recv(&mut piece), &piece[..3]), (Ok(3), &b"def"[..]));
    assert_eq!(b.recv_urgent(), Err(22));
}

#[test]
fn an_idle_peer_that_is_gone_is_noticed() {
    let w = world();
    let (_listener, a, _b) = connected(&w);
    a.set_keepalive(true);
    for (option, value) in [(4, 10), (5, 5), (6, 3)] {
        a.set_tcp_option(option, &i32::to_ne_bytes(value)).unwrap();
    }
    w.pass(Duration::from_secs(300));
    assert_eq!(a.state(), TcpState::Established);
    w.unplug();
    w.pass(Duration::from_secs(60));
    assert_eq!(a.take_error(), ETIMEDOUT);
}

#[test]
fn what_nobody_acknowledges_is_given_up() {
    let w = world();
    let (_listener, a, _b) = connected(&w);
    w.unplug();
    a.set_tcp_option(18, &5000i32.to_ne_bytes()).unwrap();
    a.send(b"anybody there?").unwrap();
    w.pass(Duration::from_secs(4));
    assert_eq!(a.state(), TcpState::Established);
    w.pass(Duration::from_secs(2));
    // Who looked for the neighbour has said something meanwhile, and that is told.
    assert!([ETIMEDOUT, EHOSTUNREACH].contains(&a.take_error()));
}

#[test]
fn what_was_lost_while_the_wire_was_out_arrives() {
    let w = world();
    let (_listener, a, b) = connected(&w);
    w.unplug();
    a.send(b"patience").unwrap();
    w.pass(Duration::from_secs(3));
    w.plug();
    w.pass(Duration::from_secs(5));
    assert_eq!(read_all(&b).unwrap(), b"patience");
    assert!(a.info().total_retransmitted > 0);
}

#[test]
fn a_connection_to_oneself() {
    let w = world();
    let socket = TcpSocket::new_v4(&w.stack, &w.a);
    socket.bind(addr("127.0.0.1:0"), false).unwrap();
    let me = socket.local_addr().unwrap();
    assert_eq!(socket.connect(me), Err(EINPROGRESS));
    w.settle();
    assert_eq!(socket.connect(me), Ok(()));
    assert_eq!(socket.connect(me), Err(EISCONN));
    socket.send(b"me").unwrap();
    w.settle();
    let mut piece = [0; 9];
    assert_eq!(socket.recv(&mut piece), Ok(2));
}

#[test]
fn a_port_is_free_again_a_minute_after_a_connection() {
    let w = world();
    let (listener, a, b) = connected(&w);
    // Who closes first waits.
    drop(b);
    w.settle();
    drop(a);
    w.settle();
    drop(listener);
    let bind = || {
        let socket = TcpSocket::new_v4(&w.stack, &w.b);
        socket.bind(addr("10.0.0.2:80"), true).map(|()| socket)
    };
    assert_eq!(bind().err(), Some(EADDRINUSE));
    w.pass(Duration::from_secs(61));
    assert!(bind().is_ok());
}

#[test]
fn blocking_streams_run_the_stack_themselves() {
    let w = world();
    let listener = TcpListener::bind(&w.stack, &w.b, addr("10.0.0.2:8080")).unwrap();
    let (stack, a) = (w.stack.clone(), w.a.clone());
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(&stack, &a, addr("10.0.0.2:8080")).unwrap();
        stream.write_all(&[9; 700_000]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let (mut stream, _) = listener.accept().unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    stream.write_all(format!("{} bytes", all.len()).as_bytes()).unwrap();
    drop(stream);
    assert_eq!(client.join().unwrap(), "700000 bytes");
}

#[test]
fn a_namespace_dies_although_its_connections_had_no_time_to_end() {
    let w = world();
    let (listener, a, b) = connected(&w);
    w.unplug();
    a.send(b"never heard").unwrap();
    drop((listener, a, b));
    w.pass(Duration::from_secs(200));
    let World { a, b, namespaces, .. } = w;
    let handles: Vec<_> = [a, b].iter().map(NetRef::downgrade).collect();
    while namespaces.step().more {}
    assert!(handles.iter().all(|net| !net.is_alive()));
}
