//! A router between two namespaces, and the smallest frames.

use super::world::World;
use crate::measure::{busy, rounded};
use crate::row::{Row, Side};
use anyhow::{Result, ensure};
use pernet::NetRef;
use pernet_stack::{PacketSocket, UdpSocket};
use std::net::Ipv6Addr;
use std::time::Duration;

/// Frames that are sent in one call.
const BATCH: usize = 256;
/// Calls between two looks at the clock.
const CLOCKED: usize = 16;
/// Bytes of a frame.
const FRAME: usize = 64;
const PORT: u16 = 9;

/// `from`, a router, and `to`.
pub(crate) struct Path {
    world: World,
    _router: NetRef,
    to: NetRef,
    socket: PacketSocket,
    frames: Vec<Vec<u8>>,
    next: usize,
    /// Takes what arrives, if somebody is to.
    taker: Option<UdpSocket>,
    sent: u64,
    /// Frames that had arrived when it was made.
    before: u64,
}

impl Path {
    /// Two cables: what leaves by `a` comes in by `b`, and what leaves by `c` by `d`.
    fn wired() -> Result<(World, [NetRef; 3])> {
        let world = World::new()?;
        let nets = [world.net()?, world.net()?, world.net()?];
        let [from, router, to] = &nets;
        world.wire((from, "a", 1), (router, "b", 2))?;
        world.wire((router, "c", 3), (to, "d", 4))?;
        Ok((world, nets))
    }

    /// Frames of IPv4 go to so many addresses.
    pub(crate) fn new(flows: u32, taken: bool) -> Result<Self> {
        let (world, [from, router, to]) = Self::wired()?;
        world.addr(&from, "a", [10, 1, 0, 2])?;
        world.addr(&router, "b", [10, 1, 0, 1])?;
        world.addr(&router, "c", [10, 2, 0, 1])?;
        world.route(&router, [10, 3, 0, 0], 16, [10, 2, 0, 2])?;
        if taken {
            world.addr(&to, "d", [10, 2, 0, 2])?;
            world.route(&to, [10, 1, 0, 0], 24, [10, 2, 0, 1])?;
        } else {
            // The last host counts what arrives, which is for a neighbour of his.
            world.neighbour(&router, "c", [10, 2, 0, 2].into(), [2, 0, 0, 0, 0, 5])?;
        }
        world.sysctl(&router, "ipv4/ip_forward", "1")?;
        let taker = taken.then(|| UdpSocket::bind(&world.stack, &to, ([0, 0, 0, 0], PORT).into())).transpose()?;
        let dst = |n: u32| if taken { [10, 2, 0, 2] } else { (0x0a03_0001 + n).to_be_bytes() };
        let frames = (0..flows).map(|n| frame(dst(n)).to_vec()).collect();
        Self::begin(world, [from, router, to], frames, taker)
    }

    /// Frames of IPv6, likewise, which nobody takes.
    pub(crate) fn new6(flows: u16) -> Result<Self> {
        let (world, [from, router, to]) = Self::wired()?;
        let addr = |n: u16, host: u16| Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, host);
        world.addr6(&router, "b", addr(1, 1))?;
        world.addr6(&router, "c", addr(2, 1))?;
        world.route6(&router, addr(3, 0), 48, addr(2, 2))?;
        world.neighbour(&router, "c", addr(2, 2).into(), [2, 0, 0, 0, 0, 5])?;
        world.sysctl(&router, "ipv6/conf/all/forwarding", "1")?;
        let frames = (0..flows).map(|n| frame6(addr(1, 2), addr(3, n + 1)).to_vec()).collect();
        Self::begin(world, [from, router, to], frames, None)
    }

    fn begin(
        world: World,
        [from, router, to]: [NetRef; 3],
        frames: Vec<Vec<u8>>,
        taker: Option<UdpSocket>,
    ) -> Result<Self> {
        let socket = PacketSocket::new(&world.stack, from.clone(), false, 0, 0);
        socket.bind(world.index(&from, "a")?, 0)?;
        let mut path = Self { world, _router: router, to, socket, frames, next: 0, taker, sent: 0, before: 0 };
        // Where somebody takes them, the router learns where he is, and what belongs to coming up is over.
        path.send(1)?;
        path.before = path.world.received(&path.to, "d");
        path.sent = 0;
        Ok(path)
    }

    fn send(&mut self, count: usize) -> Result<()> {
        let (frames, from) = (&self.frames, self.next);
        let batch = frames[from..].iter().chain(frames.iter().cycle()).take(count).map(Vec::as_slice);
        let sent = self.socket.send_batch(batch, None)?;
        self.next = (from + count) % frames.len();
        self.sent += sent as u64;
        ensure!(sent == count, "{sent} of {count} frames were sent");
        if let Some(taker) = &self.taker {
            while taker.try_recv_from().is_ok() {}
        }
        Ok(())
    }

    /// A batch.
    pub(crate) fn batch(&mut self) -> Result<u64> {
        self.send(BATCH)?;
        Ok(BATCH as u64)
    }

    /// Everything that was sent has arrived.
    pub(crate) fn settle(&self) -> Result<()> {
        let arrived = self.world.received(&self.to, "d") - self.before;
        ensure!(arrived == self.sent, "{arrived} frames of {} arrived", self.sent);
        Ok(())
    }
}

/// Ethernet, IPv4, UDP, and a few bytes.
fn frame(dst: [u8; 4]) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    frame[14..26].copy_from_slice(&[0x45, 0, 0, 50, 0, 1, 0, 0, 64, 17, 0, 0]);
    frame[26..30].copy_from_slice(&[10, 1, 0, 2]);
    frame[30..34].copy_from_slice(&dst);
    let words = frame[14..34].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    // Ports, a length, and no checksum.
    frame[36..38].copy_from_slice(&PORT.to_be_bytes());
    frame[39] = 30;
    frame
}

/// The same with IPv6, which has room for ten bytes less.
fn frame6(src: Ipv6Addr, dst: Ipv6Addr) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd]);
    frame[14..22].copy_from_slice(&[0x60, 0, 0, 0, 0, 10, 17, 64]);
    frame[22..38].copy_from_slice(&src.octets());
    frame[38..54].copy_from_slice(&dst.octets());
    frame[56..58].copy_from_slice(&PORT.to_be_bytes());
    frame[59] = 10;
    frame
}

/// Nanoseconds for a frame.
pub(super) fn measure(what: &str, ms: u64, mut path: Path) -> Result<Row> {
    let (mut frames, limit) = (0, Duration::from_millis(ms));
    for _ in 0..20 {
        path.batch()?;
    }
    let begin = busy();
    while busy() - begin < limit {
        for _ in 0..CLOCKED {
            frames += path.batch()?;
        }
    }
    let took = busy() - begin;
    path.settle()?;
    let each = took.as_nanos() as f64 / frames as f64;
    Ok(Row { ns_each: Some(rounded(each, 1)), ..Row::new(Side::Pernet, what, 1) })
}
