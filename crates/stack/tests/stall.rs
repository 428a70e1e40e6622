//! No connection stands still for good, whatever is lost and however slowly it is read.

use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use pernet_stack::{TcpSocket, TcpState, TcpWay};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

mod common;

use common::{World, world};

const EAGAIN: i32 = 11;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What a program at one end wrote, and what it read.
struct End {
    socket: TcpSocket,
    wrote: Vec<u8>,
    read: Vec<u8>,
    /// It reads nothing as long as it has something to write, as whoever writes without asking whether he can.
    stubborn: bool,
    /// Both ends are of this process: where bytes go the stack decides alone.
    own: bool,
    backlog: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Step {
    /// One end (`true`: the first) has so many bytes more to write.
    Write(bool, usize),
    Urgent(bool),
    /// Reads at most so many.
    Read(bool, usize),
    Pass(u64),
    Unplug,
    Plug,
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![3 => 1..20_usize, 3 => 1..5000_usize, 1 => 20_000..400_000_usize];
    let taken = prop_oneof![4 => 1..20_usize, 2 => 1..5000_usize, 2 => Just(400_000_usize)];
    let time = prop_oneof![4 => 0..60_u64, 1 => 100..3000_u64, 1 => 10_000..600_000_u64];
    prop_oneof![
        8 => (any::<bool>(), size).prop_map(|(first, n)| Step::Write(first, n)),
        1 => any::<bool>().prop_map(Step::Urgent),
        8 => (any::<bool>(), taken).prop_map(|(first, n)| Step::Read(first, n)),
        4 => time.prop_map(Step::Pass),
        1 => Just(Step::Unplug),
        2 => Just(Step::Plug),
    ]
}

/// As it is asked for: with windows that need no scale, and with such as do.
fn buffer() -> impl Strategy<Value = i32> {
    prop_oneof![Just(1000), 20_000..60_000, 100_000..200_000]
}

impl End {
    fn new(socket: TcpSocket, stubborn: bool, own: bool) -> Self {
        Self { socket, wrote: Vec::new(), read: Vec::new(), stubborn, own, backlog: Vec::new() }
    }

    /// Another stretch of bytes, each of which tells where it stands.
    fn write(&mut self, count: usize) {
        let from = self.wrote.len() + self.backlog.len();
        self.backlog.extend((from..from + count).map(|at| (at % 251) as u8));
    }

    /// Writes what goes, the short way if that is the way.
    fn flush(&mut self, other: &mut Self) {
        while !self.backlog.is_empty() {
            let took = match self.socket.way() {
                _ if self.own => self.send(usize::MAX),
                TcpWay::Wait => return,
                TcpWay::Short(way) if way.advance(self.backlog.len()) => {
                    other.read.extend_from_slice(&self.backlog);
                    self.backlog.len()
                }
                TcpWay::Ask(most) => self.send(most),
                _ => self.send(usize::MAX),
            };
            if took == 0 {
                return;
            }
            self.wrote.extend(self.backlog.drain(..took));
        }
    }

    fn send(&self, most: usize) -> usize {
        match self.socket.send(&self.backlog[..self.backlog.len().min(most)]) {
            Ok(took) => took,
            Err(error) => {
                assert_eq!(error, EAGAIN);
                0
            }
        }
    }

