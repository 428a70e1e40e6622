//! `/sys/class/net/lo` against Linux 6.18, and how it follows the device.
//!
//! `data/sysfs_lo.txt` has a line for each entry: `D mode path`, `F mode path : content or ERR errno text`, or
//! `L path -> target`.

use pernet_stack::{
    AttrError, EntryKind, HwAddr, IfFlags, IfName, LOOPBACK, Link, Links, NameAssign, OperState, sysfs_attr,
    sysfs_entries,
};

const KERNEL: &str = include_str!("data/sysfs_lo.txt");

fn lo() -> Link {
    let links = Links::new(0);
    let mut lo = Link::new(&LOOPBACK, IfName::new("lo").unwrap());
    lo.name_assign = NameAssign::Predictable;
    Link::clone(&links.insert(lo, None).unwrap())
}

/// What the file holds, or the errno of reading it, in the form of the vector file.
fn shown(link: &Link, path: &str) -> String {
    match sysfs_attr(link, path) {
        Some(Ok(text)) => format!("'{}'", text.replace('\n', "\\n")),
        Some(Err(error)) => format!("ERR {}", error.errno()),
        None => "no such file".into(),
    }
}

#[test]
fn every_entry_is_as_in_the_kernel() {
    let link = lo();
    let mut entries = sysfs_entries(&link);
    for line in KERNEL.lines() {
        let (kind, rest) = line.split_at(2);
        let (path, mode, entry_kind) = match kind {
            "L " => {
                let (path, target) = rest.split_once(" -> ").unwrap();
                assert_eq!(target, "../../../../class/net");
                (path, 0o777, EntryKind::Symlink("../../../../class/net"))
            }
            _ => {
                let (mode, rest) = rest.split_once(' ').unwrap();
                let mode = u16::from_str_radix(mode, 8).unwrap();
                let Some((path, content)) = rest.split_once(" : ") else {
                    let place = entries.iter().position(|e| (e.path.as_str(), e.mode) == (rest, mode));
                    assert_eq!(entries.remove(place.expect(rest)).kind, EntryKind::Dir);
                    continue;
                };
                let want = content.strip_prefix("ERR ").map(|e| format!("ERR {}", e.split(' ').next().unwrap()));
                assert_eq!(shown(&link, path), want.unwrap_or_else(|| content.to_owned()), "{path}");
                (path, mode, EntryKind::File)
            }
        };
        let place = entries.iter().position(|e| e.path == path).unwrap_or_else(|| panic!("{path} is not listed"));
        let entry = entries.remove(place);
        assert_eq!((entry.mode, entry.kind), (mode, entry_kind), "{path}");
    }
    assert!(entries.is_empty(), "not in the kernel: {entries:?}");
}

#[test]
fn what_changes_when_the_device_comes_up() {
    let mut link = lo();
    link.stored_flags |= IfFlags::UP | IfFlags::PROMISC;
    link.alias = Some("hello world".into());
    link.group = 5;
    let expected = [
        ("carrier", "'1\\n'"),
        ("dormant", "'0\\n'"),
        ("testing", "'0\\n'"),
        ("flags", "'0x109\\n'"),
        ("ifalias", "'hello world\\n'"),
        ("netdev_group", "'5\\n'"),
        ("operstate", "'unknown\\n'"),
        ("speed", "ERR 22"),
        ("duplex", "ERR 22"),
    ];
    for (path, text) in expected {
        assert_eq!(shown(&link, path), text, "{path}");
    }
}

#[test]
fn a_device_with_several_queues() {
    let mut link = lo();
    link.tx_queues = 2;
    link.rx_queues = 3;
    let dirs = |prefix: &str| {
        sysfs_entries(&link).iter().filter(|e| e.path.starts_with(prefix) && e.kind == EntryKind::Dir).count()
    };
    assert_eq!((dirs("queues/tx-"), dirs("queues/rx-")), (2, 3));
    assert_eq!(shown(&link, "queues/tx-1/traffic_class"), "'0\\n'");
    assert_eq!(shown(&link, "queues/tx-0/xps_cpus"), "'0\\n'");
    assert_eq!(shown(&link, "queues/rx-2/rps_cpus"), "'0\\n'");
    for missing in
        ["queues/tx-2/tx_maxrate", "queues/tx-01/tx_maxrate", "queues/tx-+1/tx_maxrate", "queues/tx-/tx_maxrate"]
    {
        assert_eq!(shown(&link, missing), "no such file", "{missing}");
    }
}

#[test]
fn attributes_come_from_the_device() {
    let links = Links::new(0);
    let mut link = Link::new(&LOOPBACK, IfName::new("v0").unwrap());
    link.lower = Some(9);
    link.address = HwAddr::new(&[0x36, 0x64, 0xbf, 0x5c, 0x22, 0xe7]).unwrap();
    link.addr_assign = 1;
    link.carrier_downs = 1;
    link.carrier_ups = 2;
    link.mtu = 1500;
    link.stored_flags = IfFlags::from_bits(0x1003);
    link.stored_operstate = OperState::LowerLayerDown;
    link.counters().tx_packets.fetch_add(42, std::sync::atomic::Ordering::Relaxed);
    let link = links.insert(link, Some(3)).unwrap();
    let expected = [
        ("iflink", "'9\\n'"),
        ("ifindex", "'3\\n'"),
        ("address", "'36:64:bf:5c:22:e7\\n'"),
        ("addr_assign_type", "'1\\n'"),
        ("carrier_changes", "'3\\n'"),
        ("mtu", "'1500\\n'"),
        ("name_assign_type", "'3\\n'"),
        ("operstate", "'lowerlayerdown\\n'"),
        ("uevent", "'INTERFACE=v0\\nIFINDEX=3\\n'"),
        ("statistics/tx_packets", "'42\\n'"),
        ("statistics/rx_otherhost_dropped", "no such file"),
        ("statistics", "no such file"),
        ("nothing", "no such file"),
        ("power/nothing", "no such file"),
    ];
    for (path, text) in expected {
        assert_eq!(shown(&link, path), text, "{path}");
    }
    assert_eq!(sysfs_attr(&lo(), "carrier"), Some(Err(AttrError::Down)));
}
