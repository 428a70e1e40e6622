//! pernet as a [`System`]: the same life of the same number of namespaces, in process.
//!
//! `lo` (pernet-stack) and netlink (pernet-rtnl) are registered as subsystems, so a namespace made here has what a fresh
//! one of the kernel has that a program can ask for. Requests are bytes on a socket of pernet, as they are in the kernel.

use crate::measure;
use crate::row::Side;
use crate::system::{BUFFER, NO_LIMIT, Observer, System, Teardown};
use anyhow::{Context, Result, anyhow, ensure};
use pernet::{Caps, Cred, InitError, Namespaces, Net, NetRef, Subsystem, Uid};
use pernet_rtnl::{Client, PeerError, Protocol, Rtnetlink, SockAddr, Socket};
use pernet_stack::Stack;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// How long a worker thread may need for one namespace before something is wrong.
const PATIENCE: Duration = Duration::from_secs(120);

/// One emulated system, and the user namespace whose quota the measured namespaces draw from.
pub(crate) struct World {
    /// The system.
    pub(crate) namespaces: Namespaces,
    rtnetlink: Rtnetlink,
    cred: Cred,
}

impl World {
    /// A system whose namespaces have `lo` and netlink.
    pub(crate) fn new() -> Result<Self> {
        Self::upon(Namespaces::builder().max_net_namespaces(NO_LIMIT).build())
    }

    /// The same on every machine: elsewhere there are as many shards as processors.
    pub(crate) fn of_two_shards() -> Result<Self> {
        Self::upon(Namespaces::builder().max_net_namespaces(NO_LIMIT).shards(2).build())
    }

    fn upon(namespaces: Namespaces) -> Result<Self> {
        let stack = Stack::register(&namespaces).map_err(|error| anyhow!("{error:?}"))?;
        let rtnetlink = Rtnetlink::new(&namespaces, &stack).map_err(|error| anyhow!("{error:?}"))?;
        let init = namespaces.init_user_ns().clone();
        let root = Cred { user_ns: init.clone(), euid: Uid(0), caps: Caps::FULL };
        // As the kernel's half: a user namespace below the first, so that two levels are charged.
        let owner = init.child(&root);
        owner.set_max_net_namespaces(NO_LIMIT.into()).map_err(|error| anyhow!("setting the quota: {error:?}"))?;
        Ok(Self { namespaces, rtnetlink, cred: Cred { user_ns: owner, euid: Uid(0), caps: Caps::FULL } })
    }
}

impl System for World {
    const SIDE: Side = Side::Pernet;
    const TEARDOWNS: &'static [(&'static str, Teardown)] =
        &[("teardown", Teardown::Workers(1)), ("teardown_step", Teardown::Step)];
    type Net = NetRef;
    type Observer = OurObserver;

    fn create(&self) -> Result<NetRef> {
        self.namespaces.create(&self.cred).map_err(|error| anyhow!("creating a namespace: {error:?}"))
    }

    fn observe(&self, nets: Vec<NetRef>) -> Result<OurObserver> {
        let net = self.create()?;
        let client = Bench { cred: self.cred.clone(), nets };
        let socket = self.rtnetlink.open(&net, Protocol::Route, &self.cred);
        let any = SockAddr { portid: 0, groups: 0 };
        socket.bind(any, &client).map_err(|error| anyhow!("binding the netlink socket: {error:?}"))?;
        Ok(OurObserver { net, socket, client, last: Vec::new() })
    }

    fn memory_kib(&self) -> Result<u64> {
        measure::own_memory_kib()
    }

    /// Gone is what has had its exits and lost its states. The quota would not say so, it may return before.
    fn tear_down(&self, nets: Vec<NetRef>, how: Teardown) -> Result<Duration> {
        let workers: Vec<_> = match how {
            Teardown::Workers(workers) => (0..workers).map(|_| self.namespaces.spawn_worker()).collect(),
            Teardown::Step => Vec::new(),
        };
        // They shall be asleep, and their start not be measured.
        if !workers.is_empty() {
            std::thread::sleep(Duration::from_millis(2));
        }
        let start = Instant::now();
        drop(nets);
        match how {
            // A worker that is dropped runs what is queued, and is joined.
            Teardown::Workers(_) => drop(workers),
            Teardown::Step => self.settle(),
        }
        Ok(start.elapsed())
    }

    fn settle(&self) {
        while self.namespaces.step().more {}
    }

    fn gone(&self, times: u64) -> Result<Vec<f64>> {
        // A system of its own: the witness is in every namespace, and would be measured elsewhere too.
        let (sender, receiver) = channel();
        let namespaces = Namespaces::builder().max_net_namespaces(NO_LIMIT).build();
        // First in the order, so the last to be undone.
        let witness = Witness(Mutex::new(sender));
        namespaces.register_subsys(witness).map_err(|error| anyhow!("{error:?}"))?;
        let world = Self::upon(namespaces)?;
        let worker = world.namespaces.spawn_worker();
        let mut times_us = Vec::new();
        for _ in 0..times {
            let net = world.create()?;
            // The worker sleeps when the next one dies, as it does where deaths are rare.
            std::thread::sleep(Duration::from_millis(2));
            let start = Instant::now();
            drop(net);
            let end: Instant = receiver.recv_timeout(PATIENCE).context("nobody tears it down")?;
            times_us.push(end.saturating_duration_since(start).as_secs_f64() * 1e6);
        }
        drop(worker);
        Ok(times_us)
    }
}

/// A subsystem whose state tells when it is gone.
struct Witness(Mutex<Sender<Instant>>);

struct LastWords(Sender<Instant>);

impl Subsystem for Witness {
    const NAME: &'static str = "witness";
    type State = Mutex<LastWords>;

    fn init(&self, _: &Net) -> Result<Self::State, InitError> {
        let sender = self.0.lock().map_err(|_| InitError::NoMemory)?;
        Ok(Mutex::new(LastWords(sender.clone())))
    }
}

impl Drop for LastWords {
    fn drop(&mut self) {
        // Whoever listened may have left: the initial namespace goes last.
        let _ = self.0.send(Instant::now());
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
pub(crate) struct OurObserver {
    net: NetRef,
    socket: Socket,
    client: Bench,
    last: Vec<u8>,
}

impl Observer for OurObserver {
    type Net = NetRef;
    type Stand = NetRef;

    fn known(&self) -> usize {
        self.client.nets.len()
    }

    fn descriptor(&self, index: usize) -> Result<i32> {
        Ok(i32::try_from(index)?)
    }

    fn send(&self, request: &[u8]) -> Result<()> {
        let sent = self.socket.send(request, None, &self.client);
        let sent = sent.map_err(|error| anyhow!("sending a request: {error:?}"))?;
        ensure!(sent == request.len(), "sent {sent} of {} bytes", request.len());
        Ok(())
    }

    fn receive(&mut self) -> Result<&[u8]> {
        let datagram = self.socket.recv(BUFFER).map_err(|error| anyhow!("receiving: {error:?}"))?;
        self.last = datagram.context("no answer is there")?.bytes;
        Ok(&self.last)
    }

    fn close(self) -> (Vec<NetRef>, NetRef) {
        (self.client.nets, self.net)
    }
}