    fn read(&mut self, most: usize) {
        if self.stubborn && !self.backlog.is_empty() {
            return;
        }
        let mut piece = vec![0; most];
        match self.socket.recv(&mut piece) {
            Ok(got) => self.read.extend_from_slice(&piece[..got]),
            Err(error) => assert_eq!(error, EAGAIN),
        }
    }
}

fn connect(w: &World, buffers: [i32; 2], stubborn: bool, own: bool) -> [End; 2] {
    let [ours, theirs] = buffers;
    let listener = TcpSocket::new_v4(&w.stack, &w.b);
    listener.set_receive_buffer(theirs, true);
    listener.bind(addr("10.0.0.2:80"), true).unwrap();
    listener.listen(5).unwrap();
    let a = TcpSocket::new_v4(&w.stack, &w.a);
    a.set_receive_buffer(ours, true);
    if !own {
        a.set_inode(11);
    }
    let _ = a.connect(addr("10.0.0.2:80"));
    w.settle();
    let (b, _) = listener.accept().unwrap();
    if !own {
        b.set_inode(22);
    }
    for socket in [&a, &b] {
        socket.set_urgent_inline(true);
    }
    [End::new(a, false, own), End::new(b, stubborn, own)]
}

fn run(w: &World, ends: &mut [End; 2], steps: Vec<Step>) {
    let mut plugged = true;
    for step in steps {
        match step {
            Step::Write(first, count) => ends[usize::from(!first)].write(count),
            Step::Urgent(first) => {
                let end = &mut ends[usize::from(!first)];
                let byte = (end.wrote.len() % 251) as u8;
                if end.backlog.is_empty() && end.socket.send_urgent(&[byte]).is_ok() {
                    end.wrote.push(byte);
                }
            }
            Step::Read(first, most) => ends[usize::from(!first)].read(most),
            Step::Pass(millis) => w.pass(Duration::from_millis(millis)),
            Step::Unplug if plugged => {
                w.unplug();
                plugged = false;
            }
            Step::Plug if !plugged => {
                w.plug();
                plugged = true;
            }
            Step::Unplug | Step::Plug => {}
        }
        w.settle();
        let [a, b] = &mut *ends;
        a.flush(b);
        b.flush(a);
    }
    if !plugged {
        w.plug();
    }
}

/// Time passes until everything has arrived, five minutes at most.
fn finish(w: &World, ends: &mut [End; 2]) {
    let [a, b] = ends;
    for _ in 0..3000 {
        let written = a.backlog.is_empty() && b.backlog.is_empty();
        if written && a.read.len() == b.wrote.len() && b.read.len() == a.wrote.len() {
            break;
        }
        for _ in 0..4 {
            a.read(400_000);
            b.read(400_000);
        }
        a.flush(b);
        b.flush(a);
        w.pass(Duration::from_millis(100));
    }
}

/// Both windows closed over bytes that were lost. Who lets his be open again stands beyond the other's closed one, and what
/// he announces there was refused with all the rest.
#[test]
fn a_window_that_opens_is_seen_by_who_has_closed_his_own() {
    let steps = vec![
        Step::Unplug,
        Step::Write(true, 4906),
        Step::Write(false, 2880),
        Step::Write(false, 3335),
        Step::Urgent(true),
        Step::Plug,
        Step::Write(false, 3665),
        Step::Write(true, 14),
        Step::Write(false, 4034),
        Step::Write(true, 297391),
        Step::Pass(518389),
        Step::Read(true, 400000),
        Step::Write(false, 11),
        Step::Write(true, 3454),
        Step::Write(true, 16),
        Step::Read(true, 15),
        Step::Write(true, 7),
        Step::Pass(5),
        Step::Pass(16),
        Step::Pass(15),
        Step::Write(false, 11),
        Step::Plug,
        Step::Write(false, 2921),
        Step::Read(true, 14),
        Step::Write(false, 349502),
        Step::Plug,
        Step::Write(true, 6),
        Step::Read(false, 18),
        Step::Unplug,
        Step::Write(false, 1030),
        Step::Write(true, 78375),
        Step::Read(false, 16),
        Step::Read(false, 7),
        Step::Write(false, 249548),
        Step::Read(true, 2985),
        Step::Read(true, 11),
        Step::Read(false, 14),
        Step::Read(false, 400000),
        Step::Urgent(false),
        Step::Read(true, 400000),
        Step::Read(true, 400000),
        Step::Read(false, 5),
        Step::Write(false, 3528),
        Step::Read(false, 7),
        Step::Write(false, 12),
        Step::Read(true, 3),
        Step::Write(false, 460),
        Step::Pass(53),
        Step::Read(false, 400000),
        Step::Write(false, 3515),
        Step::Read(false, 1908),
        Step::Write(false, 2),
        Step::Read(true, 4467),
        Step::Write(true, 210),
        Step::Read(false, 19),
        Step::Read(false, 10),
        Step::Pass(12),
        Step::Write(false, 2896),
        Step::Write(true, 2),
        Step::Plug,
        Step::Read(false, 400000),
        Step::Read(true, 3),
        Step::Unplug,
    ];
    let w = world();
    let mut ends = connect(&w, [53_204, 110_058], true, false);
    run(&w, &mut ends, steps);
    finish(&w, &mut ends);
    let [a, b] = &ends;
    assert_eq!((a.backlog.len(), b.backlog.len()), (0, 0), "{:?}", (a.socket.info(), b.socket.info()));
    assert!(a.read == b.wrote && b.read == a.wrote);
}

/// Does what `steps` say, at both ends of a connection; in the end everything has arrived, and both are closed.
fn goes_on(mut ends: [End; 2], w: &World, steps: Vec<Step>) -> Result<(), TestCaseError> {
    // A link that is down for longer than segments are repeated is another story. One that is up for a moment only may
    // carry nothing, so it does not count.
    let (mut down, mut is_down) = (0, false);
    for step in &steps {
        match step {
            Step::Unplug => is_down = true,
            Step::Plug => is_down = false,
            Step::Pass(millis) if is_down => down += millis,
            _ => {}
        }
        prop_assume!(down < 600_000);
    }
    run(w, &mut ends, steps);
    finish(w, &mut ends);
    let [a, b] = &mut ends;
    let infos = (a.socket.info(), b.socket.info());
    prop_assert_eq!((a.backlog.len(), b.backlog.len()), (0, 0), "{:?}", infos);
    prop_assert_eq!((a.read.len(), b.read.len()), (b.wrote.len(), a.wrote.len()), "{:?}", infos);
    prop_assert!(a.read == b.wrote && b.read == a.wrote, "in another order");
    a.socket.shutdown(Shutdown::Write).unwrap();
    w.pass(Duration::from_secs(1));
    b.socket.shutdown(Shutdown::Write).unwrap();
    w.pass(Duration::from_secs(1));
    prop_assert_eq!((a.socket.state(), b.socket.state()), (TcpState::Close, TcpState::Close));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        // The same each time: what it finds is to be looked into, not to be met by chance.
        rng_seed: RngSeed::Fixed(1),
        max_global_rejects: 100_000,
        max_shrink_iters: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_byte_arrives_and_the_end_does(
        ours in buffer(),
        theirs in buffer(),
        stubborn in any::<bool>(),
        steps in prop::collection::vec(step(), 1..250),
    ) {
        let w = world();
        goes_on(connect(&w, [ours, theirs], stubborn, false), &w, steps)?;
    }

    #[test]
    fn and_so_between_programs_of_this_process(
        ours in buffer(),
        theirs in buffer(),
        stubborn in any::<bool>(),
        steps in prop::collection::vec(step(), 1..250),
    ) {
        let w = world();
        goes_on(connect(&w, [ours, theirs], stubborn, true), &w, steps)?;
    }
}
