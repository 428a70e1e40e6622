//! The kernel as a [`System`]: real network namespaces of this machine, in a process that is thrown away afterwards.
//!
//! The process first takes a user namespace of its own. That gives it the right to make network namespaces without root,
//! and a quota that nobody else draws from, so that waiting until the quota is back measures our own teardown only.
//! A namespace is kept alive by an open `/proc/thread-self/ns/net`, exactly as long as a program would keep it.

use crate::measure;
use crate::row::Side;
use crate::system::{BUFFER, NO_LIMIT, Observer, System, Teardown};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

/// How long the quota may stay away before something is wrong.
const PATIENCE: Duration = Duration::from_secs(500);
/// How long the teardown of a single namespace may go on unseen; 40 ms were measured.
const SETTLED: Duration = Duration::from_millis(100);

/// The kernel of this machine, seen from a user namespace of its own.
pub(crate) struct Kernel(());

impl Kernel {
    /// May this process make namespaces at all? `Err` is a sentence that says why not.
    pub(crate) fn enter() -> Result<Self, String> {
        unshare(CloneFlags::CLONE_NEWUSER)
            .map_err(|errno| format!("this machine refuses a user namespace (unshare: {})", errno.desc()))?;
        // Some systems grant the user namespace and then no right inside it, so the second step is part of the question.
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| format!("this machine refuses a network namespace (unshare: {})", errno.desc()))?;
        set_quota(NO_LIMIT).map_err(|error| format!("this machine keeps the quota from us ({error:#})"))?;
        Ok(Self(()))
    }
}

fn set_quota(value: u32) -> Result<()> {
    fs::write("/proc/sys/user/max_net_namespaces", value.to_string()).context("writing user.max_net_namespaces")
}

impl System for Kernel {
    const SIDE: Side = Side::Kernel;
    // One worker, whoever asks: the kernel tears down in an ordered workqueue.
    const TEARDOWNS: &'static [(&'static str, Teardown)] = &[("teardown", Teardown::Workers(1))];
    type Net = File;
    type Observer = KernelObserver;

    fn create(&self) -> Result<File> {
        unshare(CloneFlags::CLONE_NEWNET).context("unshare")?;
        File::open("/proc/thread-self/ns/net").context("/proc/thread-self/ns/net")
    }

    fn observe(&self, nets: Vec<File>) -> Result<KernelObserver> {
        unshare(CloneFlags::CLONE_NEWNET).context("the observer")?;
        let socket =
            socket::socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
                .context("a netlink socket")?;
        socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).context("binding the netlink socket")?;
        Ok(KernelObserver { socket, nets, buffer: vec![0; BUFFER] })
    }

    fn memory_kib(&self) -> Result<u64> {
        measure::kernel_memory_kib()
    }

    /// Gone is what gave back its quota: the kernel does so last. The poll moves us into a fresh namespace.
    fn tear_down(&self, nets: Vec<File>, _: Teardown) -> Result<Duration> {
        // Alive are the nets and the one that we stand in. With a quota of 2, one more fits only when all nets are gone.
        set_quota(2)?;
        let start = Instant::now();
        drop(nets);
        loop {
            match unshare(CloneFlags::CLONE_NEWNET) {
                Ok(()) => break,
                Err(Errno::ENOSPC) if start.elapsed() < PATIENCE => thread::sleep(Duration::from_micros(500)),
                Err(errno) => return Err(errno).context("waiting for the teardown"),
            }
        }
        let took = start.elapsed();
        set_quota(NO_LIMIT)?;
        Ok(took)
    }

    fn settle(&self) {
        thread::sleep(SETTLED);
    }

    fn gone(&self, times: u64) -> Result<Vec<f64>> {
        let mut times_us = Vec::new();
        for _ in 0..times {
            let (nets, ()) = self.observe(vec![self.create()?])?.close();
            // Where we stood before is dying, and would be in the way of the one that is measured.
            self.settle();
            times_us.push(self.tear_down(nets, Teardown::Workers(1))?.as_secs_f64() * 1e6);
        }
        Ok(times_us)
    }
}

/// A netlink socket in the namespace that we stand in.
pub(crate) struct KernelObserver {
    socket: OwnedFd,
    nets: Vec<File>,
    buffer: Vec<u8>,
}

impl Observer for KernelObserver {
    type Net = File;
    type Stand = ();

    fn known(&self) -> usize {
        self.nets.len()
    }

    fn descriptor(&self, index: usize) -> Result<i32> {
        Ok(self.nets.get(index).context("no such namespace")?.as_raw_fd())
    }

    fn send(&self, request: &[u8]) -> Result<()> {
        socket::send(self.socket.as_raw_fd(), request, MsgFlags::empty()).context("sending a request")?;
        Ok(())
    }

    fn receive(&mut self) -> Result<&[u8]> {
        let len = socket::recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty());
        Ok(self.buffer.get(..len.context("receiving an answer")?).unwrap_or_default())
    }

    fn close(self) -> (Vec<File>, ()) {
        (self.nets, ())
    }
}
