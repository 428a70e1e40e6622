//! Connections in tasks of tokio.
#![cfg(feature = "tokio")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::world;
use pernet_stack::{TcpListener, TcpStream, UdpSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn tasks_talk_through_the_stack() {
    let w = world();
    // Somebody runs the stack, and time passes.
    let over = Arc::new(AtomicBool::new(false));
    let ticks = {
        let (stack, clock, over) = (w.stack.clone(), Arc::clone(&w.clock), Arc::clone(&over));
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                clock.advance(Duration::from_millis(10));
                let _ = stack.run_timers();
                thread::sleep(Duration::from_millis(1));
            }
        })
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let listener = TcpListener::bind(&w.stack, &w.b, "10.0.0.2:7".parse().unwrap()).unwrap();
    let server = runtime.spawn(async move {
        let (mut stream, _) = listener.accept_async().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(&all).await.unwrap();
        all.len()
    });
    runtime.block_on(async {
        let mut client = TcpStream::connect_async(&w.stack, &w.a, "10.0.0.2:7".parse().unwrap()).await.unwrap();
        client.write_all(&[7; 300_000]).await.unwrap();
        AsyncWriteExt::shutdown(&mut client).await.unwrap();
        let mut back = Vec::new();
        client.read_to_end(&mut back).await.unwrap();
        assert_eq!((back.len(), server.await.unwrap()), (300_000, 300_000));
        let near = UdpSocket::bind(&w.stack, &w.a, "10.0.0.1:0".parse().unwrap()).unwrap();
        let far = UdpSocket::bind(&w.stack, &w.b, "10.0.0.2:9".parse().unwrap()).unwrap();
        let to = far.local_addr();
        let asked = tokio::spawn(async move { far.recv_from_async().await.unwrap().0 });
        tokio::task::yield_now().await;
        near.send_to(b"hello", to).unwrap();
        assert_eq!(asked.await.unwrap(), b"hello");
    });
    over.store(true, Ordering::Relaxed);
    ticks.join().unwrap();
}
