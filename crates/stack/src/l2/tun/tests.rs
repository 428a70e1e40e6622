use pernet::{NetRef, Origin};

use super::*;
use crate::dev::TunRequest;
use crate::l3::tests::{World, plain};

/// A file, and a device of its own that is up.
fn file(world: &World, net: &NetRef, name: &str, flags: u16) -> (TunPlace, Arc<TunQueue>) {
    let queue = Arc::new(TunQueue::default());
    let place = attach(world, net, name, flags, &queue);
    world.up(net, name);
    (place, queue)
}

fn attach(world: &World, net: &NetRef, name: &str, flags: u16, queue: &Arc<TunQueue>) -> TunPlace {
    let request = TunRequest { name: name.into(), flags, index: None, privileged: true, uid: 0, groups: Vec::new() };
    world.stack.rtnl(Origin::KERNEL).attach_tun(net, &request, queue).unwrap()
}

fn read(world: &World, place: &TunPlace, queue: &TunQueue) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    world.stack.tun_read(place, queue, |bytes| {
        out.push(bytes.to_vec());
        true
    });
    out
}

/// An echo request from 10.1.1.2 to 10.1.1.1, with eight bytes of data.
fn echo() -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 36, 0, 1, 0, 0, 64, 1, 0, 0, 10, 1, 1, 2, 10, 1, 1, 1, 8, 0, 0, 0, 0, 7, 0, 1];
    packet.extend(*b"xxxxxxxx");
    let sum = l3::internet_checksum(&packet[..20], 0);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let sum = l3::internet_checksum(&packet[20..], 0);
    packet[22..24].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn quiet(world: &World, net: &NetRef) {
    world.sysctl(net, "ipv6/conf/default/disable_ipv6", "1");
    world.sysctl(net, "ipv6/conf/all/disable_ipv6", "1");
}

#[test]
fn what_is_written_is_answered() {
    let world = World::new();
    let a = world.net();
    quiet(&world, &a);
    let (place, queue) = file(&world, &a, "t0", flag::TUN | flag::NO_PI);
    world.addr(&a, "t0", "10.1.1.1/24");
    world.stack.tun_write(&place, &echo()).unwrap();
    let answers = read(&world, &place, &queue);
    assert_eq!(answers.len(), 1);
    // The answer, whose checksum Linux gave for these bytes.
    assert_eq!(answers[0][20..], *b"\x00\x00\x1e\x16\x00\x07\x00\x01xxxxxxxx");
    let stats = world.stats(&a, "t0");
    assert_eq!((stats.rx_packets, stats.rx_bytes, stats.tx_packets, stats.tx_bytes), (1, 36, 1, 36));
}

#[test]
fn it_is_counted_when_read_and_waits_while_nobody_does() {
    let world = World::new();
    let a = world.net();
    quiet(&world, &a);
    let (place, queue) = file(&world, &a, "t0", flag::TUN | flag::NO_PI);
    world.addr(&a, "t0", "10.1.1.1/24");
    for _ in 0..600 {
        world.stack.tun_write(&place, &echo()).unwrap();
    }
    let stats = world.stats(&a, "t0");
    assert_eq!((stats.rx_packets, stats.tx_packets, stats.tx_dropped), (600, 0, 100));
    let mut seen = 0;
    world.stack.tun_read(&place, &queue, |_| {
        seen += 1;
        seen <= 7
    });
    assert_eq!(world.stats(&a, "t0").tx_packets, 7);
    assert_eq!(read(&world, &place, &queue).len(), 493);
}

#[test]
fn what_is_no_packet_is_refused() {
    let world = World::new();
    let a = world.net();
    quiet(&world, &a);
    let (place, _queue) = file(&world, &a, "t0", flag::TUN | flag::NO_PI);
    for bad in [&b""[..], b"\x15xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"] {
        assert_eq!(world.stack.tun_write(&place, bad), Err(errno::EINVAL));
    }
    // Short ones come in, and are no use to anybody.
    for short in [&b"\x45"[..], b"\x45xxxxxxxxxxxxxxxxxx", b"\x60xxxxxxxxxx"] {
        world.stack.tun_write(&place, short).unwrap();
    }
    let stats = world.stats(&a, "t0");
    assert_eq!((stats.rx_packets, stats.rx_bytes, stats.rx_dropped), (3, 31, 2));
    world.flags(&a, "t0", crate::dev::IfFlags::from_bits(0), crate::dev::IfFlags::UP);
    assert_eq!(world.stack.tun_write(&place, &echo()), Err(errno::EIO));
    let (tap, _other) = file(&world, &a, "p0", flag::TAP | flag::NO_PI);
    assert_eq!(world.stack.tun_write(&tap, &[0; 13]), Err(errno::EINVAL));
    world.stack.tun_write(&tap, &[0; 14]).unwrap();
    assert_eq!(world.stats(&a, "p0").rx_bytes, 14);
    assert_eq!(world.stack.tun_write(&TunPlace::default(), &echo()), Err(errno::EBADFD));
}

