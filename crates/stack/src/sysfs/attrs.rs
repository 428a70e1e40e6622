//! The attributes themselves, one line each.

use super::{AttrError, Entry, EntryKind};
use crate::{KindData, Link, LinkStats, NameAssign, Tun};

/// Mode of a directory in sysfs.
pub const SYSFS_DIR_MODE: u16 = 0o755;

type Show = fn(&Link) -> Result<String, AttrError>;

/// A file: its name, its mode, what it reads as without the newline.
struct Attr(&'static str, u16, Show);

/// Files of the device's own directory.
const DEVICE: &[Attr] = &[
    Attr("addr_assign_type", 0o444, |l| Ok(l.addr_assign.to_string())),
    Attr("addr_len", 0o444, |l| Ok(l.address.as_bytes().len().to_string())),
    Attr("address", 0o444, |l| Ok(l.address.to_string())),
    Attr("broadcast", 0o444, |l| Ok(l.broadcast.to_string())),
    Attr("carrier", 0o644, |l| while_up(l, |l| l.carrier.into())),
    Attr("carrier_changes", 0o444, |l| Ok(l.carrier_ups.wrapping_add(l.carrier_downs).to_string())),
    Attr("carrier_down_count", 0o444, |l| Ok(l.carrier_downs.to_string())),
    Attr("carrier_up_count", 0o444, |l| Ok(l.carrier_ups.to_string())),
    // dev_id and dev_port tell the ports of one adapter apart; no emulated device shares an adapter.
    Attr("dev_id", 0o444, |_| Ok("0x0".into())),
    Attr("dev_port", 0o444, |_| Ok("0".into())),
    Attr("dormant", 0o444, |l| while_up(l, |l| l.dormant.into())),
    Attr("duplex", 0o444, |l| match settings(l)?.duplex {
        0 => Ok("half".into()),
        1 => Ok("full".into()),
        _ => Ok("unknown".into()),
    }),
    Attr("flags", 0o644, |l| Ok(format!("{:#x}", l.stored_flags.bits()))),
    Attr("gro_flush_timeout", 0o644, |_| Ok("0".into())),
    Attr("ifalias", 0o644, |l| Ok(l.alias.as_deref().unwrap_or_default().into())),
    Attr("ifindex", 0o444, |l| Ok(l.index().to_string())),
    Attr("iflink", 0o444, |l| Ok(l.iflink().to_string())),
    Attr("link_mode", 0o444, |l| Ok(l.link_mode.to_string())),
    Attr("mtu", 0o644, |l| Ok(l.mtu.to_string())),
    Attr("name_assign_type", 0o444, |l| match l.name_assign {
        NameAssign::Unknown => Err(AttrError::NotApplicable),
        known => Ok((known as u8).to_string()),
    }),
    Attr("napi_defer_hard_irqs", 0o644, |_| Ok("0".into())),
    Attr("netdev_group", 0o644, |l| Ok(l.group.to_string())),
    Attr("operstate", 0o444, |l| Ok(l.operstate().name().into())),
    Attr("proto_down", 0o644, |l| Ok(u8::from(l.proto_down).to_string())),
    Attr("speed", 0o444, |l| Ok(settings(l)?.speed.cast_signed().to_string())),
    Attr("testing", 0o444, |l| while_up(l, |l| l.testing.into())),
    Attr("threaded", 0o644, |_| Ok("0".into())),
    Attr("tx_queue_len", 0o644, |l| Ok(l.tx_queue_len.cast_signed().to_string())),
    Attr("type", 0o444, |l| Ok(l.class().arp_type.to_string())),
    Attr("uevent", 0o644, |l| Ok(format!("INTERFACE={}\nIFINDEX={}", l.name(), l.index()))),
];

/// Further files of a device whose cable is a file.
const TUN: &[Attr] = &[
    Attr("group", 0o444, |l| tun(l, |t| t.group.map_or(-1, i64::from).to_string())),
    Attr("owner", 0o444, |l| tun(l, |t| t.owner.map_or(-1, i64::from).to_string())),
    Attr("tun_flags", 0o444, |l| tun(l, |t| format!("{:#x}", t.flags))),
];

fn tun(link: &Link, show: fn(&Tun) -> String) -> Result<String, AttrError> {
    match link.data() {
        Some(KindData::Tun(tun)) => Ok(show(tun)),
        _ => Err(AttrError::NotApplicable),
    }
}

/// What the device's own directory has beside what all have.
fn of_kind(link: &Link) -> &'static [Attr] {
    if matches!(link.data(), Some(KindData::Tun(_))) { TUN } else { &[] }
}

/// Files of `power/`: runtime power management, which network devices without hardware do not have.
const POWER: &[Attr] = &[
    Attr("autosuspend_delay_ms", 0o644, |_| Err(AttrError::NoPowerManagement)),
    Attr("control", 0o644, |_| Ok("auto".into())),
    Attr("runtime_active_time", 0o444, |_| Ok("0".into())),
    Attr("runtime_status", 0o444, |_| Ok("unsupported".into())),
    Attr("runtime_suspended_time", 0o444, |_| Ok("0".into())),
];

