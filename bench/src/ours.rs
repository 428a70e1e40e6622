//! pernet's half of `core`: the same life of the same number of namespaces, in process.
//!
//! `lo` (pernet-stack) and netlink (pernet-rtnl) are registered as subsystems, so a namespace made here has what a fresh
//! one of the kernel has that a program can ask for. Requests are bytes on a socket of pernet, as they are in the kernel.

use crate::measure::{self, DUMPS, MEMORY_POPULATION, median, rounded, us_each};
use crate::message::{self, Answer};
use crate::row::{Row, Side};
use anyhow::{Context, Result, anyhow, bail, ensure};
use pernet::{Caps, CreateError, Cred, Namespaces, NetRef, Uid, UserNs};
use pernet_rtnl::{Client, PeerError, Protocol, Rtnetlink, SockAddr, Socket};
use pernet_stack::Stack;
use std::thread;
use std::time::{Duration, Instant};

/// What a receive is asked to hold, as in the kernel's half.
const BUFFER: usize = 128 * 1024;
/// How long the quota may stay away before something is wrong.
const PATIENCE: Duration = Duration::from_secs(120);
/// The quota where it shall not matter.
const NO_LIMIT: i64 = i32::MAX as i64;

/// Measures the life of `n` namespaces, [`measure::rounds`] times, and hands each figure to `emit`.
pub(crate) fn measure(n: u64, mut emit: impl FnMut(Row)) -> Result<()> {
    let world = World::new()?;
    let rounds = measure::rounds(n);
    // Where n is too small to see, memory is averaged over more, and before anything is warm.
    let average = if n < MEMORY_POPULATION { Some(world.average_kib()?) } else { None };
    // Else the first round says it: later ones are made of memory that it left behind.
    let mut kib = average;
    let mut create = Vec::new();
    let mut name = Vec::new();
    let mut find = [Vec::new(), Vec::new()];
    let mut dump = Vec::new();
    let mut teardown = Vec::new();
    let mut stepped = Vec::new();
    let row = |what: &str| Row { rounds: (rounds > 1).then_some(rounds as u64), ..Row::new(Side::Pernet, what, n) };
    for round in 0..rounds {
        let before = measure::own_memory_kib()?;
        let (took, nets) = measure::timed(|| world.make(n))?;
        let used = measure::own_memory_kib()?.saturating_sub(before);
        create.push(us_each(took, n));
        let _ = kib.get_or_insert(used as f64 / n as f64);
        if round + 1 == rounds {
            let mut made = Row { us_each: Some(rounded(median(&create), 2)), ..row("create") };
            made.kib_each = kib.map(|kib| rounded(kib, 2));
            made.kib_over = average.map(|_| MEMORY_POPULATION);
            emit(made);
        }

        let observer = world.observer(nets)?;
        let (took, ()) = measure::timed(|| observer.name_all())?;
        name.push(us_each(took, n));
        for (which, index) in [(0, 0), (1, n - 1)] {
            find[which].push(observer.find(index)?);
        }
        let mut seen = 0;
        for _ in 0..DUMPS {
            let (took, entries) = measure::timed(|| observer.dump())?;
            dump.push(took.as_secs_f64() * 1e9 / entries.max(1) as f64);
            seen = entries;
        }
        if round + 1 == rounds {
            emit(Row { us_each: Some(rounded(median(&name), 2)), ..row("name") });
            emit(Row { us_each: Some(rounded(median(&find[0]), 2)), ..row("find_first") });
            emit(Row { us_each: Some(rounded(median(&find[1]), 2)), ..row("find_last") });
            emit(Row { entries_seen: Some(seen), ns_each: Some(rounded(median(&dump), 0)), ..row("dump") });
        }

        let (nets, stands_in) = observer.close();
        let worker = world.namespaces.spawn_worker();
        let (took, ()) = measure::timed(|| world.drop_and_wait(nets, Teardown::Worker))?;
        teardown.push(took.as_secs_f64() * 1e6);
        drop(worker);
        drop(stands_in);
        world.settle();

        // Once more for the embedder's way, with named namespaces again so that the work is the same.
        let observer = world.observer(world.make(n)?)?;
        observer.name_all()?;
        let (nets, stands_in) = observer.close();
        let (took, ()) = measure::timed(|| world.drop_and_wait(nets, Teardown::Step))?;
        stepped.push(took.as_secs_f64() * 1e6);
        drop(stands_in);
        world.settle();
    }
    for (what, times) in [("teardown", teardown), ("teardown_step", stepped)] {
        let total = median(&times);
        emit(Row { us_each: Some(rounded(total / n as f64, 2)), total_ms: Some(rounded(total / 1e3, 3)), ..row(what) });
    }
    Ok(())
}

