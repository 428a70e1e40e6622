//! Programs of this process that send much at once: their bytes need no segments, and nobody can tell the difference.

use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pernet_stack::{PacketSocket, TcpReadiness, TcpSocket, TcpState};

mod common;

use common::{World, world};

const EAGAIN: i32 = 11;
const ECONNRESET: i32 = 104;
/// Of a full segment with timestamps.
const FULL: usize = 1448;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Each byte tells where it stands.
fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|at| (at % 251) as u8).collect()
}

fn read(from: &TcpSocket, most: usize) -> Vec<u8> {
    let mut all = vec![0; most];
    let mut got = 0;
    while got < most {
        match from.recv(&mut all[got..]) {
            Ok(0) | Err(EAGAIN) => break,
            Ok(more) => got += more,
            Err(error) => panic!("errno {error}"),
        }
    }
    all.truncate(got);
    all
}

/// A connection from `a` to `b`, whose way is known.
fn connected(w: &World) -> (TcpSocket, TcpSocket) {
    w.pass(Duration::from_secs(10));
    let listener = TcpSocket::new_v4(&w.stack, &w.b);
    listener.bind(addr("10.0.0.2:80"), true).unwrap();
    listener.listen(5).unwrap();
    let a = TcpSocket::new_v4(&w.stack, &w.a);
    let _ = a.connect(addr("10.0.0.2:80"));
    w.settle();
    let (b, _) = listener.accept().unwrap();
    a.connect(addr("10.0.0.2:80")).unwrap();
    // The first find the neighbours, the next the way.
    for _ in 0..2 {
        assert_eq!(a.send(&[0; 50_000]), Ok(50_000));
        w.pass(Duration::from_millis(100));
        assert_eq!(read(&b, 99_999).len(), 50_000);
    }
    (a, b)
}

/// Sends so many bytes, and says whether segments bore them: of units that stand for many each is acknowledged, and of what
/// goes the short way every second segment that there would have been.
fn by_segments(a: &TcpSocket, b: &TcpSocket, len: usize) -> bool {
    let before = (a.info(), b.info());
    assert_eq!(a.send(&pattern(0, len)), Ok(len));
    let after = (a.info(), b.info());
    let sent = u64::from(after.0.data_segments_out - before.0.data_segments_out);
    let acks = u64::from(after.1.segments_out - before.1.segments_out);
    assert_eq!(read(b, len + 1), pattern(0, len));
    (sent, acks) != (len.div_ceil(FULL) as u64, len.div_ceil(FULL).div_ceil(2) as u64)
}

#[test]
fn much_at_once_needs_no_segments() {
    let w = world();
    let (a, b) = connected(&w);
    assert!(!by_segments(&a, &b, 100_000));
    assert!(by_segments(&b, &a, 10_000), "little is sent");
    // After a second the way is asked for again, by one segment.
    w.pass(Duration::from_millis(1500));
    let before = b.info().bytes_received;
    assert_eq!(a.send(&pattern(0, 100_000)), Ok(100_000));
    assert_eq!(b.info().bytes_received - before, 100_000);
    assert_eq!(read(&b, 999_999), pattern(0, 100_000));
    assert!(!by_segments(&a, &b, 100_000));
}

#[test]
fn what_was_sent_first_is_read_first() {
    let w = world();
    let (a, b) = connected(&w);
    let mut sent = 0;
    for len in [20_000, 10, 30_000, 70_000, 1, 16_384] {
        assert_eq!(a.send(&pattern(sent, len)), Ok(len));
        sent += len;
        w.settle();
        assert_eq!(b.received(), sent);
    }
    let mut peeked = vec![0; 15_000];
    assert_eq!(b.peek(&mut peeked), Ok(15_000));
    assert_eq!(peeked, pattern(0, 15_000));
    a.shutdown(Shutdown::Write).unwrap();
    w.settle();
    assert_eq!(read(&b, 999_999), pattern(0, sent));
    assert_eq!(b.recv(&mut [0; 9]), Ok(0));
}

#[test]
fn there_is_a_limit_and_who_waits_for_room_hears_of_it() {
    let w = world();
    let (a, b) = connected(&w);
    let (wrote, heard) = (pattern(0, 4 << 20), Arc::new(AtomicUsize::new(0)));
    let (mut sent, mut got) = (0, Vec::new());
    loop {
        match a.send(&wrote[sent..(sent + (64 << 10)).min(wrote.len())]) {
            Ok(more) => sent += more,
            Err(error) => break assert_eq!(error, EAGAIN),
        }
    }
    assert!(sent < 2 << 20, "{sent} bytes wait");
    assert_eq!((a.readiness().writable, b.readiness().readable), (false, true));
    let count = Arc::clone(&heard);
    a.on_ready(Some(Arc::new(move || _ = count.fetch_add(1, Ordering::Relaxed))));
    while got.len() < wrote.len() {
        got.extend(read(&b, 100_000));
        while let Ok(more @ 1..) = a.send(&wrote[sent..(sent + (64 << 10)).min(wrote.len())]) {
            sent += more;
        }
        w.pass(Duration::from_millis(50));
    }
    assert!(heard.load(Ordering::Relaxed) > 0 && got == wrote);
    // And the short way is found again; a neighbour that is looked for just then is a change.
    let short_again = (0..5).any(|_| {
        w.pass(Duration::from_secs(2));
        a.send(&[0; 20_000]).unwrap();
        w.pass(Duration::from_millis(100));
        let _ = read(&b, 99_999);
        !by_segments(&a, &b, 100_000)
    });
    assert!(short_again);
}