/// Files of each `queues/rx-N/`: no packet steering.
const RX_QUEUE: &[Attr] =
    &[Attr("rps_cpus", 0o644, |_| Ok("0".into())), Attr("rps_flow_cnt", 0o644, |_| Ok("0".into()))];

/// Files of each `queues/tx-N/`: no rate limit, no steering, and nothing to steer with one queue only.
const TX_QUEUE: &[Attr] = &[
    Attr("traffic_class", 0o444, multi_queue),
    Attr("tx_maxrate", 0o644, |_| Ok("0".into())),
    Attr("tx_timeout", 0o444, |_| Ok("0".into())),
    Attr("xps_cpus", 0o644, multi_queue),
    Attr("xps_rxqs", 0o644, |_| Ok("0".into())),
];

/// Counters of `rtnl_link_stats64` that have no file in `statistics/`.
const NOT_IN_STATISTICS: &[&str] = &["rx_otherhost_dropped"];

/// Speed and duplex, of a device that is up and has them.
fn settings(link: &Link) -> Result<crate::EthSettings, AttrError> {
    link.eth_settings().filter(|_| link.is_up()).ok_or(AttrError::NotApplicable)
}

/// Queues in use: a pair of cables has room for one a processor, and uses one.
fn queues(link: &Link) -> (u32, u32) {
    if link.class().kind == Some("veth") { (1, 1) } else { (link.rx_queues, link.tx_queues) }
}

fn while_up(link: &Link, value: fn(&Link) -> u8) -> Result<String, AttrError> {
    if link.is_up() { Ok(value(link).to_string()) } else { Err(AttrError::Down) }
}

fn multi_queue(link: &Link) -> Result<String, AttrError> {
    if link.tx_queues > 1 { Ok("0".into()) } else { Err(AttrError::SingleQueue) }
}

pub(super) fn entries(link: &Link) -> Vec<Entry> {
    let mut out = Vec::new();
    let mut dir = |path: &str, attrs: &[Attr]| {
        let dir = Entry { path: path.into(), kind: EntryKind::Dir, mode: SYSFS_DIR_MODE };
        let file = |a: &Attr| Entry { path: join(path, a.0), kind: EntryKind::File, mode: a.1 };
        out.extend((!path.is_empty()).then_some(dir).into_iter().chain(attrs.iter().map(file)));
    };
    dir("", DEVICE);
    dir("", of_kind(link));
    dir("power", POWER);
    dir("queues", &[]);
    for n in 0..queues(link).0 {
        dir(&format!("queues/rx-{n}"), RX_QUEUE);
    }
    for n in 0..queues(link).1 {
        dir(&format!("queues/tx-{n}"), TX_QUEUE);
    }
    dir("statistics", &[]);
    let counters = LinkStats::default().named();
    let shown = counters.iter().filter(|(name, _)| !NOT_IN_STATISTICS.contains(name));
    out.extend(shown.map(|(name, _)| Entry { path: join("statistics", name), kind: EntryKind::File, mode: 0o444 }));
    // Sysfs keeps all devices in one tree; the class directory lists them.
    let subsystem = EntryKind::Symlink("../../../../class/net");
    out.push(Entry { path: "subsystem".into(), kind: subsystem, mode: 0o777 });
    out
}

pub(super) fn read(link: &Link, path: &str) -> Option<Result<String, AttrError>> {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    let attrs = match dir {
        "" if of_kind(link).iter().any(|a| a.0 == name) => of_kind(link),
        "" => DEVICE,
        "power" => POWER,
        "statistics" => return statistic(link, name).map(Ok),
        _ => queue_attrs(link, dir.strip_prefix("queues/")?)?,
    };
    let Attr(name, _, show) = attrs.iter().find(|a| a.0 == name)?;
    let text = show(link);
    // The one file that is empty instead of an empty line when there is nothing to say.
    Some(text.map(|t| if t.is_empty() && *name == "ifalias" { t } else { t + "\n" }))
}

fn statistic(link: &Link, name: &str) -> Option<String> {
    let counters = link.stats().named();
    let found = counters.iter().find(|(n, _)| *n == name && !NOT_IN_STATISTICS.contains(n));
    found.map(|(_, value)| format!("{value}\n"))
}

fn queue_attrs(link: &Link, queue: &str) -> Option<&'static [Attr]> {
    let (attrs, queues, number) = if let Some(n) = queue.strip_prefix("rx-") {
        (RX_QUEUE, queues(link).0, n)
    } else {
        (TX_QUEUE, queues(link).1, queue.strip_prefix("tx-")?)
    };
    // Only the number as it is printed names the directory: not "00", not "+0".
    let n: u32 = number.parse().ok()?;
    (n < queues && n.to_string() == number).then_some(attrs)
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.into() } else { format!("{dir}/{name}") }
}
