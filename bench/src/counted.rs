//! Small workloads that do the same on every run, for a machine that counts instructions: those of the function
//! [`measured`], nothing before it and nothing after.
//!
//! One thread, no clock, no number from outside: what could still differ is where things lie in memory, because the hash
//! tables are seeded with addresses. Whoever counts (see `group_gates`) therefore runs this program with an empty environment
//! and under a loader that places everything alike each time.

use crate::control::{self, request};
use crate::depth::known;
use crate::depth::peers;
use crate::depth::read::Small;
use crate::in_process::forward::Path;
use crate::in_process::stream::Pair;
use crate::measure;
use crate::message::{self, Answer};
use crate::ours::{OurObserver, World};
use crate::system::{Observer, System};
use anyhow::{Context, Result, anyhow, ensure};
use pernet::{Namespaces, NetRef};
use pernet_stack::TcpSocket;
use std::hint::black_box;

/// Arguments of `counted`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which.
    name: String,
}

/// Does the work, and says for the log how often.
pub(crate) fn run(args: &Args) -> Result<()> {
    let times = (find(&args.name)?.work)()?;
    println!("{times}");
    Ok(())
}

/// Something whose instructions are counted.
pub(crate) struct Workload {
    /// Its name in the file of gates.
    pub(crate) name: &'static str,
    /// One line for the table.
    pub(crate) what: &'static str,
    /// Does it, and says how often.
    work: fn() -> Result<u64>,
}

impl Workload {
    const fn new(name: &'static str, what: &'static str, work: fn() -> Result<u64>) -> Self {
        Self { name, what, work }
    }
}

/// All of them.
pub(crate) const ALL: [Workload; 24] = [
    Workload::new("create", "create, lo and netlink registered", || create(1000)),
    Workload::new("create_second_half", "create when 10,000 are alive", || create(10_000)),
    Workload::new("drop_step", "last put and step, one namespace", drop_step),
    Workload::new("teardown", "step, each of 5,000 unnamed", || teardown(false)),
    Workload::new("teardown_named", "step, each of 5,000 that one observer named", || teardown(true)),
    Workload::new("peer_to_id_10", "peernet2id among 10", || peer_to_id(10)),
    Workload::new("peer_to_id_1000", "peernet2id among 1,000", || peer_to_id(1000)),
    Workload::new("peer_to_id_100000", "peernet2id among 100,000", || peer_to_id(100_000)),
    Workload::new("death_known", "last put and step, named by 1 of 10,000 observers", || death(true)),
    Workload::new("death_unknown", "the same, named by none", || death(false)),
    Workload::new("read", "per-namespace data by key", read),
    Workload::new("getnsid", "RTM_GETNSID round trip among 1,000", getnsid),
    Workload::new("name", "RTM_NEWNSID round trip", name),
    Workload::new("dump", "one entry of a dump", dump),
    Workload::new("veth_add", "RTM_NEWLINK of a veth pair among 1,000", || veth_add(1000)),
    Workload::new("veth_add_10000", "the same among 10,000", || veth_add(10_000)),
    Workload::new("link_entry", "one link of a dump", link_entry),
    Workload::new("forward_64", "a frame of 64 bytes through a router, sent and received", || {
        forward(Path::new(1, false)?)
    }),
    Workload::new("forward_64_1000", "the same to a thousand destinations", || forward(Path::new(1000, false)?)),
    Workload::new("forward6_64", "the same with IPv6", || forward(Path::new6(1)?)),
    Workload::new("tcp_round_trip", "a byte there and back between two namespaces", tcp_round_trip),
    Workload::new("tcp_connection", "a connection between two namespaces, made, accepted and closed", tcp_connection),
    Workload::new("tcp_piece", "64 KiB between two namespaces, sent and received", || tcp_piece(Pair::connect)),
    Workload::new("tcp_piece_segments", "the same, all of it in segments", || tcp_piece(Pair::connect_by_segments)),
];

/// The workload of that name.
pub(crate) fn find(name: &str) -> Result<&'static Workload> {
    const FOUND: &[Workload] = &ALL;
    FOUND.iter().find(|workload| workload.name == name).with_context(|| format!("there is no workload {name}"))
}

