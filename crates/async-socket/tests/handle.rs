//! The handle of `rtnetlink` on namespaces of pernet: answers, errors, dumps, events, threads.
#![forbid(unsafe_code)]

use std::io;
use std::task::{Context, Poll, Waker};

use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkAttribute;
use netlink_sys::{AsyncSocket, SocketAddr};
use pernet::{Cred, Namespaces, NetRef, Nsid, Origin};
use pernet_async_socket::PernetSocket;
use pernet_rtnl::{LocalClient, Protocol, Rtnetlink};
use pernet_stack::Stack;
use rtnetlink::Handle;

/// `RTNLGRP_NSID`.
const GROUP_NSID: u32 = 28;

struct System {
    namespaces: Namespaces,
    rtnl: Rtnetlink,
}

impl System {
    fn new() -> Self {
        let namespaces = Namespaces::new();
        let stack = Stack::register(&namespaces).expect("a stack");
        let rtnl = Rtnetlink::new(&namespaces, &stack).expect("netlink");
        Self { namespaces, rtnl }
    }

    fn root(&self) -> Cred {
        Cred::root(self.namespaces.init_user_ns())
    }

    fn nobody(&self) -> Cred {
        Cred::user(self.namespaces.init_user_ns(), pernet::Uid(65_534))
    }

    fn create(&self) -> NetRef {
        self.namespaces.create(&self.root()).expect("a namespace")
    }

