//! Every interleaving of a round's runner with those who rob it, by loom: no callback twice, none lost, and
//! what is queued for a namespace stays with it.
#![allow(dead_code, unreachable_pub, reason = "the test needs a part of the file")]

extern crate alloc;

#[path = "../src/round/share.rs"]
mod share;
#[path = "loom/sync.rs"]
mod sync;

use alloc::collections::VecDeque;
use loom::sync::Arc;
use loom::thread;
use share::{Note, Phase, Robbed, Share};
use sync::{AtomicU32, Ordering, model};

const NETS: usize = 3;

/// What has been done to one namespace. Written as the states' stages are: relaxed, and by an exchange
/// only to catch two at once.
#[derive(Default)]
struct Net {
    rtnl: AtomicU32,
    killed: AtomicU32,
    exit: AtomicU32,
}

/// Once for each namespace, whoever comes; so a stage that is not seen by its successor shows as a second.
fn reach(stage: &AtomicU32) -> bool {
    let reached = stage.load(Ordering::Relaxed);
    if reached == 0 {
        assert_eq!(stage.swap(1, Ordering::Relaxed), 0, "twice");
    }
    reached == 0
}

type Round = Share<usize, usize>;

/// The order of `Runner::run` in round.rs.
fn run(nets: &[Net; NETS], round: &Round) {
    loop {
        let members = round.nets.lock().clone();
        match phases(nets, round, &members) {
            Ok(()) => return,
            Err(Robbed) => round.go_on(),
        }
    }
}

fn phases(nets: &[Net; NETS], round: &Round, members: &[usize]) -> Result<(), Robbed> {
    let mut last = Note::START;
    let mut note = |next| {
        let noted = round.exchange(last, next);
        last = next;
        noted
    };
    for (at, net) in members.iter().enumerate() {
        note(Note::new(Phase::ExitRtnl, 0, at))?;
        if reach(&nets[*net].rtnl) {
            round.queue(at, [*net]);
        }
    }
    while let Some(at) = round.next_kill() {
        note(Note::new(Phase::Kill, 0, at))?;
        if let Some(net) = round.pop_kill() {
            assert!(reach(&nets[net].killed), "killed twice");
        }
    }
    for (at, net) in members.iter().enumerate() {
        note(Note::new(Phase::Exit, 0, at))?;
        assert_eq!(nets[*net].killed.load(Ordering::Relaxed), 1, "what was queued is done before the exit");
        reach(&nets[*net].exit);
    }
    note(Note::new(Phase::Finish, 0, 0))
}

fn scenario(rescuers: usize, preemptions: usize) {
    model(preemptions, move || {
        let nets = Arc::new(<[Net; NETS]>::default());
        let round = Arc::new(Round::new((0..NETS).collect(), VecDeque::new()));
        let rescuers: Vec<_> = (0..rescuers)
            .map(|_| {
                let (nets, round) = (Arc::clone(&nets), Arc::clone(&round));
                thread::spawn(move || {
                    let Some(rest) = round.rob(round.note()) else { return 0 };
                    run(&nets, &rest);
                    let rest = rest.nets.lock();
                    rest.len()
                })
            })
            .collect();
        run(&nets, &round);
        let left = round.nets.lock().len();
        let robbed: usize = rescuers.into_iter().map(|rescuer| rescuer.join().unwrap()).sum();
        assert_eq!(left + robbed, NETS, "each namespace is somebody's");
        for net in nets.iter() {
            let done = [&net.rtnl, &net.killed, &net.exit].map(|stage| stage.load(Ordering::Relaxed));
            assert_eq!(done, [1; 3]);
        }
    });
}

#[test]
fn one_rescuer() {
    scenario(1, 4);
}

/// The second finds the round robbed, or robs it of what it has left, which is nothing.
#[test]
fn two_rescuers() {
    scenario(2, 2);
}

/// What is queued is found again under the new positions, by both, and can be robbed again.
#[test]
fn positions_follow_their_namespaces() {
    model(0, || {
        let round = Round::new((0..4).collect(), VecDeque::new());
        (0..4).for_each(|net| round.queue(net, [net]));
        let kill = Note::new(Phase::Kill, 0, 1);
        round.exchange(Note::START, kill).unwrap();
        let rest = round.rob(kill).unwrap();
        assert!(round.exchange(kill, kill).is_err());
        // What the callback that was robbed goes on to queue is its own.
        round.queue(1, [10]);
        let all = |round: &Round| -> Vec<(usize, usize)> {
            std::iter::from_fn(|| Some((round.next_kill()?, round.pop_kill()?))).collect()
        };
        assert_eq!((all(&round), &*round.nets.lock()), (vec![(0, 1), (0, 10)], &vec![1]));

        let kill = Note::new(Phase::Kill, 0, 2);
        rest.exchange(Note::START, kill).unwrap();
        let third = rest.rob(kill).unwrap();
        assert_eq!((all(&rest), &*rest.nets.lock()), (vec![(0, 3)], &vec![3]));
        assert_eq!((all(&third), &*third.nets.lock()), (vec![(0, 0), (1, 2)], &vec![0, 2]));
        assert!(
            round.rob(round.note()).is_none() && third.rob(third.note()).is_none(),
            "nothing to take, or not in a callback"
        );
    });
}