/// Who runs the teardown.
#[derive(Clone, Copy)]
enum Teardown {
    /// A thread of its own, as the kernel's kworker does.
    Worker,
    /// This thread, by `step()`, as an embedder without threads does.
    Step,
}

/// One emulated system and the user namespace whose quota the measured namespaces draw from.
struct World {
    namespaces: Namespaces,
    rtnetlink: Rtnetlink,
    owner: UserNs,
    cred: Cred,
}

impl World {
    fn new() -> Result<Self> {
        let namespaces = Namespaces::builder().max_net_namespaces(i32::MAX as u32).build();
        let stack = Stack::register(&namespaces).map_err(|error| anyhow!("{error:?}"))?;
        let rtnetlink = Rtnetlink::new(&namespaces, &stack).map_err(|error| anyhow!("{error:?}"))?;
        let init = namespaces.init_user_ns().clone();
        let root = Cred { user_ns: init.clone(), euid: Uid(0), caps: Caps::FULL };
        // As the kernel's half: a quota of our own, so that waiting for it measures nobody else.
        let owner = init.child(&root);
        let cred = Cred { user_ns: owner.clone(), euid: Uid(0), caps: Caps::FULL };
        let world = Self { namespaces, rtnetlink, owner, cred };
        world.set_quota(NO_LIMIT)?;
        Ok(world)
    }

    fn set_quota(&self, limit: i64) -> Result<()> {
        self.owner.set_max_net_namespaces(limit).map_err(|error| anyhow!("setting the quota: {error:?}"))
    }

    fn create(&self) -> Result<NetRef> {
        self.namespaces.create(&self.cred).map_err(|error| anyhow!("creating a namespace: {error:?}"))
    }

    fn make(&self, n: u64) -> Result<Vec<NetRef>> {
        let mut nets = Vec::with_capacity(usize::try_from(n)?);
        for _ in 0..n {
            nets.push(self.create()?);
        }
        Ok(nets)
    }

    fn average_kib(&self) -> Result<f64> {
        let before = measure::own_memory_kib()?;
        let nets = self.make(MEMORY_POPULATION)?;
        let used = measure::own_memory_kib()?.saturating_sub(before);
        drop(nets);
        self.settle();
        Ok(used as f64 / MEMORY_POPULATION as f64)
    }

    /// Runs every teardown that is pending.
    fn settle(&self) {
        while self.namespaces.step().more {}
    }

    /// Drops all `nets` and returns when the last unit of quota is back; the observer still lives.
    fn drop_and_wait(&self, nets: Vec<NetRef>, how: Teardown) -> Result<()> {
        // One more than the observer fits only when all nets are gone, as in the kernel's half.
        self.set_quota(2)?;
        drop(nets);
        let last = match how {
            // Asked again and again, as the kernel's half asks; `barrier` would do the work itself.
            Teardown::Worker => self.wait_for_quota()?,
            Teardown::Step => {
                self.settle();
                self.create().context("the quota is not back after the teardown")?
            }
        };
        drop(last);
        self.set_quota(NO_LIMIT)
    }

    fn wait_for_quota(&self) -> Result<NetRef> {
        let start = Instant::now();
        loop {
            match self.namespaces.create(&self.cred) {
                Ok(net) => return Ok(net),
                Err(CreateError::QuotaExceeded { .. }) if start.elapsed() < PATIENCE => thread::yield_now(),
                Err(error) => return Err(anyhow!("waiting for the teardown: {error:?}")),
            }
        }
    }

