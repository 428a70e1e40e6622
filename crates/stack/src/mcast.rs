//! Link-layer multicast addresses that devices listen to (`dev->mc`): of IPv4 groups, of IPv6 groups, and those that an
//! administrator asked for.

use std::collections::BTreeMap;

use crate::dev::{HwAddr, Link};
use crate::errno;
use crate::state::Ns;

/// The lists of a namespace, by the index of the device.
#[derive(Debug, Default)]
pub(crate) struct LinkMulticast(BTreeMap<u32, Vec<Entry>>);

#[derive(Clone, Debug)]
struct Entry {
    address: HwAddr,
    /// How many parties asked for it.
    users: u32,
    /// Whether the administrator is one of them.
    global: bool,
}

/// Why an administrator's address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum McastError {
    /// The device has no list (`ndo_set_rx_mode`), or the request names a family.
    #[error("the device keeps no list of multicast addresses")]
    Unsupported,
    /// The administrator did not ask for that address.
    #[error("no such address was added")]
    NotFound,
}

impl McastError {
    /// The errno that Linux gives.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::Unsupported => errno::EINVAL,
            Self::NotFound => errno::ENOENT,
        }
    }
}

/// One more party wants `address` (`dev_mc_add`).
pub(crate) fn add(ns: Ns<'_>, link: &Link, address: HwAddr) {
    let mut lists = ns.mcast.write();
    let list = lists.0.entry(link.index()).or_default();
    match list.iter_mut().find(|e| e.address == address) {
        Some(entry) => entry.users += 1,
        None => {
            list.reserve_exact(1);
            list.push(Entry { address, users: 1, global: false });
        }
    }
}

/// One party less does (`dev_mc_del`).
pub(crate) fn del(ns: Ns<'_>, link: &Link, address: HwAddr) {
    let mut lists = ns.mcast.write();
    let Some(list) = lists.0.get_mut(&link.index()) else { return };
    drop_user(list, address);
    if list.is_empty() {
        lists.0.remove(&link.index());
    }
}

fn drop_user(list: &mut Vec<Entry>, address: HwAddr) {
    if let Some(at) = list.iter().position(|e| e.address == address) {
        list[at].users -= 1;
        if list[at].users == 0 {
            list.remove(at);
        }
    }
}

/// The administrator wants `address` (`dev_mc_add_global`); twice is as good as once.
///
/// # Errors
/// [`McastError::Unsupported`].
pub(crate) fn add_global(ns: Ns<'_>, link: &Link, address: HwAddr) -> Result<(), McastError> {
    listens(link)?;
    let known = ns.peek_mcast().and_then(|lists| find(&lists, link, address).map(|e| e.global));
    if known == Some(true) {
        return Ok(());
    }
    add(ns, link, address);
    let mut lists = ns.mcast.write();
    if let Some(entry) = lists.0.get_mut(&link.index()).and_then(|l| l.iter_mut().find(|e| e.address == address)) {
        entry.global = true;
    }
    Ok(())
}

/// The administrator does not any more (`dev_mc_del_global`).
///
/// # Errors
/// [`McastError`].
pub(crate) fn del_global(ns: Ns<'_>, link: &Link, address: HwAddr) -> Result<(), McastError> {
    listens(link)?;
    {
        let mut lists = ns.mcast.write();
        let list = lists.0.get_mut(&link.index()).ok_or(McastError::NotFound)?;
        let entry = list.iter_mut().find(|e| e.address == address && e.global).ok_or(McastError::NotFound)?;
        entry.global = false;
    }
    del(ns, link, address);
    Ok(())
}

/// The addresses that a device listens to, the oldest first.
pub(crate) fn link_addresses(ns: Ns<'_>, link: &Link) -> Vec<HwAddr> {
    let lists = ns.peek_mcast();
    let list = lists.as_ref().and_then(|lists| lists.0.get(&link.index()));
    list.into_iter().flatten().map(|entry| entry.address).collect()
}

/// The device left (`dev_mc_flush`).
pub(crate) fn flush(ns: Ns<'_>, link: &Link) {
    if ns.peek_mcast().is_some() {
        ns.mcast.write().0.remove(&link.index());
    }
}

/// Devices with Ethernet addresses have a list; the loopback has none.
fn listens(link: &Link) -> Result<(), McastError> {
    const ETHERNET: u16 = 1;
    if link.class().arp_type == ETHERNET { Ok(()) } else { Err(McastError::Unsupported) }
}

fn find<'l>(lists: &'l LinkMulticast, link: &Link, address: HwAddr) -> Option<&'l Entry> {
    lists.0.get(&link.index())?.iter().find(|e| e.address == address)
}

/// `/proc/net/dev_mcast`.
pub(crate) fn proc_net_dev_mcast(ns: Ns<'_>) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let lists = ns.peek_mcast().map(|lists| lists.0.clone()).unwrap_or_default();
    for (index, list) in lists {
        let Some(link) = ns.links.by_index(index) else { continue };
        for entry in list {
            let address: String = entry.address.as_bytes().iter().map(|b| format!("{b:02x}")).collect();
            // A String takes what is written to it.
            let _ = writeln!(
                out,
                "{index:<4} {:<15} {:<5} {:<5} {address}",
                link.name(),
                entry.users,
                u8::from(entry.global)
            );
        }
    }
    out
}
