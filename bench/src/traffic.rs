//! What the group `stack` sends: a server in one namespace, a client in another, both this program started again. They use
//! the standard library's sockets and know nothing of who carries the packets.

use crate::measure::{self, median, rounded};
use crate::row::{Row, Side};
use anyhow::{Context, Result, ensure};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

/// Connections are accepted here and closed.
const DOOR: u16 = 7001;
/// Bytes are sent back here, by connection and by datagram.
const ECHO: u16 = 7002;

/// The server's addresses are so many, one after the other: a port that waits in TIME-WAIT for one of them is free for the
/// next.
pub(crate) const ADDRESSES: u64 = 16;

/// After so long a connection is idle.
const QUIET: Duration = Duration::from_secs(3);

/// Programs that were started just now run on one processor, until the scheduler's balancing finds them; measured is what
/// they have from then on. A kernel's datagram there and back takes 4 µs for a quarter of a second, and 70 afterwards.
const SETTLED: Duration = Duration::from_millis(500);
/// And as long, at least, it is measured.
const MEASURED: Duration = Duration::from_millis(500);

/// Arguments of the hidden `traffic` command.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Serve here until killed.
    #[arg(long)]
    serve: bool,
    /// Measure against the server at this address.
    #[arg(long)]
    server: Option<Ipv4Addr>,
    /// Whose packets they are, for the rows.
    #[arg(long)]
    side: Option<Side>,
    /// How many connections and round trips at least.
    #[arg(long, default_value_t = 2000)]
    n: u64,
    /// Measure what so many idle connections cost this process.
    #[arg(long)]
    idle_in: Option<u32>,
}

/// Serves, or measures and prints rows as JSON.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.serve {
        return serve();
    }
    let server = args.server.context("--serve or --server")?;
    let side = args.side.context("--side")?;
    let rows = match args.idle_in {
        Some(pid) => vec![idle(side, server, args.n, pid)?],
        None => measure(side, server, args.n)?,
    };
    for row in rows {
        println!("{}", row.to_json());
    }
    Ok(())
}

fn serve() -> Result<()> {
    let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
    let door = TcpListener::bind(any(DOOR))?;
    thread::spawn(move || door.incoming().for_each(drop));
    let datagrams = UdpSocket::bind(any(ECHO))?;
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = datagrams.recv_from(&mut buffer) {
            // Who asked and left wants no answer.
            let _ = datagrams.send_to(&buffer[..len], from);
        }
    });
    for stream in TcpListener::bind(any(ECHO))?.incoming() {
        let mut stream = stream?;
        thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok(len @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..len]).is_err() {
                    break;
                }
            }
        });
    }
    Ok(())
}

fn measure(side: Side, server: Ipv4Addr, n: u64) -> Result<Vec<Row>> {
    let echo = SocketAddr::from((server, ECHO));
    let mut stream = patiently(|| TcpStream::connect(echo))?;
    let row = |what: &str, each: &[f64]| Row { us_each: Some(rounded(median(each), 2)), ..Row::new(side, what, n) };
    let mut rows = Vec::new();

    let doors: Vec<_> = addresses(server).map(|address| SocketAddr::from((address, DOOR))).collect();
    let mut door = doors.iter().cycle();
    let connections = repeat(n, || {
        // Accepted and closed by the server, too: else it falls behind until its queue is full, and a second is lost.
        let mut stream = TcpStream::connect(door.next().expect("a cycle has no end"))?;
        stream.read(&mut [0]).map(drop)
    })?;
    rows.push(row("tcp_connect", &connections));

    stream.set_nodelay(true)?;
    let mut byte = [7];
    let trips = repeat(n, || {
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)
    })?;
    rows.push(row("tcp_round_trip", &trips));

    let socket = UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], 0)))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut buffer = [0; 128];
    let unconnected = repeat(n, || {
        socket.send_to(&[7; 64], echo)?;
        socket.recv_from(&mut buffer).map(|_| ())
    })?;
    rows.push(row("udp_round_trip", &unconnected));
    socket.connect(echo)?;
    let connected = repeat(n, || {
        socket.send(&[7; 64])?;
        socket.recv(&mut buffer).map(|_| ())
    })?;
    rows.push(row("udp_connected_round_trip", &connected));
    Ok(rows)
}

/// Memory of a connection, both its ends, that was used and is idle, in the process that carries it.
fn idle(side: Side, server: Ipv4Addr, n: u64, pid: u32) -> Result<Row> {
    let echo = SocketAddr::from((server, ECHO));
    let used = || {
        let mut stream = patiently(|| TcpStream::connect(echo))?;
        let mut piece = [7; 1000];
        stream.write_all(&piece)?;
        stream.read_exact(&mut piece)?;
        anyhow::Ok(stream)
    };
    // What is there for all of them is there.
    let mut kept = (0..n / 20).map(|_| used()).collect::<Result<Vec<_>>>()?;
    thread::sleep(QUIET);
    let before = measure::memory_kib(pid)?;
    for _ in 0..n {
        kept.push(used()?);
    }
    thread::sleep(QUIET);
    let kib = measure::memory_kib(pid)?.saturating_sub(before) as f64 / n as f64;
    Ok(Row { kib_each: Some(rounded(kib, 2)), ..Row::new(side, "tcp_idle_between_programs", n) })
}

/// The server may still be on its way.
fn patiently<T>(mut what: impl FnMut() -> std::io::Result<T>) -> Result<T> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match what() {
            Ok(done) => return Ok(done),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && Instant::now() < end => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error).context("the server does not answer"),
        }
    }
}

/// All addresses of the server that has `first`.
fn addresses(first: Ipv4Addr) -> impl Iterator<Item = Ipv4Addr> {
    let first = u32::from(first);
    (first..).take(ADDRESSES as usize).map(Ipv4Addr::from)
}

/// Microseconds that each took, of as many as there is time for, `n` at least.
fn repeat(n: u64, mut what: impl FnMut() -> std::io::Result<()>) -> Result<Vec<f64>> {
    ensure!(n > 0, "nothing to repeat");
    let begin = Instant::now();
    while begin.elapsed() < SETTLED {
        what()?;
    }
    let mut each = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < MEASURED || (each.len() as u64) < n {
        let start = Instant::now();
        what()?;
        each.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(each)
}
