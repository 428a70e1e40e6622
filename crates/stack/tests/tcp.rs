//! TCP in two namespaces with a wire between them, on a clock that the test moves.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pernet::NetRef;
use pernet_stack::{TcpListener, TcpSocket, TcpState, TcpStream, TcpUser};

mod common;

const EAGAIN: i32 = 11;
const EPIPE: i32 = 32;
const ENETUNREACH: i32 = 101;
const EADDRINUSE: i32 = 98;
const ECONNABORTED: i32 = 103;
const ECONNRESET: i32 = 104;
const EISCONN: i32 = 106;
const ENOTCONN: i32 = 107;
const ETIMEDOUT: i32 = 110;
const ECONNREFUSED: i32 = 111;
const EHOSTUNREACH: i32 = 113;
const EALREADY: i32 = 114;
const EINPROGRESS: i32 = 115;

use common::{World, world};

/// A program that was not given three bytes, and has two that the stack was not.
struct Outside;

impl TcpUser for Outside {
    fn ready(&self, _: u64) {}

    fn outside(&self, inode: u64) -> (usize, usize) {
        assert_eq!(inode, 77);
        (3, 2)
    }
}

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
    let askers: Vec<_> = (0..4)
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
    // Both who ask again are answered, and for one there is no place when it completes its handshake: it does not know.
    assert_eq!(states(&askers), 4);
    drop(listener);
    w.settle();
    let reset = askers.iter().filter(|asker| asker.take_error() == ECONNRESET).count();
    // The one that was accepted ended well, and the one without a place is told when it speaks.
    assert_eq!(reset, 2);
}