#[test]
fn who_waits_to_read_is_woken() {
    let w = world();
    let (a, b) = connected(&w);
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    b.on_ready(Some(Arc::new(move || _ = count.fetch_add(1, Ordering::Relaxed))));
    assert_eq!(a.send(&[7; 20_000]), Ok(20_000));
    assert_eq!(heard.load(Ordering::Relaxed), 1);
    assert!(matches!(b.readiness(), TcpReadiness { readable: true, .. }));
}

#[test]
fn who_looks_on_sees_segments() {
    let w = world();
    let (a, b) = connected(&w);
    let tap = PacketSocket::new(&w.stack, w.b.clone(), false, 3, 0);
    for _ in 0..3 {
        assert_eq!(a.send(&pattern(0, 100_000)), Ok(100_000));
        w.pass(Duration::from_millis(100));
        assert_eq!(read(&b, 999_999), pattern(0, 100_000));
        let mut seen = 0;
        while let Ok(Some(frame)) = tap.recv() {
            seen += frame.len.saturating_sub(14 + 20 + 32);
        }
        assert_eq!((seen, a.unacknowledged(), a.info().total_retransmitted), (100_000, 0, 0));
    }
}

/// Units that came by segments lie where bytes do that came without, and what comes next may be in either.
#[test]
fn large_units_stay_in_order_with_all_others() {
    let w = world();
    let (a, b) = connected(&w);
    let (there, back) = (pattern(0, 3 << 20), pattern(9, 1 << 20));
    let mut tap = None;
    let (mut sent, mut got) = ([0; 2], [Vec::new(), Vec::new()]);
    for turn in 0..400 {
        match turn % 8 {
            0 => tap = Some(PacketSocket::new(&w.stack, w.b.clone(), false, 3, 0)),
            3 => drop(tap.take()),
            6 => w.pass(Duration::from_millis(60)),
            _ => {}
        }
        let size = [64_000, 40_000, 100, 131_072, 1448, 17_000, 3000][turn % 7];
        for (n, from, bytes) in [(0, &a, &there), (1, &b, &back)] {
            if let Ok(more) = from.send(&bytes[sent[n]..(sent[n] + size).min(bytes.len())]) {
                sent[n] += more;
            }
        }
        let most = [50_000, 100_000, 7][turn % 3];
        got[0].extend(read(&b, most));
        got[1].extend(read(&a, most));
    }
    for _ in 0..100 {
        w.pass(Duration::from_millis(50));
        got[0].extend(read(&b, 1 << 20));
        got[1].extend(read(&a, 1 << 20));
    }
    assert_eq!(sent, [got[0].len(), got[1].len()]);
    assert!(got[0] == there[..sent[0]] && got[1] == back[..sent[1]]);
    assert!(sent[0] > 1 << 20, "{sent:?}");
    assert_eq!((a.unacknowledged(), a.info().total_retransmitted, b.info().total_retransmitted), (0, 0, 0));
}

#[test]
fn a_link_that_goes_down_stops_it() {
    let w = world();
    let (a, b) = connected(&w);
    w.unplug();
    assert_eq!(a.send(&pattern(0, 20_000)), Ok(20_000));
    w.pass(Duration::from_secs(2));
    assert_eq!((b.received(), a.unacknowledged()), (0, 20_000));
    w.plug();
    w.pass(Duration::from_secs(10));
    assert_eq!(read(&b, 99_999), pattern(0, 20_000));
}

#[test]
fn what_is_closed_unread_is_answered_with_a_reset() {
    let w = world();
    let (a, b) = connected(&w);
    assert_eq!(a.send(&[1; 20_000]), Ok(20_000));
    drop(b);
    w.settle();
    assert_eq!((a.take_error(), a.state()), (ECONNRESET, TcpState::Close));
}

#[test]
fn what_came_before_a_reset_can_be_read() {
    let w = world();
    let (a, b) = connected(&w);
    assert_eq!(a.send(&pattern(0, 20_000)), Ok(20_000));
    a.abort();
    w.settle();
    assert_eq!(b.state(), TcpState::Close);
    assert_eq!(read(&b, 20_000), pattern(0, 20_000));
    assert_eq!(b.recv(&mut [0; 9]), Err(ECONNRESET));
}
