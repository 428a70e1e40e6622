//! Two engines and a wire between them, whose losses the test decides.

use std::time::Duration;

use super::segment::{self, ACK, FIN, Header, SYN};
use super::smoltcp::{Begin, Congestion, Engine, Position};
use super::state::State;
use crate::l2::Frame;

const BEGIN: Begin = Begin {
    mss: 1460,
    beside: 0,
    send_buffer: 100_000,
    receive_buffer: 100_000,
    timestamps: true,
    nodelay: true,
    congestion: Congestion::Cubic,
    offload: 0,
    seed: 7,
};

struct Pair {
    a: Engine,
    b: Engine,
    now: Duration,
    /// What is on its way, to `b` or not.
    wire: Vec<(bool, Frame)>,
    /// Segments that were put on the wire.
    sent: usize,
    /// What `a` and `b` sent last, if it was an acknowledgement.
    last: [Option<Header>; 2],
}

impl Pair {
    fn new(begin: Begin) -> Self {
        let now = Duration::from_secs(100);
        let (a, b) = (Engine::connect(&begin, now).unwrap(), Engine::listen(&begin, now).unwrap());
        Self { a, b, now, wire: Vec::new(), sent: 0, last: [None; 2] }
    }

    fn put(&mut self, to_b: bool, frames: Vec<Frame>) {
        self.sent += frames.len();
        let mut headers =
            frames.iter().filter_map(|frame| Header::parse(frame.data())).filter(|header| header.has(ACK));
        let last = &mut self.last[usize::from(!to_b)];
        *last = headers.next_back().or(*last);
        self.wire.extend(frames.into_iter().map(|frame| (to_b, frame)));
    }

    /// Lets everything arrive that `passes`, and what that causes.
    fn run(&mut self, mut passes: impl FnMut(&Header) -> bool) {
        for _ in 0..10_000 {
            let mut out = Vec::new();
            self.a.poll(self.now, &mut out);
            self.put(true, out);
            let mut out = Vec::new();
            self.b.poll(self.now, &mut out);
            self.put(false, out);
            if self.wire.is_empty() {
                return;
            }
            let (to_b, frame) = self.wire.remove(0);
            if !passes(&Header::parse(frame.data()).unwrap()) {
                continue;
            }
            let mut out = Vec::new();
            if to_b { &mut self.b } else { &mut self.a }.input(frame, self.now, &mut out);
            self.put(!to_b, out);
        }
        panic!("they talk without end");
    }

    /// One of them rests, if it is quiet.
    fn rest(&mut self, b: bool) -> bool {
        let (now, last) = (self.now, self.last[usize::from(b)].unwrap());
        let engine = if b { &mut self.b } else { &mut self.a };
        if engine.poll_at(now).is_some() || engine.quiet_since().is_none_or(|at| at + Duration::from_secs(1) > now) {
            return false;
        }
        engine.rest(Position { snd_nxt: last.end(), rcv_nxt: last.ack, timestamp: Some(5) });
        true
    }

    /// Time passes to whatever comes next.
    fn sleep(&mut self) {
        let next = [self.a.poll_at(self.now), self.b.poll_at(self.now)].into_iter().flatten().min().unwrap();
        self.now = next.max(self.now);
    }

    fn states(&self) -> (State, State) {
        (self.a.state(), self.b.state())
    }
}

fn take(engine: &mut Engine) -> Vec<u8> {
    let mut all = Vec::new();
    while engine.received() > 0 {
        all.extend(engine.receive(|piece| (piece.len(), piece.to_vec())).unwrap());
    }
    all
}

#[test]
fn a_connection_lives_and_ends() {
    let mut pair = Pair::new(BEGIN);
    pair.run(|_| true);
    assert_eq!(pair.states(), (State::Established, State::Established));
    assert_eq!(pair.a.send(&[7; 60_000]), 60_000);
    pair.run(|_| true);
    assert_eq!(take(&mut pair.b), [7; 60_000]);
    assert_eq!(pair.a.unacknowledged(), 0);
    pair.a.close();
    pair.run(|_| true);
    assert_eq!(pair.states(), (State::FinWait2, State::CloseWait));
    pair.b.send(b"late");
    pair.b.close();
    pair.run(|_| true);
    assert_eq!(take(&mut pair.a), b"late");
    assert_eq!(pair.states(), (State::TimeWait, State::Close));
}

