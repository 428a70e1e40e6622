//! The system that is fuzzed: three namespaces, senders of several kinds, and everything that can be asked for.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use pernet::{Cred, Namespaces, NetRef, Uid};
use pernet_rtnl::{LocalClient, Protocol, Rtnetlink, SockAddr, Socket};
use pernet_stack::{Clock, ManualClock, Stack};
use pernet_wire::uapi::*;
use pernet_wire::{Messages, Reply};

/// A clock that moves when a step says so: nothing runs out between two looks.
struct Shared(Arc<ManualClock>);

impl Clock for Shared {
    fn now(&self) -> Duration {
        self.0.now()
    }
}

/// What outlives an episode.
pub(crate) struct System {
    pub(crate) namespaces: Namespaces,
    pub(crate) stack: Stack,
    rtnl: Rtnetlink,
    clock: Arc<ManualClock>,
}

impl System {
    pub(crate) fn new() -> Self {
        let (namespaces, clock) = (Namespaces::new(), Arc::new(ManualClock::default()));
        let stack = Stack::register_with_clock(&namespaces, Box::new(Shared(clock.clone()))).expect("a stack");
        let rtnl = Rtnetlink::new(&namespaces, &stack).expect("netlink");
        Self { namespaces, stack, rtnl, clock }
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
        let _ = self.stack.run_timers();
    }

    /// Everything that died is gone, and every timer that it left has run into nothing.
    pub(crate) fn settle(&self) {
        while self.namespaces.step().more {}
        while let Some(next) = self.stack.next_timer() {
            self.advance(next);
        }
        while self.namespaces.step().more {}
    }
}

/// Who sends and how requests are read: a bit each.
pub(crate) const STRICT: u8 = 1;
pub(crate) const NOBODY: u8 = 2;
/// In the second namespace instead of the first.
pub(crate) const SECOND: u8 = 4;
pub(crate) const SENDERS: u8 = 8;

/// Namespaces of one episode and the sockets in them.
pub(crate) struct Scene<'s> {
    system: &'s System,
    senders: Vec<(Socket, LocalClient)>,
    /// Of each namespace, one that asks for everything.
    readers: Vec<(Socket, LocalClient)>,
    /// Of each namespace, one that hears everything.
    listeners: Vec<Socket>,
    /// What was last seen, while nothing changed since.
    seen: Option<Vec<Vec<u8>>>,
}

/// What came of a datagram.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Messages that were refused, and with what last.
    pub(crate) refused: usize,
    pub(crate) errno: i32,
    pub(crate) text: Option<String>,
    /// Messages in the datagram, by our own count.
    pub(crate) messages: usize,
    /// None of them asks for a change.
    pub(crate) only_questions: bool,
    /// The types of what somebody was told.
    pub(crate) heard: Vec<u16>,
    /// An answer that no kernel gives.
    pub(crate) malformed: Option<String>,
}

impl<'s> Scene<'s> {
    pub(crate) fn new(system: &'s System) -> Self {
        let owner = system.namespaces.init_user_ns();
        let (root, nobody) = (Cred::root(owner), Cred::user(owner, Uid(65_534)));
        let nets: Vec<NetRef> = (0..3).map(|_| system.namespaces.create(&root).expect("a namespace")).collect();
        let client = |cred: &Cred| {
            let mut client = LocalClient::new(cred.clone(), 4000).with_other_fd(13).with_pid(20, &nets[1]);
            for (fd, net) in (10..).zip(&nets) {
                client = client.with_fd(fd, net);
            }
            client
        };
        let open = |net: &NetRef, cred: &Cred, strict: bool| {
            let (socket, client) = (system.rtnl.open(net, Protocol::Route, cred), client(cred));
            for (option, on) in [(NETLINK_EXT_ACK, true), (NETLINK_GET_STRICT_CHK, strict)] {
                socket.setsockopt(option, &u32::from(on).to_ne_bytes(), &client).expect("an option");
            }
            (socket, client)
        };
        let senders = (0..SENDERS).map(|who| {
            let cred = if who & NOBODY == 0 { &root } else { &nobody };
            open(&nets[usize::from(who & SECOND != 0)], cred, who & STRICT != 0)
        });
        let senders = senders.collect();
        let readers: Vec<_> = nets.iter().map(|net| open(net, &root, true)).collect();
        let listeners = nets.iter().map(|net| {
            let (socket, client) = open(net, &root, false);
            socket.bind(SockAddr::new(0x7000_0000, 0), &client).expect("a port of its own");
            for group in 1..=RTNLGRP_MAX {
                socket.setsockopt(NETLINK_ADD_MEMBERSHIP, &group.to_ne_bytes(), &client).expect("joined");
            }
            socket
        });
        let listeners = listeners.collect();
        Self { system, senders, readers, listeners, seen: None }
    }

