//! What connections cost in memory, and that they leave nothing.
//!
//! The counting allocator counts for each thread, and everything here runs on the test's. Only engines of connections that are
//! over wait for those of all threads, so the tests take turns.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use allocation_counter::measure;
use pernet_stack::{TcpSocket, TcpState};

mod common;

use common::{World, world};

const EINPROGRESS: i32 = 115;
/// What an end may have under way each way; see `SO_SNDBUF`. Where the allocator takes its zeros from the machine, only the
/// pages that were written cost something.
const BUFFERS: i64 = 2 * (256 << 10);

static TURN: Mutex<()> = Mutex::new(());

fn listener(w: &World) -> TcpSocket {
    let listener = TcpSocket::new_v4(&w.stack, &w.b);
    listener.bind("10.0.0.2:80".parse().unwrap(), true).unwrap();
    listener.listen(128).unwrap();
    listener
}

/// A connection on which a thousand bytes went there and back.
fn echoed(w: &World, listener: &TcpSocket) -> (TcpSocket, TcpSocket) {
    let a = TcpSocket::new_v4(&w.stack, &w.a);
    assert_eq!(a.connect("10.0.0.2:80".parse().unwrap()), Err(EINPROGRESS));
    w.settle();
    let (b, _) = listener.accept().unwrap();
    let mut piece = [0; 2000];
    for (from, to) in [(&a, &b), (&b, &a)] {
        assert_eq!(from.send(&[7; 1000]), Ok(1000));
        w.settle();
        assert_eq!(to.recv(&mut piece), Ok(1000));
    }
    (a, b)
}

/// `rounds` times a hundred at once, echoed and closed.
fn crowds(w: &World, listener: &TcpSocket, rounds: usize) {
    for _ in 0..rounds {
        let all: Vec<_> = (0..100).map(|_| echoed(w, listener)).collect();
        for (a, b) in all {
            drop(a);
            w.settle();
            assert_eq!(b.state(), TcpState::CloseWait);
            drop(b);
            w.settle();
        }
    }
}

#[test]
fn an_idle_connection_costs_its_buffers_and_little_else() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let w = world();
    let listener = listener(&w);
    // They have what was left over.
    let _before: Vec<_> = (0..20).map(|_| echoed(&w, &listener)).collect();
    let mut held = Vec::with_capacity(10);
    let cost = measure(|| held.extend((0..10).map(|_| echoed(&w, &listener))));
    let each = cost.bytes_current / 20 - BUFFERS;
    println!("each end, beside its buffers: {each} bytes");
    assert!((0..=4096).contains(&each), "{each} bytes beside the buffers");
}

#[test]
fn an_idle_connection_costs_its_buffers_for_a_second_and_goes_on_when_it_is_used() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let w = world();
    w.stack.keep_buffers(Duration::from_secs(1));
    let listener = listener(&w);
    // Those that wait for the next connection are there.
    let _before: Vec<_> = (0..20).map(|_| echoed(&w, &listener)).collect();
    w.pass(Duration::from_secs(5));
    let mut held = Vec::with_capacity(100);
    let cost = measure(|| {
        held.extend((0..100).map(|_| echoed(&w, &listener)));
        w.pass(Duration::from_secs(5));
    });
    let each = cost.bytes_current / 200;
    println!("each end that rests: {each} bytes");
    assert!((0..=1400).contains(&each), "{each} bytes of each end");
    let mut piece = vec![0; 100_000];
    for (n, (a, b)) in held.iter().enumerate() {
        for (from, to) in [(a, b), (b, a)] {
            let bytes = vec![n as u8; 1 + n * 300];
            assert_eq!(from.send(&bytes), Ok(bytes.len()));
            let mut got = 0;
            while got < bytes.len() {
                w.settle();
                got += to.recv(&mut piece[got..]).unwrap();
            }
            assert_eq!(piece[..got], bytes);
        }
        // One rests, and the other does not hear of it.
        w.pass(Duration::from_secs(n as u64 % 3));
    }
    w.pass(Duration::from_secs(5));
    for (a, b) in held {
        drop(a);
        w.settle();
        assert_eq!((b.state(), b.recv(&mut piece)), (TcpState::CloseWait, Ok(0)));
    }
}

#[test]
fn of_a_crowd_each_keeps_its_buffers_for_less_long() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let w = world();
    let listener = listener(&w);
    // They have what was left over.
    let _before: Vec<_> = (0..16).map(|_| echoed(&w, &listener)).collect();
    let mut held = Vec::with_capacity(101);
    let mut kept = |connections: usize, time: Duration| {
        let cost = measure(|| {
            held.extend((0..connections).map(|_| echoed(&w, &listener)));
            w.pass(time);
        });
        cost.bytes_current / BUFFERS
    };
    // Ten seconds for up to 32 ends, and a part of that for more: nine for these two.
    assert_eq!(kept(1, Duration::from_secs(8)), 2);
    // And for the last of these less than two. The first knew of few.
    let kept = kept(100, Duration::from_secs(5));
    assert!((2..100).contains(&kept), "{kept} of 200 have buffers");
}

#[test]
fn a_thousand_connections_leave_nothing() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let w = world();
    let listener = listener(&w);
    crowds(&w, &listener, 1);
    w.pass(Duration::from_secs(61));
    let cost = measure(|| crowds(&w, &listener, 10));
    let each = cost.bytes_current / 1000;
    println!("each, in TIME-WAIT: {each} bytes");
    // What TIME-WAIT remembers and the place in the table of ports: of neither end a socket, and nothing of an engine.
    assert!(each <= 1280, "{each} bytes of each in TIME-WAIT");
    let rest = measure(|| {
        w.pass(Duration::from_secs(61));
        // Those whose time is over are forgotten when another comes.
        crowds(&w, &listener, 1);
    });
    let left = cost.bytes_current + rest.bytes_current;
    println!("left of a thousand: {left} bytes");
    assert!(left <= 16 << 10, "{left} bytes are left");
}