    fn socket(&self, net: &NetRef, cred: &Cred) -> PernetSocket {
        PernetSocket::new(self.rtnl.open(net, Protocol::Route, cred), LocalClient::new(cred.clone(), 100))
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

/// A handle whose connection runs in this runtime.
fn connect(socket: PernetSocket) -> Handle {
    let (connection, handle, _) = rtnetlink::from_socket(socket);
    tokio::spawn(connection);
    handle
}

async fn names(handle: &Handle) -> Vec<String> {
    let links: Vec<_> = handle.link().get().execute().try_collect().await.expect("a dump");
    let name = |attr| if let LinkAttribute::IfName(name) = attr { Some(name) } else { None };
    links.into_iter().flat_map(|link| link.attributes.into_iter().filter_map(name)).collect()
}

#[test]
fn a_handle_lists_the_links_of_its_namespace() {
    let system = System::new();
    block_on(async {
        let handle = connect(system.socket(&system.create(), &system.root()));
        assert_eq!(names(&handle).await, ["lo"]);
        let mut found = handle.link().get().match_name("lo").execute();
        assert_eq!(found.try_next().await.expect("an answer").expect("lo").header.index, 1);
        assert!(found.try_next().await.expect("the end").is_none());
    });
}

#[test]
fn a_refusal_is_an_error_with_its_errno() {
    let system = System::new();
    let refusal = |cred: &Cred| {
        block_on(async {
            let handle = connect(system.socket(&system.create(), cred));
            match handle.link().del(77).execute().await.expect_err("no such link") {
                rtnetlink::Error::NetlinkError(message) => message.raw_code(),
                other => panic!("{other:?}"),
            }
        })
    };
    assert_eq!(refusal(&system.nobody()), -1, "EPERM");
    assert_ne!(refusal(&system.root()), -1);
}

#[test]
fn events_of_a_group_come_as_unsolicited_messages() {
    let system = System::new();
    let (observer, peer) = (system.create(), system.create());
    block_on(async {
        let socket = system.socket(&observer, &system.root());
        assert_eq!(socket.bind_auto().expect("bound").port_number(), 100);
        socket.add_membership(GROUP_NSID).expect("joined");
        let (connection, _handle, mut messages) = rtnetlink::from_socket(socket);
        tokio::spawn(connection);
        // The connection sleeps before there is anything to hear.
        tokio::task::yield_now().await;
        observer.assign_nsid(&peer, Nsid::new(7), Origin::KERNEL).expect("named");
        let (message, from): (NetlinkMessage<RouteNetlinkMessage>, SocketAddr) = messages.next().await.expect("heard");
        assert_eq!(from.port_number(), 0);
        let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(message)) = message.payload else {
            panic!("{message:?}");
        };
        assert!(format!("{:?}", message.attributes).contains("Id(7)"), "{message:?}");
    });
}

/// A waker that is lost, or woken while another thread polls, would leave a request without its answer for good.
#[test]
fn many_tasks_on_many_threads_all_get_their_answers() {
    let system = System::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().expect("a runtime");
    runtime.block_on(async {
        let nets: Vec<NetRef> = (0..3).map(|_| system.create()).collect();
        let mut tasks = Vec::new();
        for net in &nets {
            let (connection, handle, _) = rtnetlink::from_socket(system.socket(net, &system.root()));
            tokio::spawn(connection);
            for _ in 0..4 {
                let handle = handle.clone();
                tasks.push(tokio::spawn(async move {
                    for _ in 0..200 {
                        assert_eq!(names(&handle).await, ["lo"]);
                    }
                }));
            }
        }
        for task in tasks {
            task.await.expect("no task panicked");
        }
    });
}

#[test]
fn two_sockets_of_one_client_have_ports_of_their_own() {
    let system = System::new();
    let net = system.create();
    let [first, second] = [(); 2].map(|()| system.socket(&net, &system.root()));
    let (one, two) = (first.bind_auto().expect("bound"), second.bind_auto().expect("bound"));
    assert_ne!(one.port_number(), two.port_number());
    let taken = system.socket(&net, &system.root()).bind(&one).expect_err("taken");
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
}

/// A buffer that is too small cuts, as a system call does; the whole datagram is there for who asks for it.
#[test]
fn a_datagram_is_cut_to_the_buffer_or_given_whole() {
    let system = System::new();
    let socket = system.socket(&system.create(), &system.root());
    let mut cx = Context::from_waker(Waker::noop());
    // RTM_GETLINK of the device with index 1.
    let mut request = [0; 32];
    request[0] = 32;
    request[4] = 18;
    request[6] = 1;
    request[20] = 1;
    let to = SocketAddr::new(0, 0);
    for _ in 0..2 {
        assert!(matches!(socket.poll_send_to(&mut cx, &request, &to), Poll::Ready(Ok(32))));
    }
    let mut small = bytes::BytesMut::with_capacity(20);
    assert!(matches!(socket.poll_recv(&mut cx, &mut small), Poll::Ready(Ok(()))));
    let Poll::Ready(Ok((whole, from))) = socket.poll_recv_from_full(&mut cx) else { panic!("no second answer") };
    assert_eq!((from.port_number(), small.len() < whole.len()), (0, true), "{small:?}");
    assert_eq!(whole[..4], u32::try_from(whole.len()).expect("short").to_ne_bytes());
    assert_eq!(small[..], whole[..small.len()]);
    assert!(socket.poll_recv_from_full(&mut cx).is_pending());
}

#[test]
fn an_overrun_is_an_error_to_the_reader_and_not_the_end() {
    let system = System::new();
    let net = system.create();
    let socket = system.socket(&net, &system.root());
    // Who is not bound hears nothing.
    socket.bind(&SocketAddr::new(0, 0)).expect("bound");
    socket.add_membership(GROUP_NSID).expect("joined");
    socket.get_ref().set_receive_buffer(2304);
    for _ in 0..9 {
        let peer = system.create();
        net.assign_nsid(&peer, None, Origin::KERNEL).expect("named");
    }
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Err(lost)) = socket.poll_recv_from_full(&mut cx) else { panic!("no error") };
    assert_eq!(lost.raw_os_error(), Some(105), "ENOBUFS");
    assert!(matches!(socket.poll_recv_from_full(&mut cx), Poll::Ready(Ok(_))));
}

#[test]
fn without_a_namespace_there_is_no_socket() {
    let refused = rtnetlink::new_connection_with_socket::<PernetSocket>().err().expect("refused");
    assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
    assert!(refused.to_string().contains("from_socket"), "{refused}");
}

#[test]
fn a_connection_ends_with_its_handles_and_lets_the_namespace_go() {
    let system = System::new();
    let net = system.create();
    let dead = net.handle();
    block_on(async {
        let (connection, handle, messages) = rtnetlink::from_socket(system.socket(&net, &system.root()));
        let running = tokio::spawn(connection);
        assert_eq!(names(&handle).await, ["lo"]);
        drop((handle, messages, net));
        running.await.expect("over");
    });
    assert!(dead.upgrade().is_none());
}

#[test]
fn it_is_send_so_that_a_runtime_of_many_threads_takes_it() {
    fn check<T: Send>() {}
    check::<PernetSocket>();
}