#[test]
fn who_has_rested_goes_on_where_it_was() {
    for timestamps in [true, false] {
        let mut pair = Pair::new(Begin { timestamps, ..BEGIN });
        pair.run(|_| true);
        assert!(!pair.rest(false), "it was just used");
        for round in 0..20_usize {
            let len = 1 + round * 4000;
            // What was held back is acknowledged, and is the last that happens.
            for _ in 0..2 {
                pair.now += Duration::from_secs(2);
                pair.run(|_| true);
            }
            // Both, one, the other, none.
            for b in [false, true].into_iter().filter(|&b| round & (1 << usize::from(b)) == 0) {
                assert!(pair.rest(b), "round {round}");
                let engine = if b { &pair.b } else { &pair.a };
                assert_eq!((engine.state(), engine.timestamps()), (State::Established, timestamps));
                assert_eq!((engine.received(), engine.unacknowledged()), (0, 0));
                assert_eq!((engine.mss(), engine.send_room()), (1460, 100_000));
            }
            let sent = pair.sent;
            pair.run(|_| true);
            assert_eq!(pair.sent, sent, "who rests is silent");
            let bytes = vec![round as u8; len];
            if round % 3 == 0 {
                assert_eq!(pair.b.send(&bytes), len);
                pair.run(|_| true);
                assert_eq!(take(&mut pair.a), bytes);
            } else {
                assert_eq!(pair.a.send(&bytes), len);
                pair.run(|_| true);
                assert_eq!(take(&mut pair.b), bytes);
            }
        }
        for _ in 0..2 {
            pair.now += Duration::from_secs(2);
            pair.run(|_| true);
        }
        assert!(pair.rest(false) && pair.rest(true));
        pair.a.close();
        pair.run(|_| true);
        assert_eq!(pair.states(), (State::FinWait2, State::CloseWait));
        assert!(!pair.rest(false) && !pair.rest(true), "it is no more what it was");
        pair.b.close();
        pair.run(|_| true);
        assert_eq!(pair.states(), (State::TimeWait, State::Close));
    }
}

#[test]
fn who_waits_for_a_window_does_not_rest() {
    let mut pair = Pair::new(BEGIN);
    pair.run(|_| true);
    // As much as there is room for, all of it acknowledged.
    assert_eq!(pair.a.send(&[7; 100_000]), 100_000);
    for _ in 0..100 {
        pair.run(|_| true);
        if pair.a.unacknowledged() == 0 {
            break;
        }
        pair.sleep();
    }
    assert_eq!((pair.a.unacknowledged(), pair.b.received(), pair.a.window_heard()), (0, 100_000, Some(0)));
    pair.now += Duration::from_secs(100);
    assert!(!pair.rest(false) && !pair.rest(true));
    assert_eq!(take(&mut pair.b), [7; 100_000]);
    pair.run(|_| true);
    pair.now += Duration::from_secs(100);
    pair.run(|_| true);
    assert!(pair.rest(false) && pair.rest(true), "it has heard of room");
    assert_eq!(pair.a.send(&[8; 50_000]), 50_000);
    pair.run(|_| true);
    assert_eq!(take(&mut pair.b), [8; 50_000]);
}

#[test]
fn who_has_rested_hears_a_probe_and_a_reset() {
    let mut pair = Pair::new(BEGIN);
    pair.run(|_| true);
    pair.a.send(b"both have spoken");
    pair.run(|_| true);
    assert_eq!(take(&mut pair.b), b"both have spoken");
    pair.now += Duration::from_secs(2);
    pair.run(|_| true);
    assert!(pair.rest(false) && pair.rest(true));
    let sent = pair.sent;
    pair.a.probe();
    pair.run(|_| true);
    assert_eq!(pair.sent, sent + 2, "it is asked, and answers");
    assert_eq!(pair.states(), (State::Established, State::Established));
    pair.now += Duration::from_secs(2);
    pair.run(|_| true);
    assert!(pair.rest(true));
    pair.a.abort();
    pair.run(|_| true);
    assert_eq!(pair.states(), (State::Close, State::Close));
}

