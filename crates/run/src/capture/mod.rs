//! `pernet capture`: packets of a device into a file, by an ordinary packet socket. So it works wherever such a socket can be
//! opened: inside a run, where it is emulated, and in a namespace of the kernel for whoever may.

mod pcapng;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

use crate::control::{ControlError, Request, ask};
use crate::launch;
use crate::paths::netns_path;
use crate::sys;
use pcapng::{Direction, Interface, Packet, Writer};

/// `ETH_P_ALL`.
const EVERY_PROTOCOL: u16 = 3;

/// Packets between two looks whether somebody wants an end.
const LOOK_EVERY: u64 = 64;

/// What to capture.
#[derive(Clone, Debug)]
pub struct CaptureOptions {
    /// The named namespace that the device is in; `None` for the caller's.
    pub namespace: Option<String>,
    /// The device.
    pub device: String,
    /// Where to; `None` for the standard output.
    pub file: Option<PathBuf>,
    /// End after so many packets.
    pub count: Option<u64>,
    /// Most bytes kept of a packet.
    pub snaplen: u32,
}

/// Why nothing could be captured, in words for the person who wanted it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// There is no namespace of that name, or it may not be entered.
    #[error("cannot enter namespace \"{0}\": {1}; `ip netns` lists those that there are")]
    Namespace(String, String),
    /// The machine does not give the caller a packet socket.
    #[error("cannot open a packet socket: {0}; inside `pernet run` anybody can")]
    Socket(io::Error),
    /// The device is not there.
    #[error("cannot listen on \"{0}\": {1}; `ip link` lists the devices")]
    Device(String, io::Error),
    /// It went away, or down.
    #[error("the capture on \"{0}\" ended: {1}")]
    Ended(String, io::Error),
    /// The file cannot be written.
    #[error("cannot write {0}: {1}")]
    File(String, io::Error),
}

/// Captures until the count is reached or the caller is interrupted; returns how many packets.
///
/// # Errors
/// [`CaptureError`].
pub fn capture(options: &CaptureOptions) -> Result<u64, CaptureError> {
    if let Some(name) = &options.namespace {
        enter(name).map_err(|why| CaptureError::Namespace(name.clone(), why))?;
    }
    let socket = open().map_err(CaptureError::Socket)?;
    let device = |e| CaptureError::Device(options.device.clone(), e);
    let hardware = listen(&socket, &options.device).map_err(device)?;
    let place = options.file.as_deref().map_or_else(|| "the standard output".to_owned(), |p| p.display().to_string());
    let written = |e| CaptureError::File(place.clone(), e);
    let out: Box<dyn Write> = match options.file.as_deref().filter(|path| *path != Path::new("-")) {
        Some(path) => Box::new(File::create(path).map_err(written)?),
        None => Box::new(io::stdout()),
    };
    let description = options.namespace.as_ref().map_or_else(String::new, |name| format!("in namespace {name}"));
    let interface = Interface {
        name: &options.device,
        description: &description,
        link_type: link_type(hardware),
        snaplen: options.snaplen,
    };
    let mut writer = Writer::new(BufWriter::new(out), &interface).map_err(written)?;
    writer.flush().map_err(written)?;
    let signals = launch::interrupts().map_err(CaptureError::Socket)?;
    let mut buffer = vec![0; options.snaplen.clamp(1, 1 << 20) as usize];
    let mut seen = 0;
    while options.count.is_none_or(|count| seen < count) {
        // Whoever interrupts a flood is heard, too.
        if seen % LOOK_EVERY == 0 && sys::readable(signals.as_fd()) {
            break;
        }
        let got = match sys::receive_packet(socket.as_fd(), &mut buffer) {
            Ok(got) => got,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                // Nothing more for now: who looks at the file sees all that came.
                writer.flush().map_err(written)?;
                let mut fds = [PollFd::new(&socket, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
                if poll(&mut fds, None).is_ok() && fds[1].revents().contains(PollFlags::IN) {
                    break;
                }
                continue;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(CaptureError::Ended(options.device.clone(), e)),
        };
        // What a loopback device sends comes in again a moment later: once is enough.
        if got.outgoing && hardware == libc::ARPHRD_LOOPBACK {
            continue;
        }
        let direction = if got.outgoing { Direction::Out } else { Direction::In };
        let bytes = &buffer[..got.len.min(buffer.len())];
        let len = u32::try_from(got.len).unwrap_or(u32::MAX);
        writer.packet(&Packet { time: got.time, direction, bytes, len }).map_err(written)?;
        seen += 1;
    }
    let dropped = sys::packets_dropped(socket.as_fd());
    writer.finish(now(), seen, dropped).map_err(written)?;
    Ok(seen)
}

/// Goes into a named namespace: of the run if this is one, else of the machine.
fn enter(name: &str) -> Result<(), String> {
    match ask(&Request::Enter(name.to_owned())) {
        Ok(_) => Ok(()),
        Err(ControlError::NotInside) => {
            let file = File::open(netns_path(name.as_ref())).map_err(|e| e.to_string())?;
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(file.as_fd(), kind).map_err(|e| e.to_string())
        }
        Err(e) => Err(e.to_string()),
    }
}

fn open() -> io::Result<OwnedFd> {
    // Of no protocol until it is bound: nothing of other devices comes in before.
    let socket = socket_with(
        AddressFamily::PACKET,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None::<Protocol>,
    )?;
    sys::set_socket_int(socket.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
    Ok(socket)
}

/// Binds to a device and returns its hardware type, `ARPHRD_*`.
fn listen(socket: &OwnedFd, device: &str) -> io::Result<u16> {
    let index = rustix::net::netdevice::name_to_index(socket, device)?;
    sys::bind_packet(socket.as_fd(), index, EVERY_PROTOCOL)
}

/// `LINKTYPE_*` of a hardware type: what begins each frame.
fn link_type(hardware: u16) -> u16 {
    const ETHERNET: u16 = 1;
    const RAW_IP: u16 = 101;
    match hardware {
        // Loopback frames have an Ethernet header, of zeros.
        libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => ETHERNET,
        _ => RAW_IP,
    }
}

fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}