    /// Sends a datagram and reads what comes of it.
    pub(crate) fn send(&mut self, who: u8, datagram: &[u8]) -> Outcome {
        let mut outcome = Outcome { only_questions: true, ..Outcome::default() };
        for message in Messages::new(datagram) {
            outcome.messages += 1;
            outcome.only_questions &= message.header.ty % 4 == 2;
        }
        let (socket, client) = &self.senders[usize::from(who)];
        if socket.send(datagram, None, client).is_err() {
            // Empty or too long for a socket: nothing was looked at.
            outcome.refused = outcome.messages.max(1);
            outcome.messages = outcome.refused;
        }
        loop {
            match socket.recv(32_768) {
                Ok(Some(answer)) => read(&answer.bytes, &mut outcome),
                Ok(None) => break,
                // Told of an overrun, which a datagram of many messages can cause.
                Err(_) => {}
            }
        }
        if socket.dump_running() {
            outcome.malformed = Some("a dump runs on though its socket was drained".to_owned());
        }
        outcome.heard = self.drain();
        outcome
    }

    fn drain(&self) -> Vec<u16> {
        let mut heard = Vec::new();
        for listener in &self.listeners {
            loop {
                match listener.recv(32_768) {
                    Ok(Some(datagram)) => heard.extend(Messages::new(&datagram.bytes).map(|told| told.header.ty)),
                    Ok(None) => break,
                    Err(_) => {}
                }
            }
        }
        heard
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, by: Duration) {
        self.system.advance(by);
        self.drain();
        self.seen = None;
    }

    /// Forgets what was seen: something may have changed.
    pub(crate) fn changed(&mut self) {
        self.seen = None;
    }

    /// Looks at everything, unless nothing changed since.
    pub(crate) fn look(&mut self) {
        if self.seen.is_none() {
            self.seen = Some(self.all());
            // Showing a link gives the namespace of its peer a number, and that is told.
            self.drain();
        }
    }

    /// Looks again and says what differs from what was seen.
    pub(crate) fn difference(&mut self) -> Option<String> {
        let (before, now) = (self.seen.take()?, self.all());
        let mut text = None;
        let pairs = before.iter().zip(&now).enumerate();
        for (at, (before, now)) in pairs.filter(|(_, (before, now))| before != now) {
            let (net, (ty, family, _)) = (at / DUMPS.len(), DUMPS[at % DUMPS.len()]);
            let text = text.get_or_insert_with(String::new);
            let _ = write!(text, "dump of type {ty} family {family} in namespace {net}: ");
            // From a little before the first byte that is another.
            let from = before.iter().zip(now).take_while(|(a, b)| a == b).count().saturating_sub(12);
            let part = |of: &[u8]| hex(&of[from.min(of.len())..of.len().min(from + 80)]);
            let _ = writeln!(text, "{} and {} bytes, from {from}:", before.len(), now.len());
            let _ = writeln!(text, "    {}\n    {}", part(before), part(now));
        }
        self.seen = Some(now);
        self.drain();
        text
    }

    fn all(&self) -> Vec<Vec<u8>> {
        let dumps = self.readers.iter().flat_map(|reader| DUMPS.iter().map(move |dump| (reader, dump)));
        dumps.map(|((socket, client), dump)| ask(socket, client, *dump)).collect()
    }

    /// Takes back all that requests can take back.
    pub(crate) fn flush(&mut self) {
        for at in 0..self.readers.len() {
            for _ in 0..4 {
                for (dump, delete) in
                    [(RTM_GETRULE, 33), (106, 105), (RTM_GETROUTE, 25), (RTM_GETADDR, 21), (RTM_GETNEIGH, 29), (18, 17)]
                {
                    self.delete_all(at, dump, delete);
                }
            }
        }
        self.drain();
        self.seen = None;
    }