    fn observer(&self, nets: Vec<NetRef>) -> Result<Observer> {
        let net = self.create()?;
        let client = Bench { cred: self.cred.clone(), nets };
        let socket = self.rtnetlink.open(&net, Protocol::Route, &self.cred);
        let any = SockAddr { portid: 0, groups: 0 };
        socket.bind(any, &client).map_err(|error| anyhow!("binding the netlink socket: {error:?}"))?;
        Ok(Observer { net, socket, client })
    }
}

/// The asking program: descriptor k means namespace k.
struct Bench {
    cred: Cred,
    nets: Vec<NetRef>,
}

impl Client for Bench {
    fn cred(&self) -> Cred {
        self.cred.clone()
    }

    fn tgid(&self) -> u32 {
        std::process::id()
    }

    fn net_by_pid(&self, _: i32) -> Result<NetRef, PeerError> {
        Err(PeerError::NoSuchProcess)
    }

    fn net_by_fd(&self, fd: i32) -> Result<NetRef, PeerError> {
        let net = usize::try_from(fd).ok().and_then(|fd| self.nets.get(fd));
        net.cloned().ok_or(PeerError::BadFd)
    }
}

/// A netlink socket in the namespace that does the naming.
struct Observer {
    net: NetRef,
    socket: Socket,
    client: Bench,
}

impl Observer {
    /// Closes the socket; gives back the namespaces, and the one that it stood in.
    fn close(self) -> (Vec<NetRef>, NetRef) {
        (self.client.nets, self.net)
    }

    fn send(&self, request: &[u8]) -> Result<()> {
        let sent = self.socket.send(request, None, &self.client);
        let sent = sent.map_err(|error| anyhow!("sending a request: {error:?}"))?;
        ensure!(sent == request.len(), "sent {sent} of {} bytes", request.len());
        Ok(())
    }

    fn receive(&self) -> Result<Vec<u8>> {
        let datagram = self.socket.recv(BUFFER).map_err(|error| anyhow!("receiving: {error:?}"))?;
        Ok(datagram.context("no answer is there")?.bytes)
    }

    fn ask(&self, request: &[u8]) -> Result<Answer> {
        self.send(request)?;
        message::only(&self.receive()?)
    }

    fn name_all(&self) -> Result<()> {
        for id in 0..i32::try_from(self.client.nets.len())? {
            let answer = self.ask(&message::name(id, id))?;
            ensure!(answer == Answer::Status(0), "naming {id}: {answer:?}");
        }
        Ok(())
    }

    fn find(&self, index: u64) -> Result<f64> {
        let index = i32::try_from(index)?;
        let (request, want) = (message::find(index), Answer::Nsid(index));
        measure::probed(|| {
            let answer = self.ask(&request)?;
            ensure!(answer == want, "finding {index}: {answer:?}");
            Ok(())
        })
    }

    fn dump(&self) -> Result<u64> {
        self.send(&message::dump())?;
        let mut entries = 0;
        let mut status = None;
        while status.is_none() {
            message::answers(&self.receive()?, |answer| match answer {
                Answer::Nsid(_) => entries += 1,
                Answer::Done => status = Some(0),
                Answer::Status(code) => status = Some(code),
            })?;
        }
        match status {
            Some(0) => Ok(entries),
            other => bail!("the dump ended with {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_made_and_a_dump_sees_every_name() {
        let mut rows = Vec::new();
        measure(40, |row| rows.push(row)).expect("pernet's half runs");
        let what: Vec<&str> = rows.iter().map(|row| row.what.as_str()).collect();
        assert_eq!(what, ["create", "name", "find_first", "find_last", "dump", "teardown", "teardown_step"]);
        assert!(rows.iter().all(|row| row.side == Side::Pernet && row.n == 40));
        assert!(rows.iter().any(|row| row.entries_seen == Some(40)));
        assert!(rows.iter().all(|row| row.us_each.is_some() || row.ns_each.is_some()));
    }
}