#[test]
fn what_is_lost_comes_again_after_a_fifth_of_a_second() {
    let mut pair = Pair::new(BEGIN);
    pair.run(|_| true);
    pair.a.send(b"once more");
    let begin = pair.now;
    pair.run(|header| header.payload == 0);
    assert_eq!(pair.b.received(), 0);
    pair.sleep();
    pair.run(|_| true);
    assert_eq!(take(&mut pair.b), b"once more");
    assert_eq!(pair.now - begin, Duration::from_millis(200));
}

/// A window that closed while segments were under way, and opened again: they were lost, and nobody else says so.
#[test]
fn what_a_closed_window_made_forget_comes_again() {
    let mut pair = Pair::new(Begin { timestamps: false, ..BEGIN });
    let mut last = None;
    pair.run(|header| {
        last = Some(*header);
        true
    });
    let mut out = Vec::new();
    for piece in [b"one", b"two", b"six"] {
        pair.a.send(piece);
        pair.a.poll(pair.now, &mut out);
    }
    let sent: Vec<Header> = out.iter().map(|frame| Header::parse(frame.data()).unwrap()).collect();
    assert_eq!(sent.iter().map(|header| header.payload).collect::<Vec<_>>(), [3, 3, 3]);
    // Only the first arrives, and is acknowledged with a closed window, which opens later.
    pair.b.input(out.remove(0), pair.now, &mut Vec::new());
    for window in [0, last.unwrap().window] {
        let answer = Header {
            ack: sent[0].end(),
            seq: sent[0].ack,
            flags: segment::ACK,
            window,
            payload: 0,
            len: 20,
            ..sent[0]
        };
        pair.a.input(segment::bare(&answer, None), pair.now, &mut Vec::new());
    }
    let begin = pair.now;
    while pair.a.unacknowledged() > 0 && pair.now - begin < Duration::from_secs(5) {
        pair.sleep();
        pair.run(|_| true);
    }
    assert_eq!(take(&mut pair.b), b"onetwosix");
    assert_eq!(pair.a.unacknowledged(), 0);
}

#[test]
fn a_handshake_is_repeated_after_a_second_and_two_more() {
    let mut pair = Pair::new(BEGIN);
    let begin = pair.now;
    let mut times = Vec::new();
    for _ in 0..3 {
        pair.run(|header| {
            assert!(header.has(SYN));
            false
        });
        pair.sleep();
        times.push((pair.now - begin).as_secs());
    }
    assert_eq!(times, [1, 3, 7]);
}

#[test]
fn a_probe_is_answered_and_not_repeated() {
    let mut pair = Pair::new(BEGIN);
    pair.run(|_| true);
    pair.now += Duration::from_secs(1000);
    let sent = pair.sent;
    pair.a.probe();
    pair.run(|_| true);
    assert_eq!(pair.sent - sent, 2);
    assert_eq!(pair.a.poll_at(pair.now), None);
}

#[test]
fn segments_have_the_announced_size_unless_somebody_else_cuts_them() {
    for (offload, most) in [(0, 1448), (65_000, 64_500)] {
        let mut pair = Pair::new(Begin { offload, congestion: Congestion::None, ..BEGIN });
        pair.run(|_| true);
        pair.a.send(&[1; 50_000]);
        let mut largest = 0;
        pair.run(|header| {
            largest = largest.max(header.payload);
            true
        });
        assert!(largest <= most && largest * 2 > most, "{largest}");
        assert_eq!(pair.b.received(), 50_000);
    }
}

#[test]
fn a_smaller_path_makes_smaller_segments() {
    let mut pair = Pair::new(BEGIN);
    pair.run(|_| true);
    pair.a.set_mss(1000, 0);
    pair.a.send(&[1; 20_000]);
    pair.run(|header| {
        assert!(header.payload <= 988 || header.has(FIN));
        true
    });
    assert_eq!(pair.b.received(), 20_000);
}

#[test]
fn a_reset_ends_it() {
    let mut pair = Pair::new(BEGIN);
    pair.run(|_| true);
    pair.a.abort();
    pair.run(|header| {
        assert!(header.has(segment::RST));
        true
    });
    assert_eq!(pair.states(), (State::Close, State::Close));
}
