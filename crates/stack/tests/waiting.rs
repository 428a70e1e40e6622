//! Who waits is woken, and what is due meanwhile is done by somebody.

mod common;

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use common::world;
use pernet_stack::{TcpListener, TcpStream, UdpSocket};

/// Nothing waits for an acknowledgement, which may wait for its time.
fn nodelay(stream: &TcpStream) {
    const TCP_NODELAY: i32 = 1;
    stream.socket().set_tcp_option(TCP_NODELAY, &1_i32.to_ne_bytes()).unwrap();
}

/// The clock stands still all the while: nobody looks again because it is time to.
#[test]
fn threads_that_wait_are_woken_by_what_they_wait_for() {
    let w = world();
    let to = "10.0.0.2:7".parse().unwrap();
    let listener = TcpListener::bind(&w.stack, &w.b, to).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        nodelay(&stream);
        let mut all = 0;
        let mut room = [0; 1000];
        loop {
            let got = stream.read(&mut room).unwrap();
            if got == 0 {
                return all;
            }
            all += got;
            stream.write_all(&room[..got]).unwrap();
        }
    });
    let mut client = TcpStream::connect(&w.stack, &w.a, to).unwrap();
    nodelay(&client);
    let mut room = [0; 5000];
    for _ in 0..200 {
        client.write_all(&[1; 5000]).unwrap();
        client.read_exact(&mut room).unwrap();
    }
    drop(client);
    assert_eq!(server.join().unwrap(), 1_000_000);
}

#[test]
fn a_datagram_wakes_whoever_waits_for_it() {
    let w = world();
    let server = UdpSocket::bind(&w.stack, &w.b, "10.0.0.2:7".parse().unwrap()).unwrap();
    let client = UdpSocket::bind(&w.stack, &w.a, "10.0.0.1:0".parse().unwrap()).unwrap();
    let to = server.local_addr();
    let echo = thread::spawn(move || {
        for _ in 0..100 {
            let (payload, from) = server.recv_from().unwrap();
            server.send_to(&payload, from).unwrap();
        }
    });
    for n in 0..100_u8 {
        client.send_to(&[n], to).unwrap();
        assert_eq!(client.recv_from().unwrap().0, [n]);
    }
    echo.join().unwrap();
}

/// Whoever waits first runs the timers; when he is gone, the next does.
#[test]
fn a_driver_does_what_is_due_and_ends() {
    let w = world();
    let (driver, other) = (w.stack.drive().unwrap(), w.stack.drive().unwrap());
    drop(driver);
    w.clock.advance(Duration::from_secs(3600));
    // Something nearer than what it sleeps for: it looks, and finds the hour over.
    let socket = UdpSocket::bind(&w.stack, &w.a, "10.0.0.1:0".parse().unwrap()).unwrap();
    socket.send_to(b"x", "10.0.0.77:7".parse().unwrap()).unwrap();
    drop(other);
}