    /// Sends what a dump shows back as requests to delete it.
    fn delete_all(&self, at: usize, dump: u16, delete: u16) {
        let (socket, client) = &self.readers[at];
        for (_, family, header) in DUMPS.iter().filter(|(ty, ..)| *ty == dump) {
            let listing = ask(socket, client, (dump, *family, *header));
            for message in Messages::new(&listing).filter(|message| message.header.ty == dump - 2) {
                let mut request = message.raw.to_vec();
                request[4..6].copy_from_slice(&delete.to_ne_bytes());
                request[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
                if delete == 105 {
                    // Of a nexthop its number is enough, and more is refused.
                    let id = message.attrs(8).find(|attr| attr.ty == 1).and_then(|attr| attr.u32()).unwrap_or(0);
                    request.truncate(16 + 8);
                    request[17..].fill(0);
                    request.extend([8, 0, 1, 0]);
                    request.extend(id.to_ne_bytes());
                }
                if delete == 17 {
                    request.truncate(16 + 16);
                }
                let len = request.len() as u32;
                request[..4].copy_from_slice(&len.to_ne_bytes());
                let _ = socket.send(&request, None, client);
                while !matches!(socket.recv(32_768), Ok(None)) {}
            }
        }
    }
}

/// Type, family and length of the header of all that can be listed; what a kernel does not have is an error each time.
const DUMPS: [(u16, u8, usize); 25] = [
    (RTM_GETLINK, 0, 16),
    (RTM_GETLINK, 7, 16),
    (RTM_GETLINK, 10, 16),
    (RTM_GETADDR, 2, 8),
    (RTM_GETADDR, 10, 8),
    (RTM_GETROUTE, 2, 12),
    (RTM_GETROUTE, 10, 12),
    (RTM_GETRULE, 2, 12),
    (RTM_GETRULE, 10, 12),
    (RTM_GETRULE, 128, 12),
    (RTM_GETNEIGH, 2, 12),
    (RTM_GETNEIGH, 10, 12),
    (RTM_GETNEIGH, 7, 12),
    // With NTF_PROXY, see `ask`.
    (RTM_GETNEIGH, 1, 12),
    (RTM_GETNSID, 0, 4),
    (106, 0, 8),
    (118, 0, 8),
    (82, 2, 4),
    (82, 10, 4),
    (74, 10, 12),
    (66, 0, 4),
    (58, 10, 8),
    (62, 10, 8),
    (114, 7, 8),
    (RTM_GETTUNNEL, 7, 8),
];

/// The bytes of a whole dump.
fn ask(socket: &Socket, client: &LocalClient, (ty, family, header): (u16, u8, usize)) -> Vec<u8> {
    let mut request = vec![0; 16 + header];
    // An echo goes to whoever has the port in the namespace of the change, and all here have the same.
    while !matches!(socket.recv(32_768), Ok(None)) {}
    let len = request.len() as u32;
    request[..4].copy_from_slice(&len.to_ne_bytes());
    request[4..6].copy_from_slice(&ty.to_ne_bytes());
    request[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request[16] = family;
    if ty == RTM_GETNEIGH && family == 1 {
        request[16] = 0;
        request[26] = 8;
    }
    socket.send(&request, None, client).expect("sent");
    let mut all = Vec::new();
    while let Some(datagram) = socket.recv(32_768).expect("no overrun") {
        all.extend(datagram.bytes);
    }
    all
}

fn read(datagram: &[u8], outcome: &mut Outcome) {
    let mut walk = Messages::new(datagram);
    for message in walk.by_ref() {
        // DONE of a dump may carry an error too: that refuses nothing that could have changed something.
        if let Some(Reply { result: Err(errno), ext, .. }) = Reply::read(&message) {
            outcome.refused += 1;
            outcome.errno = errno.get();
            outcome.text = ext.msg.map(Into::into);
        }
    }
    if !walk.rest().is_empty() {
        outcome.malformed = Some(format!("an answer that is not made of whole messages: {}", hex(datagram)));
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
