//! Files of `/dev/net/tun`.
//!
//! The stand-in is one end of a pair that keeps message boundaries: what a program writes arrives at ours, a packet each,
//! and what we write it reads.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use pernet::{Cap, NetRef, Origin};
use pernet_stack::{KindData, Tun, TunPlace, TunQueue, TunRequest, tun_flag as flag};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags};

use crate::mem::Memory;
use crate::sockets::message_pair;
use crate::syscalls::Outcome;
use crate::task::Task;
use crate::world::{World, lock};

const TUNSETNOCSUM: u32 = 0x4004_54c8;
const TUNSETDEBUG: u32 = 0x4004_54c9;
const TUNSETIFF: u32 = 0x4004_54ca;
const TUNSETPERSIST: u32 = 0x4004_54cb;
const TUNSETOWNER: u32 = 0x4004_54cc;
const TUNSETLINK: u32 = 0x4004_54cd;
const TUNSETGROUP: u32 = 0x4004_54ce;
const TUNGETFEATURES: u32 = 0x8004_54cf;
const TUNSETOFFLOAD: u32 = 0x4004_54d0;
const TUNGETIFF: u32 = 0x8004_54d2;
const TUNGETSNDBUF: u32 = 0x8004_54d3;
const TUNSETSNDBUF: u32 = 0x4004_54d4;
const TUNGETVNETHDRSZ: u32 = 0x8004_54d7;
const TUNSETVNETHDRSZ: u32 = 0x4004_54d8;
const TUNSETQUEUE: u32 = 0x4004_54d9;
const TUNSETIFINDEX: u32 = 0x4004_54da;
const TUNSETVNETLE: u32 = 0x4004_54dc;
const TUNGETVNETLE: u32 = 0x8004_54dd;
const TUNSETCARRIER: u32 = 0x4004_54e2;
const TUNGETDEVNETNS: u32 = 0x54e3;

/// What `TUNSETIFF` knows, as `TUNGETFEATURES` tells it.
const FEATURES: u32 = 0x7173;
/// Offloads that `TUNSETOFFLOAD` takes: checksums, and segments of TCP and UDP.
const OFFLOADS: u64 = 0x7f;
/// `IFF_NOFILTER`, which `TUNGETIFF` always shows: nothing is filtered by address.
const NO_FILTER: u16 = 0x1000;
/// Bytes of `struct ifreq`, and of the name in it.
const IFREQ: usize = 40;
const NAME: usize = 16;

/// The longest packet, with what may be before it.
const LONGEST: usize = 65_535 + 14 + 4 + 256;

/// Does the number look like a request to such a file?
pub(crate) const fn is_request(request: u32) -> bool {
    matches!(request & 0xffff, 0x54c8..=0x54e3)
}

/// Such a file.
pub(crate) struct TunFd {
    supervisor: OwnedFd,
    /// Where it was opened: its device is made there, whatever its owner does.
    pub(crate) net: NetRef,
    /// What the device sent and the program's end had no room for.
    queue: Arc<TunQueue>,
    state: Mutex<State>,
    /// Held by who moves packets, so that they stay in order. Before all locks of the stack, and never while one of a socket's
    /// is held: what a packet causes at other sockets is only noted there.
    moving: Mutex<()>,
}

#[derive(Default)]
struct State {
    device: Option<TunPlace>,
    /// The file is not the device's cable, for now.
    detached: bool,
    /// The index that a new device is to have.
    index: Option<u32>,
}

/// Opens one for a task.
///
/// # Errors
/// errno of making it.
pub(crate) fn open(world: &World, task: Task, nonblocking: bool) -> Result<OwnedFd, i32> {
    let net = world.net_of(task)?;
    let pair = message_pair(nonblocking)?;
    rustix::io::ioctl_fionbio(&pair.supervisor, true).map_err(|e| e.raw_os_error())?;
    let file = Arc::new(TunFd {
        supervisor: pair.supervisor,
        net,
        queue: Arc::default(),
        state: Mutex::default(),
        moving: Mutex::default(),
    });
    file.queue.on_ready(world.sockets.alarm(pair.id, world.reactor.clone()));
    world.sockets.insert_tun(pair.id, file.clone());
    let watched = world.reactor.edges(file.supervisor_end(), crate::reactor::Token::Socket(pair.id.ino));
    if let Err(e) = watched {
        world.sockets.remove(pair.id);
        return Err(crate::sys::errno_of(&e));
    }
    Ok(pair.app)
}

/// The answer for a descriptor that is no file of ours.
pub(crate) fn elsewhere(task: Task, fd: i32) -> Outcome {
    match task.fd_link(fd) {
        None => Outcome::Errno(libc::EBADF),
        // One of the host's, which would make a device of the host's.
        Some(path) if path.starts_with("/dev") => Outcome::Errno(libc::EPERM),
        Some(_) => Outcome::Errno(libc::ENOTTY),
    }
}