/// What is counted. The name is how the counting machine finds it, so it is neither inlined nor generic.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
    // Something after the call, or it would be a jump and this function over before the work begins.
    black_box(());
}

fn create(alive: u64) -> Result<u64> {
    const TIMES: u64 = 2000;
    let world = World::of_two_shards()?;
    let _alive = world.make(alive)?;
    let mut made = Ok(Vec::new());
    measured(&mut || made = world.make(TIMES));
    ensure!(made?.len() as u64 == TIMES, "not all were made");
    Ok(TIMES)
}

fn drop_step() -> Result<u64> {
    const TIMES: u64 = 1000;
    let world = World::of_two_shards()?;
    let _alive = world.make(1000)?;
    for _ in 0..TIMES {
        die(&world, world.create()?);
    }
    Ok(TIMES)
}

fn die(world: &World, net: NetRef) {
    let mut net = Some(net);
    measured(&mut || {
        drop(net.take());
        world.settle();
    });
}

fn teardown(named: bool) -> Result<u64> {
    const TIMES: u64 = 5000;
    let world = World::of_two_shards()?;
    let mut observer = world.observe(world.make(TIMES)?)?;
    if named {
        observer.name_all()?;
    }
    let (nets, _stand) = observer.close();
    let mut nets = Some(nets);
    measured(&mut || {
        drop(nets.take());
        world.settle();
    });
    Ok(TIMES)
}

fn peer_to_id(n: u64) -> Result<u64> {
    const TIMES: usize = 5000;
    let namespaces = Namespaces::new();
    let (observer, peers) = peers::named(&namespaces, n)?;
    let order: Vec<&NetRef> = measure::scattered(peers.len(), TIMES).into_iter().map(|at| &peers[at]).collect();
    let mut found = 0;
    measured(&mut || {
        for peer in &order {
            found += usize::from(black_box(observer.peernet2id(black_box(peer))).is_some());
        }
    });
    ensure!(found == TIMES, "{found} of {TIMES} peers were found");
    Ok(TIMES as u64)
}

fn death(is_known: bool) -> Result<u64> {
    const OBSERVERS: u64 = 10_000;
    const TIMES: usize = 500;
    let world = World::of_two_shards()?;
    let observers = known::observers(&world, OBSERVERS)?;
    for at in measure::scattered(observers.len(), TIMES) {
        let net = world.create()?;
        if is_known {
            observers[at].peernet2id_alloc(&net).context("naming it")?;
        }
        die(&world, net);
    }
    Ok(TIMES as u64)
}

fn read() -> Result<u64> {
    const TIMES: u64 = 100_000;
    let world = World::of_two_shards()?;
    let key = world.namespaces.register_subsys(Small).map_err(|error| anyhow!("{error:?}"))?;
    let net = world.create()?;
    measured(&mut || {
        for _ in 0..TIMES {
            black_box(black_box(&net).get(black_box(key)));
        }
    });
    ensure!(net.get(key).is_some(), "there was nothing to read");
    Ok(TIMES)
}

fn getnsid() -> Result<u64> {
    const TIMES: usize = 2000;
    let world = World::of_two_shards()?;
    let mut observer = world.observe(world.make(1000)?)?;
    observer.name_all()?;
    let mut asked = Vec::new();
    for at in measure::scattered(1000, TIMES) {
        let descriptor = observer.descriptor(at)?;
        asked.push((message::find(descriptor), Answer::Nsid(descriptor)));
    }
    round_trips(&mut observer, &asked)
}

fn name() -> Result<u64> {
    const TIMES: usize = 2000;
    let world = World::of_two_shards()?;
    let mut observer = world.observe(world.make(TIMES as u64)?)?;
    let mut asked = Vec::new();
    for at in 0..TIMES {
        let descriptor = observer.descriptor(at)?;
        asked.push((message::name(descriptor, descriptor), Answer::Status(0)));
    }
    round_trips(&mut observer, &asked)
}

