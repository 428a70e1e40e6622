//! A network as a value: a router, a server behind it and a hundred hosts, all of this process; no root, no socket, no
//! system call about networks.
//!
//! `cargo run --release -p pernet-stack --example echo`
//!
//! Each host has a cable to the router and its default route that way. The server is an ordinary thread that reads and writes
//! [`TcpStream`]s, as of `std::net`; every host connects to it across the router, says its name and hears it back. A host
//! whose cable is pulled then finds out as it would anywhere.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::thread;

use anyhow::{Context, Result, anyhow};
use pernet::{Cred, Namespaces, NetRef, Origin};
use pernet_stack::{
    FlagChange, Gateway, IfFlags, Insert, KindSpec, LinkChange, NewAddr4, NewLink, RouteConfig, Stack, TcpListener,
    TcpStream, VethPeer, route_type,
};

const HOSTS: u8 = 100;

fn main() -> Result<()> {
    let system = Namespaces::new();
    let me = Cred::root(system.init_user_ns());
    let stack = Stack::register(&system)?;
    let router = system.create(&me)?;
    stack.rtnl(Origin::KERNEL).sysctl_write(&router, "ipv4/ip_forward", b"1")?;

    // Host 0 is the server; host N has 10.0.N.2, and the router is 10.0.N.1 to it.
    let hosts: Vec<NetRef> =
        (0..=HOSTS).map(|n| plug_in(&stack, &router, n, system.create(&me)?)).collect::<Result<_>>()?;
    let listener = TcpListener::bind(&stack, &hosts[0], "10.0.0.2:7".parse()?)?;
    let to = listener.local_addr()?;
    let server = thread::spawn(move || serve(&listener));

    for (n, host) in hosts.iter().enumerate().skip(1) {
        let said = format!("this is host {n}");
        let mut stream = TcpStream::connect(&stack, host, to).with_context(|| format!("host {n}"))?;
        stream.write_all(said.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut heard = String::new();
        stream.read_to_string(&mut heard)?;
        anyhow::ensure!(heard == said, "host {n} heard {heard:?}");
    }
    let seen = server.join().map_err(|_| anyhow!("the server panicked"))??;
    println!("{} hosts were heard, {} to {}", seen.len(), seen.first().context("none")?, seen.last().context("none")?);

    let carried = stack.links(&router).and_then(|links| links.by_name("to0")).context("no cable")?.stats();
    println!("the router carried their packets: {}", carried.tx_packets >= 4 * u64::from(HOSTS));

    set_up(&stack, &hosts[1], "eth0", false)?;
    let error = TcpStream::connect(&stack, &hosts[1], to).expect_err("its cable is down");
    println!("host 1, unplugged: {error}");
    Ok(())
}

/// Echoes until everybody was there; says who was.
fn serve(listener: &TcpListener) -> Result<BTreeSet<std::net::IpAddr>> {
    let mut seen = BTreeSet::new();
    while seen.len() < usize::from(HOSTS) {
        let (mut stream, peer) = listener.accept()?;
        seen.insert(peer.ip());
        let mut said = Vec::new();
        stream.read_to_end(&mut said)?;
        stream.write_all(&said)?;
    }
    Ok(seen)
}

/// Gives `host` its cable to the router, its address and its default route.
fn plug_in(stack: &Stack, router: &NetRef, n: u8, host: NetRef) -> Result<NetRef> {
    let named = |name: String| LinkChange { name: Some(name.into()), ..LinkChange::default() };
    let end = LinkChange { net: Some(host.clone()), ..named("eth0".to_owned()) };
    let mut cable = NewLink::new(KindSpec::Veth(Box::new(VethPeer { change: Some(end), ..VethPeer::default() })));
    cable.change = named(format!("to{n}"));
    // Each change is a transaction of its own: the guard is gone at the end of the statement.
    stack.rtnl(Origin::KERNEL).new_link(router, &cable)?;
    for (net, device, last) in [(router, format!("to{n}"), 1), (&host, "eth0".to_owned(), 2)] {
        let address = NewAddr4::new(set_up(stack, net, &device, true)?, Ipv4Addr::new(10, 0, n, last), 24);
        stack.rtnl(Origin::KERNEL).new_addr4(net, &address)?;
    }
    let route = RouteConfig {
        kind: route_type::UNICAST,
        gateway: Gateway::V4(Ipv4Addr::new(10, 0, n, 1)),
        ..RouteConfig::default()
    };
    let how = Insert { create: true, exclusive: true, replace: false, append: false };
    stack.rtnl(Origin::KERNEL).new_route4(&host, &route, how)?;
    Ok(host)
}

/// `ip link set DEVICE up`, or down; which index it has.
fn set_up(stack: &Stack, net: &NetRef, device: &str, up: bool) -> Result<u32> {
    let links = stack.links(net).context("the namespace is gone")?;
    let index = links.by_name(device).with_context(|| format!("no device {device}"))?.index();
    let flags = FlagChange { flags: if up { IfFlags::UP } else { IfFlags::default() }, mask: IfFlags::UP };
    stack.rtnl(Origin::KERNEL).set_link(net, index, &LinkChange { flags: Some(flags), ..LinkChange::default() })?;
    Ok(index)
}