#[test]
fn what_was_handed_out_before_the_program_asked_counts_as_waiting() {
    let w = world();
    let listener = listening(&w, "10.0.0.2:80", 0);
    listener.set_taken(1);
    let asker = TcpSocket::new_v4(&w.stack, &w.a);
    assert_eq!(asker.connect(addr("10.0.0.2:80")), Err(EINPROGRESS));
    w.pass(Duration::from_millis(500));
    assert_eq!(asker.state(), TcpState::SynSent);
    listener.set_taken(0);
    w.pass(Duration::from_secs(1));
    assert_eq!(asker.state(), TcpState::Established);
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
    assert_eq!(a.take_error(), EHOSTUNREACH);
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

#[test]
fn sockets_are_listed_with_what_waits_in_them() {
    let w = world();
    let (listener, a, b) = connected(&w);
    b.set_inode(77);
    a.send(b"seven b").unwrap();
    w.settle();
    let list = |net: &NetRef| w.stack.tcp_sockets(net, false);
    let there = list(&w.b);
    assert_eq!(there.iter().map(|entry| entry.state).collect::<Vec<_>>(), [TcpState::Listen, TcpState::Established]);
    assert_eq!((there[0].receive_queue, there[0].send_queue), (0, 5));
    assert_eq!((there[1].receive_queue, there[1].send_queue, there[1].inode), (7, 0, 77));
    assert_eq!((Some(there[1].peer), there[1].local), (a.local_addr(), addr("10.0.0.2:80")));
    assert!(w.stack.tcp_sockets(&w.b, true).is_empty());
    // What the program was not given yet counts, and what it has not been rid of.
    let user: Arc<dyn TcpUser> = Arc::new(Outside);
    b.set_user(Some(Arc::downgrade(&user)));
    assert_eq!((list(&w.b)[1].receive_queue, list(&w.b)[1].send_queue), (10, 2));
    drop(user);
    assert_eq!((list(&w.b)[1].receive_queue, list(&w.b)[1].send_queue), (7, 0));
    assert_eq!(read_all(&b).unwrap(), b"seven b");
    drop(b);
    w.settle();
    let there = list(&w.b);
    assert_eq!((there[1].state, there[1].timer as u8, there[1].inode), (TcpState::FinWait2, 3, 0));
    assert_eq!((there[1].send_queue, there[1].info.is_none()), (0, true));
    let here = list(&w.a);
    assert_eq!((here[0].state, here[0].receive_queue, here[0].shutdown), (TcpState::CloseWait, 1, 1));
    drop(a);
    w.settle();
    assert_eq!(list(&w.b)[1].state, TcpState::TimeWait);
    assert!(list(&w.a).is_empty());
    w.pass(Duration::from_secs(61));
    assert_eq!(list(&w.b).len(), 1);
    drop(listener);
    assert!(list(&w.b).is_empty());
}

#[test]
fn what_is_left_of_a_connection_gives_way_to_who_is_bound_to_its_port() {
    let w = world();
    let listener = listening(&w, "10.0.0.2:80", 5);
    let ask = |bound: bool| {
        let a = TcpSocket::new_v4(&w.stack, &w.a);
        if bound {
            a.set_reuse_address(true);
            a.bind(addr("10.0.0.1:5000"), true).unwrap();
        }
        let asked = a.connect(addr("10.0.0.2:80"));
        w.settle();
        (a, asked)
    };
    for _ in 0..5 {
        let (a, asked) = ask(true);
        assert_eq!(asked, Err(EINPROGRESS));
        let b = listener.accept().unwrap();
        // Who closes first waits.
        drop(a);
        w.settle();
        drop(b);
        w.settle();
        let left = w.stack.tcp_sockets(&w.a, false);
        assert_eq!(left.iter().map(|entry| entry.state).collect::<Vec<_>>(), [TcpState::TimeWait]);
    }
}

#[test]
fn the_same_ends_meet_again_at_once() {
    let w = world();
    let listener = listening(&w, "10.0.0.2:80", 5);
    // Where sequence numbers begin is random: by them alone every second would be taken for one of the old connection's.
    for _ in 0..20 {
        let a = TcpSocket::new_v4(&w.stack, &w.a);
        a.bind(addr("10.0.0.1:5000"), true).unwrap();
        assert_eq!(a.connect(addr("10.0.0.2:80")), Err(EINPROGRESS));
        w.settle();
        assert_eq!(a.connect(addr("10.0.0.2:80")), Ok(()));
        // Who closes first waits.
        drop(listener.accept().unwrap());
        w.settle();
        drop(a);
        w.settle();
        assert_eq!(w.stack.tcp_sockets(&w.b, false)[1].state, TcpState::TimeWait);
        w.pass(Duration::from_millis(1));
    }
}

#[test]
fn a_connection_can_be_ended_from_outside() {
    let w = world();
    let (_listener, a, b) = connected(&w);
    let cookie = w.stack.tcp_sockets(&w.a, false)[0].cookie;
    assert!(w.stack.tcp_destroy(&w.a, cookie));
    w.settle();
    assert_eq!((a.take_error(), b.take_error()), (ECONNABORTED, ECONNRESET));
    assert!(!w.stack.tcp_destroy(&w.a, cookie));
}

#[test]
fn who_asked_is_told_once_and_can_ask_again() {
    let w = world();
    let a = TcpSocket::new_v4(&w.stack, &w.a);
    assert_eq!(a.connect(addr("10.0.0.2:80")), Err(EINPROGRESS));
    w.settle();
    assert_eq!(a.outcome(), Some(Err(ECONNREFUSED)));
    let _listener = listening(&w, "10.0.0.2:80", 5);
    assert_eq!(a.connect(addr("10.0.0.2:80")), Err(EINPROGRESS));
    w.settle();
    assert_eq!(a.outcome(), Some(Ok(())));
    let b = TcpSocket::new_v4(&w.stack, &w.a);
    w.unplug();
    assert_eq!(b.connect(addr("10.0.0.2:80")), Err(EINPROGRESS));
    assert_eq!(b.outcome(), None);
}

/// What `a` can send until there is no more room anywhere, `b` reading nothing.
fn fill(w: &World, a: &TcpSocket) -> usize {
    let mut sent = 0;
    loop {
        match a.send(&[7; 10_000]) {
            Ok(n) => sent += n,
            Err(e) => {
                assert_eq!(e, EAGAIN);
                let before = a.send_room();
                w.settle();
                w.pass(Duration::from_millis(50));
                if a.send_room() == before {
                    return sent;
                }
            }
        }
    }
}

#[test]
fn what_is_under_way_is_bounded_by_what_both_ends_say() {
    let w = world();
    let (_listener, a, b) = connected(&w);
    assert_eq!((a.buffers(), b.buffers()), ((None, None), (None, None)));
    assert_eq!(fill(&w, &a), 512 << 10);
    // The least, and what a listener says its connections have from birth.
    let listener = listening(&w, "10.0.0.2:81", 5);
    listener.set_receive_buffer(4096, false);
    listener.set_send_buffer(0, false);
    let (a, b) = another(&w, &listener, "10.0.0.2:81");
    a.set_send_buffer(4096, false);
    assert_eq!((a.buffers(), b.buffers()), ((Some(8192), None), (Some(4608), Some(8192))));
    assert_eq!(fill(&w, &a), 2 * 8192);
    let got = read_all(&b).unwrap().len();
    assert_eq!(fill(&w, &a), got);
    assert_eq!(fill(&w, &b), 4608 + (256 << 10));
}