impl TunFd {
    /// Our end, for registration.
    pub(crate) fn supervisor_end(&self) -> BorrowedFd<'_> {
        self.supervisor.as_fd()
    }

    /// Moves what was written, and what is to be read.
    pub(crate) fn pump(&self, world: &World) {
        let _in_order = lock(&self.moving);
        let (place, attached) = {
            let state = lock(&self.state);
            (state.device.clone().unwrap_or_default(), !state.detached)
        };
        let mut buffer = vec![0; LONGEST];
        while let Some(len) = self.next(&mut buffer) {
            // Who wrote it has his answer: what it would have been is not told any more.
            let _ = world.stack.tun_write(&place, &buffer[..len]);
        }
        if attached {
            world.stack.tun_read(&place, &self.queue, |packet| {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                // Without room it waits until there is some, which the reactor tells.
                rustix::net::send(&self.supervisor, packet, flags).is_ok()
            });
        }
    }

    /// The next packet that was written.
    fn next(&self, buffer: &mut [u8]) -> Option<usize> {
        let (len, _) = rustix::net::recv(&self.supervisor, &mut *buffer, RecvFlags::DONTWAIT).ok()?;
        if len > 0 {
            return Some(len);
        }
        // Nothing was written, or nobody is left to write.
        let mut fds = [PollFd::new(&self.supervisor, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let left = poll(&mut fds, Some(&now)).is_ok_and(|_| !fds[0].revents().contains(PollFlags::HUP));
        left.then_some(0)
    }

    /// The last descriptor is gone.
    pub(crate) fn close(&self, world: &World) {
        // What was written before it is sent.
        self.pump(world);
        let (device, detached) = {
            let mut state = lock(&self.state);
            (state.device.take(), state.detached)
        };
        if let Some(place) = device {
            world.stack.rtnl(Origin::KERNEL).close_tun(&place, &self.queue, detached);
        }
    }

    /// Answers an ioctl (`__tun_chr_ioctl`).
    pub(crate) fn ioctl(&self, world: &World, task: Task, request: u32, arg: u64) -> Outcome {
        self.answer(world, task, request, arg).unwrap_or_else(Outcome::Errno)
    }

    fn answer(&self, world: &World, task: Task, request: u32, arg: u64) -> Result<Outcome, i32> {
        // What was sent about devices before, and whose sender has closed its socket, comes first.
        world.sockets.reap_closed(world);
        let memory = Memory::of(task.tid);
        let done = Ok(Outcome::Value(0));
        let write = |bytes: &[u8]| memory.write(arg, bytes).map(|()| Outcome::Value(0)).map_err(|e| e.errno());
        let read = || memory.u32(arg).map(u32::cast_signed).map_err(|e| e.errno());
        match request {
            TUNGETFEATURES => return write(&FEATURES.to_ne_bytes()),
            TUNSETIFF => return self.set_device(world, task, arg),
            TUNSETQUEUE => return self.set_queue(world, task, arg),
            _ => {}
        }
        let mut state = lock(&self.state);
        let device = state.device.clone().filter(|place| place.get().is_some());
        if request == TUNSETIFINDEX {
            if device.is_some() {
                return Err(libc::EPERM);
            }
            let index = u32::try_from(read()?).map_err(|_| libc::EINVAL)?;
            state.index = (index > 0).then_some(index);
            return done;
        }
        let place = device.ok_or(libc::EBADFD)?;
        let (net, index) = place.get().ok_or(libc::EBADFD)?;
        let link = world.stack.links(&net).and_then(|links| links.by_index(index)).ok_or(libc::EBADFD)?;
        let Some(KindData::Tun(tun)) = link.data() else { return Err(libc::EBADFD) };
        let change = |change: &mut dyn FnMut(&mut Tun)| {
            world.stack.rtnl(Origin::KERNEL).change_tun(&place, change);
            Ok(Outcome::Value(0))
        };
        // An id of no user and no group is none.
        let id = || u32::try_from(arg & 0xffff_ffff).ok().filter(|&id| id != u32::MAX).ok_or(libc::EINVAL);
        match request {
            TUNGETIFF => {
                let mut ifreq = [0; IFREQ];
                let name = link.name().as_str().as_bytes();
                ifreq[..name.len()].copy_from_slice(name);
                let detached = if state.detached { flag::DETACH_QUEUE } else { 0 };
                ifreq[NAME..NAME + 2].copy_from_slice(&(tun.flags | NO_FILTER | detached).to_ne_bytes());
                write(&ifreq)
            }
            // Checksums and debugging have been without effect for long.
            TUNSETNOCSUM | TUNSETDEBUG => done,
            TUNSETPERSIST => change(&mut |tun| {
                let on = if arg == 0 { 0 } else { flag::PERSIST };
                tun.flags = tun.flags & !flag::PERSIST | on;
            }),
            TUNSETOWNER => {
                let id = id()?;
                change(&mut |tun| tun.owner = Some(id))
            }
            TUNSETGROUP => {
                let id = id()?;
                change(&mut |tun| tun.group = Some(id))
            }
            TUNSETLINK if link.is_up() => Err(libc::EBUSY),
            // Another type of hardware than the device was made with is not feigned.
            TUNSETLINK if arg == u64::from(link.class().arp_type) => done,
            TUNSETOFFLOAD if arg & !OFFLOADS == 0 => done,
            TUNGETSNDBUF => write(&tun.send_buffer.to_ne_bytes()),
            TUNSETSNDBUF => {
                let bytes = Some(read()?).filter(|&bytes| bytes > 0).ok_or(libc::EINVAL)?;
                change(&mut |tun| tun.send_buffer = bytes)
            }
            TUNGETVNETHDRSZ => write(&tun.header_len.to_ne_bytes()),
            TUNSETVNETHDRSZ => {
                let bytes = Some(read()?).filter(|&bytes| bytes >= 10).ok_or(libc::EINVAL)?;
                change(&mut |tun| tun.header_len = bytes)
            }
            TUNGETVNETLE => write(&i32::from(tun.little_endian).to_ne_bytes()),
            TUNSETVNETLE => {
                let on = read()? != 0;
                change(&mut |tun| tun.little_endian = on)
            }
            TUNSETCARRIER => {
                let on = read()? != 0;
                world.stack.rtnl(Origin::KERNEL).set_tun_carrier(&place, on);
                done
            }
            TUNGETDEVNETNS => {
                if !world.users.cred(task).capable(net.owner(), Cap::NetAdmin) {
                    return Err(libc::EPERM);
                }
                let mut spaces = lock(&world.spaces);
                let space = spaces.of_net(&net);
                spaces.open_file(space, false).map(|fd| Outcome::Fd(fd, true))
            }
            _ => Err(libc::EINVAL),
        }
    }

    fn set_device(&self, world: &World, task: Task, arg: u64) -> Result<Outcome, i32> {
        let memory = Memory::of(task.tid);
        let mut ifreq = [0; IFREQ];
        memory.read(arg, &mut ifreq).map_err(|e| e.errno())?;
        let mut state = lock(&self.state);
        if state.device.as_ref().is_some_and(|place| place.get().is_some()) {
            return Err(libc::EEXIST);
        }
        let name = ifreq[..NAME - 1].split(|&b| b == 0).next().unwrap_or_default();
        let cred = world.users.cred(task);
        let request = TunRequest {
            name: String::from_utf8(name.to_vec()).map_err(|_| libc::EINVAL)?,
            flags: u16::from_ne_bytes([ifreq[NAME], ifreq[NAME + 1]]),
            index: state.index,
            privileged: cred.capable(self.net.owner(), Cap::NetAdmin),
            uid: cred.euid.0,
            groups: task.groups(),
        };
        let place =
            world.stack.rtnl(Origin::KERNEL).attach_tun(&self.net, &request, &self.queue).map_err(|why| why.errno())?;
        let named = place.get().and_then(|(net, index)| world.stack.links(&net)?.by_index(index));
        (state.device, state.detached) = (Some(place), false);
        let mut answer = [0; NAME];
        if let Some(link) = named {
            let name = link.name().as_str().as_bytes();
            answer[..name.len()].copy_from_slice(name);
        }
        memory.write(arg, &answer).map(|()| Outcome::Value(0)).map_err(|e| e.errno())
    }

    fn set_queue(&self, world: &World, task: Task, arg: u64) -> Result<Outcome, i32> {
        let mut ifreq = [0; IFREQ];
        Memory::of(task.tid).read(arg, &mut ifreq).map_err(|e| e.errno())?;
        let flags = u16::from_ne_bytes([ifreq[NAME], ifreq[NAME + 1]]);
        let mut state = lock(&self.state);
        let on = match flags & (flag::ATTACH_QUEUE | flag::DETACH_QUEUE) {
            flag::ATTACH_QUEUE if state.detached => true,
            flag::DETACH_QUEUE if !state.detached => false,
            _ => return Err(libc::EINVAL),
        };
        let place = state.device.clone().ok_or(libc::EINVAL)?;
        world.stack.rtnl(Origin::KERNEL).switch_tun_queue(&place, &self.queue, on).map_err(|why| why.errno())?;
        state.detached = !on;
        Ok(Outcome::Value(0))
    }
}
