//! Connections between two namespaces of this process, both ends in one thread.

use super::world::World;
use crate::measure::{self, busy, rounded};
use crate::row::{Row, Side};
use anyhow::{Result, anyhow, ensure};
use pernet::NetRef;
use pernet_stack::{Root, TcpSocket};
use std::net::SocketAddr;
use std::time::Duration;

const AGAIN: i32 = 11;
/// Calls between two looks at the clock.
const CLOCKED: u32 = 64;
/// Connections whose memory is measured.
const IDLE: u64 = 2000;

/// Two namespaces with a cable between them, and somebody who listens.
pub(crate) struct Pair {
    world: World,
    near: NetRef,
    _far: NetRef,
    listener: TcpSocket,
    to: SocketAddr,
}

fn checked<T>(result: Result<T, i32>) -> Result<T> {
    result.map_err(|errno| anyhow!("errno {errno}"))
}

/// What is to be waited for in this thread is an error: there is nobody else to do it.
fn ready(result: Result<usize, i32>) -> Result<usize> {
    match result {
        Err(AGAIN) => Ok(0),
        other => checked(other),
    }
}

impl Pair {
    pub(crate) fn new() -> Result<Self> {
        let world = World::new()?;
        let (near, far) = (world.net()?, world.net()?);
        world.wire((&near, "a", 1), (&far, "b", 2))?;
        world.addr(&near, "a", [10, 1, 0, 1])?;
        world.addr(&far, "b", [10, 1, 0, 2])?;
        let listener = TcpSocket::new_v4(&world.stack, &far);
        let to = SocketAddr::from(([10, 1, 0, 2], 80));
        checked(listener.bind(to, true))?;
        checked(listener.listen(4096))?;
        Ok(Self { world, near, _far: far, listener, to })
    }

    pub(crate) fn connect(&self) -> Result<(TcpSocket, TcpSocket)> {
        let client = TcpSocket::new_v4(&self.world.stack, &self.near);
        // In progress: the packets have been there and back when it returns.
        let _ = client.connect(self.to);
        let (server, _) = checked(self.listener.accept())?;
        checked(client.connect(self.to))?;
        Ok((client, server))
    }

    /// Another, whose bytes go by segments only: the way of who minds how far segments have come is never learnt.
    pub(crate) fn connect_by_segments(&self) -> Result<(TcpSocket, TcpSocket)> {
        const IPPROTO_IP: i32 = 0;
        const IP_MINTTL: i32 = 21;
        let (client, server) = self.connect()?;
        checked(server.set_ip_option(&Root, IPPROTO_IP, IP_MINTTL, &1_i32.to_ne_bytes()))?;
        Ok((client, server))
    }

    /// A byte there and back, so many times.
    pub(crate) fn trips(&self, client: &TcpSocket, server: &TcpSocket, times: u64) -> Result<()> {
        let mut byte = [0];
        for _ in 0..times {
            checked(client.send(b"x"))?;
            checked(server.recv(&mut byte))?;
            checked(server.send(&byte))?;
            checked(client.recv(&mut byte))?;
        }
        Ok(())
    }

    /// So many bytes one way, in pieces of 64 KiB.
    pub(crate) fn pass(&self, client: &TcpSocket, server: &TcpSocket, bytes: usize) -> Result<()> {
        let (piece, mut room) = (vec![7; 64 << 10], vec![0; 64 << 10]);
        let (mut left, mut on_way) = (bytes, 0);
        while left + on_way > 0 {
            let sent = if left == 0 { 0 } else { ready(client.send(&piece[..left.min(piece.len())]))? };
            (left, on_way) = (left - sent, on_way + sent);
            loop {
                let more = ready(server.recv(&mut room))?;
                if more == 0 {
                    break;
                }
                on_way -= more;
            }
            if on_way > 0 {
                let _ = self.world.stack.run_timers();
            }
        }
        Ok(())
    }
}

/// Gigabits a second in pieces of 64 KiB, the way that the stack chooses, or by `segments`.
pub(super) fn bulk(what: &str, ms: u64, segments: bool) -> Result<Row> {
    let pair = Pair::new()?;
    let (client, server) = if segments { pair.connect_by_segments() } else { pair.connect() }?;
    let (piece, mut room) = (vec![7; 64 << 10], vec![0; 64 << 10]);
    let (mut sent, mut got, limit) = (0_u64, 0_u64, Duration::from_millis(ms));
    let begin = busy();
    let (mut goes_on, mut turn) = (true, 0_u32);
    while goes_on || got < sent {
        turn += 1;
        if turn.is_multiple_of(CLOCKED) {
            goes_on = busy() - begin < limit;
        }
        if goes_on {
            sent += ready(client.send(&piece))? as u64;
        }
        loop {
            let more = ready(server.recv(&mut room))?;
            if more == 0 {
                break;
            }
            got += more as u64;
        }
        // An acknowledgement may be waiting for its time.
        if got < sent {
            ensure!(busy() - begin < limit + Duration::from_secs(5), "{got} of {sent} bytes arrived");
            let _ = pair.world.stack.run_timers();
        }
    }
    let rate = got as f64 * 8.0 / (busy() - begin).as_secs_f64() / 1e9;
    Ok(Row { gbit_s: Some(rounded(rate, 2)), ..Row::new(Side::Pernet, what, 1) })
}

/// Microseconds for a byte there and back.
pub(super) fn round_trip(ms: u64) -> Result<Row> {
    let pair = Pair::new()?;
    let (client, server) = pair.connect()?;
    let (mut trips, limit) = (0_u64, Duration::from_millis(ms));
    let begin = busy();
    while busy() - begin < limit {
        pair.trips(&client, &server, 100)?;
        trips += 100;
    }
    let each = measure::us_each(busy() - begin, trips);
    Ok(Row { us_each: Some(rounded(each, 3)), ..Row::new(Side::Pernet, "tcp_in_process_round_trip", 1) })
}

/// Memory of an end.
pub(super) fn idle() -> Result<Row> {
    let pair = Pair::new()?;
    pair.world.stack.keep_buffers(Duration::from_millis(250));
    let mut kept = vec![pair.connect()?];
    let before = measure::own_memory_kib()?;
    for _ in 0..IDLE {
        let (client, server) = pair.connect()?;
        let (request, mut room) = ([1; 1000], [0; 1000]);
        for (from, to) in [(&client, &server), (&server, &client)] {
            checked(from.send(&request))?;
            ensure!(checked(to.recv(&mut room))? == request.len(), "not all came back");
        }
        kept.push((client, server));
    }
    // What waits for an acknowledgement has it, and buffers are given back.
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(100));
        let _ = pair.world.stack.run_timers();
    }
    let kib = measure::own_memory_kib()?.saturating_sub(before) as f64 / (2 * IDLE) as f64;
    Ok(Row { kib_each: Some(rounded(kib, 2)), ..Row::new(Side::Pernet, "tcp_idle", IDLE) })
}
