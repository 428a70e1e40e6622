//! How is this peer called? As a call of the library, and as a request on a netlink socket.

use crate::measure::{self, median, rounded};
use crate::row::{Row, Side};
use crate::system::{Observer, System, Teardown};
use anyhow::{Result, anyhow, ensure};
use pernet::{Cred, Namespaces, NetRef};
use std::hint::black_box;
use std::time::Instant;

/// In how many parts the calls are timed.
const PARTS: usize = 21;
/// How many calls in each.
const CALLS: usize = 5000;
/// How often the requests are.
const ROUNDS: usize = 5;

/// `RTM_GETNSID` by descriptor, one round trip each, the peers in a scattered order.
pub(super) fn measure<S: System>(system: &S, n: u64, emit: &mut impl FnMut(Row)) -> Result<()> {
    let mut observer = system.observe(system.make(n)?)?;
    observer.name_all()?;
    let times: Result<Vec<f64>> = (0..ROUNDS).map(|_| observer.find_scattered()).collect();
    let ns_each = Some(rounded(median(&times?) * 1e3, 0));
    emit(Row { ns_each, rounds: Some(ROUNDS as u64), ..Row::new(S::SIDE, "getnsid", n) });
    let (nets, stand) = observer.close();
    system.tear_down(nets, Teardown::Workers(1))?;
    drop(stand);
    system.settle();
    Ok(())
}

/// An observer that has called `n` peers by their index, and those peers; nothing is registered.
pub(crate) fn named(namespaces: &Namespaces, n: u64) -> Result<(NetRef, Vec<NetRef>)> {
    let root = Cred::root(namespaces.init_user_ns());
    let create = || namespaces.create(&root).map_err(|error| anyhow!("{error:?}"));
    let observer = create()?;
    let mut peers = Vec::new();
    for index in 0..n {
        let peer = create()?;
        let id = observer.peernet2id_alloc(&peer).map(|id| id.get());
        ensure!(id == Some(i32::try_from(index)?), "peer {index} is called {id:?}");
        peers.push(peer);
    }
    Ok((observer, peers))
}

/// `peernet2id`, the peers in a scattered order.
pub(super) fn ours(n: u64, emit: &mut impl FnMut(Row)) -> Result<()> {
    let namespaces = Namespaces::new();
    let (observer, peers) = named(&namespaces, n)?;
    let order: Vec<&NetRef> = measure::scattered(peers.len(), CALLS).into_iter().map(|at| &peers[at]).collect();
    let mut times = Vec::new();
    for _ in 0..PARTS {
        let start = Instant::now();
        for peer in &order {
            ensure!(black_box(observer.peernet2id(black_box(peer))).is_some(), "a peer without a name");
        }
        times.push(start.elapsed().as_secs_f64() * 1e9 / CALLS as f64);
    }
    let rounds = Some(PARTS as u64);
    emit(Row { ns_each: Some(rounded(median(&times), 1)), rounds, ..Row::new(Side::Pernet, "peer_to_id", n) });
    Ok(())
}
