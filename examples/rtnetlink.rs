//! The `rtnetlink` crate on namespaces that are values of this process: no root, no namespace of the kernel, no socket.
//!
//! `cargo run -p pernet-async-socket --example rtnetlink`
//!
//! Two namespaces are made and joined by a veth pair; each end gets its address, the one a route beyond the other. All of it
//! goes through the handle of `rtnetlink`, which does not know; at the end the program asks what is there.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{LinkAttribute, LinkFlags};
use netlink_packet_route::route::{RouteAddress, RouteAttribute};
use pernet::{Cred, Namespaces, NetRef};
use pernet_async_socket::PernetSocket;
use pernet_rtnl::{LocalClient, Protocol, Rtnetlink};
use pernet_stack::Stack;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

/// What the requests below call the namespace `blue` by: a descriptor of this client, though none of this process.
const BLUE: i32 = 5;

fn main() -> Result<()> {
    // Nothing here waits for the outside world: a runtime without its drivers will do.
    tokio::runtime::Builder::new_current_thread().build()?.block_on(configure())
}

async fn configure() -> Result<()> {
    let system = Namespaces::new();
    let stack = Stack::register(&system)?;
    let rtnl = Rtnetlink::new(&system, &stack)?;
    let me = Cred::root(system.init_user_ns());
    let (red, blue) = (system.create(&me)?, system.create(&me)?);

    let client = LocalClient::new(me, 1).with_fd(BLUE, &blue);
    let (in_red, in_blue) = (handle(&rtnl, &red, &client), handle(&rtnl, &blue, &client));

    in_red.link().add(LinkVeth::new("veth0", "veth1").build()).execute().await?;
    let away = LinkMessageBuilder::<LinkUnspec>::new().name("veth1").setns_by_fd(BLUE).build();
    in_red.link().set(away).execute().await?;

    let near = up(&in_red, "veth0", Ipv4Addr::new(192, 0, 2, 1)).await?;
    up(&in_blue, "veth1", Ipv4Addr::new(192, 0, 2, 2)).await?;
    let beyond = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(Ipv4Addr::new(198, 51, 100, 0), 24)
        .gateway(Ipv4Addr::new(192, 0, 2, 2))
        .output_interface(near)
        .build();
    in_red.route().add(beyond).execute().await?;

    for (name, handle) in [("red", &in_red), ("blue", &in_blue)] {
        println!("{name}:");
        list(handle).await?;
    }
    Ok(())
}

/// A handle on `net`, and the connection behind it as a task of this runtime.
fn handle(rtnl: &Rtnetlink, net: &NetRef, client: &LocalClient) -> Handle {
    use pernet_rtnl::Client;
    let socket = rtnl.open(net, Protocol::Route, &client.cred());
    let (connection, handle, _events) = rtnetlink::from_socket(PernetSocket::new(socket, client.clone()));
    tokio::spawn(connection);
    handle
}

/// Gives the device an address and sets it up; says which index it has.
async fn up(handle: &Handle, name: &str, address: Ipv4Addr) -> Result<u32> {
    let found = handle.link().get().match_name(name).execute().try_next().await?;
    let index = found.with_context(|| format!("no {name}"))?.header.index;
    handle.address().add(index, IpAddr::V4(address), 24).execute().await?;
    handle.link().set(LinkMessageBuilder::<LinkUnspec>::new().index(index).up().build()).execute().await?;
    Ok(index)
}

/// Prints links, IPv4 addresses and the IPv4 routes of the main table.
async fn list(handle: &Handle) -> Result<()> {
    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await? {
        let up = if link.header.flags.contains(LinkFlags::Up) { "up" } else { "down" };
        for attribute in &link.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                println!("  link {name} is {up}");
            }
        }
    }
    let mut addresses = handle.address().get().execute();
    while let Some(address) = addresses.try_next().await? {
        for attribute in &address.attributes {
            if let AddressAttribute::Local(IpAddr::V4(local)) = attribute {
                println!("  address {local}/{}", address.header.prefix_len);
            }
        }
    }
    let mut routes = handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
    while let Some(route) = routes.try_next().await? {
        let (mut to, mut via) = (None, String::new());
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(address)) => to = Some(*address),
                RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => via = format!(" via {gateway}"),
                _ => {}
            }
        }
        if route.header.table == 254
            && let Some(to) = to
        {
            println!("  route {to}/{}{via}", route.header.destination_prefix_length);
        }
    }
    Ok(())
}
