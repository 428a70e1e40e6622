//! The kernel's half of `core`: real network namespaces of this machine, in a process that is thrown away afterwards.
//!
//! The process first takes a user namespace of its own. That gives it the right to make network namespaces without root,
//! and a quota that nobody else draws from, so that waiting until the quota is back measures our own teardown only.
//! A namespace is kept alive by an open `/proc/self/ns/net`, exactly as long as a program would keep it.

use crate::measure::{self, DUMPS, MEMORY_POPULATION, median, rounded, us_each};
use crate::message::{self, Answer};
use crate::row::{Row, Side};
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

/// What a receive is asked to hold; a dump fills at most 32 KiB of it.
const BUFFER: usize = 128 * 1024;
/// How long the quota may stay away before something is wrong.
const PATIENCE: Duration = Duration::from_secs(500);
/// The quota as a fresh user namespace has it.
const NO_LIMIT: &str = "2147483647";

/// May this process make namespaces at all? `Err` is a sentence that says why not.
pub(crate) fn enter() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWUSER)
        .map_err(|errno| format!("this machine refuses a user namespace (unshare: {})", errno.desc()))?;
    // Some systems grant the user namespace and then no right inside it, so the second step is part of the question.
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|errno| format!("this machine refuses a network namespace (unshare: {})", errno.desc()))?;
    set_quota(NO_LIMIT).map_err(|error| format!("this machine keeps the quota from us ({error:#})"))
}

/// Measures the life of `n` namespaces, [`measure::rounds`] times, and hands each figure to `emit`.
///
/// [`enter`] must have succeeded in this process.
pub(crate) fn measure(n: u64, mut emit: impl FnMut(Row)) -> Result<()> {
    let rounds = measure::rounds(n);
    // Where n is too small to see, memory is averaged over more, and before anything is warm.
    let average = if n < MEMORY_POPULATION { Some(average_kib()?) } else { None };
    // Else the first round says it: later ones are made of memory that it left behind.
    let mut kib = average;
    let mut create = Vec::new();
    let mut name = Vec::new();
    let mut find = [Vec::new(), Vec::new()];
    let mut dump = Vec::new();
    let mut teardown = Vec::new();
    let row = |what: &str| Row { rounds: (rounds > 1).then_some(rounds as u64), ..Row::new(Side::Kernel, what, n) };
    for round in 0..rounds {
        let before = measure::kernel_memory_kib()?;
        let (took, nets) = measure::timed(|| make(n))?;
        let used = measure::kernel_memory_kib()?.saturating_sub(before);
        create.push(us_each(took, n));
        let _ = kib.get_or_insert(used as f64 / n as f64);
        if round + 1 == rounds {
            let mut made = Row { us_each: Some(rounded(median(&create), 2)), ..row("create") };
            made.kib_each = kib.map(|kib| rounded(kib, 1));
            made.kib_over = average.map(|_| MEMORY_POPULATION);
            emit(made);
        }

        unshare(CloneFlags::CLONE_NEWNET).context("the observer")?;
        let mut observer = Observer::open()?;
        let (took, ()) = measure::timed(|| observer.name_all(&nets))?;
        name.push(us_each(took, n));
        for (which, index) in [(0, 0), (1, nets.len() - 1)] {
            find[which].push(observer.find(&nets, index)?);
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
        drop(observer);

        let (took, ()) = measure::timed(|| drop_and_wait(nets))?;
        teardown.push(took.as_secs_f64() * 1e6);
        set_quota(NO_LIMIT)?;
        if round + 1 < rounds {
            // The old observer is dying now; the next round shall not pay for it.
            thread::sleep(Duration::from_millis(50));
        }
    }
    let total = median(&teardown);
    emit(Row {
        us_each: Some(rounded(total / n as f64, 2)),
        total_ms: Some(rounded(total / 1e3, 1)),
        ..row("teardown")
    });
    Ok(())
}

/// Makes `n` namespaces, each held by one open file.
fn make(n: u64) -> Result<Vec<File>> {
    let mut nets = Vec::with_capacity(usize::try_from(n)?);
    for i in 0..n {
        unshare(CloneFlags::CLONE_NEWNET).with_context(|| format!("namespace {i} of {n}"))?;
        nets.push(File::open("/proc/self/ns/net").context("/proc/self/ns/net")?);
    }
    Ok(nets)
}

/// KiB that a namespace costs, averaged over [`MEMORY_POPULATION`] of them.
fn average_kib() -> Result<f64> {
    let before = measure::kernel_memory_kib()?;
    let nets = make(MEMORY_POPULATION)?;
    let used = measure::kernel_memory_kib()?.saturating_sub(before);
    let each = used as f64 / nets.len() as f64;
    unshare(CloneFlags::CLONE_NEWNET).context("the observer")?;
    drop_and_wait(nets)?;
    set_quota(NO_LIMIT)?;
    Ok(each)
}

/// Drops all `nets` and returns when the last unit of quota is back.
fn drop_and_wait(nets: Vec<File>) -> Result<()> {
    // Alive are the nets and the observer that we stand in. With a quota of 2, one more fits only when all nets are gone.
    set_quota("2")?;
    let start = Instant::now();
    drop(nets);
    loop {
        match unshare(CloneFlags::CLONE_NEWNET) {
            Ok(()) => return Ok(()),
            Err(Errno::ENOSPC) if start.elapsed() < PATIENCE => thread::sleep(Duration::from_micros(500)),
            Err(errno) => return Err(errno).context("waiting for the teardown"),
        }
    }
}

fn set_quota(value: &str) -> Result<()> {
    fs::write("/proc/sys/user/max_net_namespaces", value).context("writing user.max_net_namespaces")
}

/// A netlink socket in the namespace that does the naming.
struct Observer {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Observer {
    fn open() -> Result<Self> {
        let socket =
            socket::socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
                .context("a netlink socket")?;
        socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).context("binding the netlink socket")?;
        Ok(Self { socket, buffer: vec![0; BUFFER] })
    }

    fn send(&self, request: &[u8]) -> Result<()> {
        socket::send(self.socket.as_raw_fd(), request, MsgFlags::empty()).context("sending a request")?;
        Ok(())
    }

    fn receive(&mut self) -> Result<&[u8]> {
        let len = socket::recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty());
        Ok(self.buffer.get(..len.context("receiving an answer")?).unwrap_or_default())
    }

    fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        self.send(request)?;
        message::only(self.receive()?)
    }

    fn name_all(&mut self, nets: &[File]) -> Result<()> {
        for (id, net) in (0..).zip(nets) {
            let answer = self.ask(&message::name(net.as_raw_fd(), id))?;
            ensure!(answer == Answer::Status(0), "naming {id}: {answer:?}");
        }
        Ok(())
    }

    fn find(&mut self, nets: &[File], index: usize) -> Result<f64> {
        let want = Answer::Nsid(i32::try_from(index)?);
        let request = message::find(nets.get(index).context("no such namespace")?.as_raw_fd());
        measure::probed(|| {
            let answer = self.ask(&request)?;
            ensure!(answer == want, "finding {index}: {answer:?}");
            Ok(())
        })
    }

    fn dump(&mut self) -> Result<u64> {
        self.send(&message::dump())?;
        let mut entries = 0;
        let mut status = None;
        while status.is_none() {
            message::answers(self.receive()?, |answer| match answer {
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