fn round_trips(observer: &mut impl Observer, asked: &[(Vec<u8>, Answer)]) -> Result<u64> {
    let mut right = 0;
    measured(&mut || {
        for (request, want) in asked {
            right += usize::from(observer.ask(request).is_ok_and(|answer| answer == *want));
        }
    });
    ensure!(right == asked.len(), "{right} of {} answers were right", asked.len());
    Ok(right as u64)
}

fn dump() -> Result<u64> {
    const ENTRIES: u64 = 5000;
    let world = World::of_two_shards()?;
    let mut observer = world.observe(world.make(ENTRIES)?)?;
    observer.name_all()?;
    let mut seen = Ok(0);
    measured(&mut || seen = observer.dump());
    let seen = seen?;
    ensure!(seen == ENTRIES, "the dump showed {seen} of {ENTRIES}");
    Ok(seen)
}

/// A socket in a namespace with so many pairs of veth.
fn with_pairs(world: &World, pairs: u64) -> Result<OurObserver> {
    let mut socket = world.observe(Vec::new())?;
    (0..pairs).try_for_each(|pair| control::ask(&mut socket, &request::veth(pair)))?;
    Ok(socket)
}

fn veth_add(alive: u64) -> Result<u64> {
    const TIMES: u64 = 1000;
    let world = World::of_two_shards()?;
    let mut socket = with_pairs(&world, alive)?;
    let requests: Vec<Vec<u8>> = (alive..alive + TIMES).map(request::veth).collect();
    all_acked(&mut socket, &requests)
}

fn all_acked(socket: &mut OurObserver, requests: &[Vec<u8>]) -> Result<u64> {
    let mut done = Ok(());
    measured(&mut || done = requests.iter().try_for_each(|request| control::ask(socket, request)));
    done?;
    Ok(requests.len() as u64)
}

fn link_entry() -> Result<u64> {
    const PAIRS: u64 = 1000;
    let world = World::of_two_shards()?;
    let mut socket = with_pairs(&world, PAIRS)?;
    let mut seen = Ok(0);
    measured(&mut || seen = control::listed(&mut socket, &request::links(), request::NEWLINK));
    let seen = seen?;
    ensure!(seen == 2 * PAIRS + 1, "the dump showed {seen}");
    Ok(seen)
}

fn forward(mut path: Path) -> Result<u64> {
    // Every way is known, and memory is in use that will be used again.
    for _ in 0..20 {
        path.batch()?;
    }
    let mut frames = Ok(0);
    measured(&mut || frames = (0..40).map(|_| path.batch()).sum());
    path.settle()?;
    frames
}

fn tcp_round_trip() -> Result<u64> {
    const TIMES: u64 = 1000;
    let pair = Pair::new()?;
    let (client, server) = pair.connect()?;
    let mut done = pair.trips(&client, &server, 100);
    measured(&mut || done = pair.trips(&client, &server, TIMES));
    done.map(|()| TIMES)
}

fn tcp_connection() -> Result<u64> {
    const TIMES: u64 = 200;
    let pair = Pair::new()?;
    let cycle = |_| pair.connect().map(drop);
    let mut done = (0..TIMES).try_for_each(cycle);
    measured(&mut || done = (0..TIMES).try_for_each(cycle));
    done.map(|()| TIMES)
}

fn tcp_piece(connect: fn(&Pair) -> Result<(TcpSocket, TcpSocket)>) -> Result<u64> {
    const TIMES: usize = 100;
    const PIECE: usize = 64 << 10;
    let pair = Pair::new()?;
    let (client, server) = connect(&pair)?;
    // Until windows are as wide as they get.
    let mut done = pair.pass(&client, &server, 200 * PIECE);
    measured(&mut || done = pair.pass(&client, &server, TIMES * PIECE));
    done.map(|()| TIMES as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_does_what_it_says() {
        // The largest is for machines that count, not for a debug build.
        for workload in ALL.iter().filter(|workload| workload.name != "peer_to_id_100000") {
            assert!((workload.work)().expect(workload.name) > 0, "{}", workload.name);
        }
    }

    #[test]
    fn an_unknown_name_is_refused() {
        assert!(find("create").is_ok());
        assert!(find("nothing").is_err());
    }
}