#[test]
fn headers_before_a_packet() {
    let world = World::new();
    let a = world.net();
    quiet(&world, &a);
    let (place, queue) = file(&world, &a, "t0", flag::TUN | flag::VNET_HDR);
    world.addr(&a, "t0", "10.1.1.1/24");
    let mut whole = [&[0, 0, 8, 0][..], &[0; 10], &echo()].concat();
    world.stack.tun_write(&place, &whole).unwrap();
    let answers = read(&world, &place, &queue);
    assert_eq!(answers[0][..14], [0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(answers[0].len(), 14 + 36);
    // A checksum that is yet to be computed: from byte 20 on, put 2 bytes further.
    (whole[4], whole[10], whole[12]) = (NEEDS_CSUM, 20, 2);
    whole[14 + 22..14 + 24].copy_from_slice(&[0, 0]);
    world.stack.tun_write(&place, &whole).unwrap();
    assert_eq!(read(&world, &place, &queue).len(), 1);
    // One that would be beyond the end; a header longer than the packet; pieces of unknown kind.
    for (at, byte) in [(10, 200), (7, 2), (5, 9)] {
        let mut bad = whole.clone();
        bad[at] = byte;
        assert_eq!(world.stack.tun_write(&place, &bad), Err(errno::EINVAL), "{at}");
    }
}

#[test]
fn frames_of_ethernet_have_their_header() {
    let world = World::new();
    let a = world.net();
    quiet(&world, &a);
    let (place, queue) = file(&world, &a, "p0", flag::TAP | flag::NO_PI);
    world.addr(&a, "p0", "10.1.1.1/24");
    world.ping(&a, "10.1.1.2", 8, plain()).unwrap();
    let asked = read(&world, &place, &queue);
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].len(), &asked[0][..6], &asked[0][12..14]), (42, &[0xff; 6][..], &[8, 6][..]));
    // An answer to it.
    let mut answer = asked[0].clone();
    answer.copy_within(6..12, 0);
    answer[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    answer[21] = 2;
    answer.copy_within(22..32, 32);
    answer[22..32].copy_from_slice(&[2, 0, 0, 0, 0, 2, 10, 1, 1, 2]);
    world.stack.tun_write(&place, &answer).unwrap();
    let sent = read(&world, &place, &queue);
    assert_eq!((sent.len(), sent[0].len(), &sent[0][..6]), (1, 14 + 20 + 8 + 8, &[2, 0, 0, 0, 0, 2][..]));
}

#[test]
fn flows_are_spread_over_files_and_stay() {
    let world = World::new();
    let a = world.net();
    quiet(&world, &a);
    let flags = flag::TUN | flag::NO_PI | flag::MULTI_QUEUE;
    let (place, first) = file(&world, &a, "m0", flags);
    let second = Arc::new(TunQueue::default());
    attach(&world, &a, "m0", flags, &second);
    world.addr(&a, "m0", "10.1.1.1/24");
    let send = || {
        for n in 2..60 {
            world.ping(&a, &format!("10.1.1.{n}"), 8, plain()).unwrap();
        }
        [&first, &second].map(|queue| read(&world, &place, queue).into_iter().map(|p| p[19]).collect::<Vec<_>>())
    };
    let [one, two] = send();
    assert!(one.len() > 5 && two.len() > 5 && one.len() + two.len() == 58, "{} {}", one.len(), two.len());
    assert_eq!(send(), [one, two]);
    world.stack.rtnl(Origin::KERNEL).switch_tun_queue(&place, &first, false).unwrap();
    let [one, two] = send();
    assert_eq!((one.len(), two.len()), (0, 58));
}

/// What a program reads has its checksum, whoever left it open and however long the header before it is.
#[test]
fn checksums_are_there_when_a_packet_leaves() {
    let world = World::new();
    let a = world.net();
    let (place, queue) = file(&world, &a, "t0", flag::TUN | flag::NO_PI);
    world.addr(&a, "t0", "10.1.1.1/24");
    world.addr(&a, "t0", "fd00::1/64");
    world.pass(std::time::Duration::from_secs(3));
    read(&world, &place, &queue);
    let sum_of = |packet: &[u8]| {
        let v6 = packet[0] >> 4 == 6;
        let (protocol, at) = if v6 { (packet[6], 40) } else { (packet[9], 20) };
        let of = |at: usize| -> std::net::IpAddr {
            if v6 {
                <[u8; 16]>::try_from(&packet[at..at + 16]).unwrap().into()
            } else {
                <[u8; 4]>::try_from(&packet[at..at + 4]).unwrap().into()
            }
        };
        let (src, dst) = if v6 { (of(8), of(24)) } else { (of(12), of(16)) };
        let start = l3::pseudo_header_sum(src, dst, protocol, packet.len() - at);
        (protocol, dst.to_string(), l3::internet_checksum(&packet[at..], start))
    };
    for to in ["10.1.1.2", "fd00::2"] {
        let v6 = to.contains(':');
        let tcp =
            if v6 { crate::TcpSocket::new_v6(&world.stack, &a) } else { crate::TcpSocket::new_v4(&world.stack, &a) };
        assert_eq!(tcp.connect((to.parse::<std::net::IpAddr>().unwrap(), 7).into()), Err(errno::EINPROGRESS));
        let any = if v6 { "[::]:0" } else { "0.0.0.0:0" };
        let udp = crate::UdpSocket::bind(&world.stack, &a, any.parse().unwrap()).unwrap();
        udp.send_to(b"hello", (to.parse::<std::net::IpAddr>().unwrap(), 9).into()).unwrap();
        let packets: Vec<_> = read(&world, &place, &queue).iter().map(|packet| sum_of(packet)).collect();
        assert_eq!(packets, [(6, to.to_owned(), 0), (17, to.to_owned(), 0)]);
    }
}
