//! Entries made, changed and taken away by hand (`neigh_add`, `neigh_delete`).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use pernet::Net;

use super::entry::{Entry, Moment, NeighFamily, NeighFlags, NeighProxy, NeighReport};
use super::kind::{self, Born, NoProtocol};
use super::parms::NeighParm;
use super::state::NeighState;
use super::table::Neighbours;
use super::update::{Around, Said};
use super::{NeighNotice, Timer, gc, output, solicit};
use crate::dev::{HwAddr, IfFlags, Link};
use crate::errno;
use crate::inet6;
use crate::notice::Notice;
use crate::rtnl::{self, Rtnl};
use crate::state::Ns;

/// Why a change was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NeighError {
    /// No device has that index.
    #[error("no such device")]
    NoDevice,
    /// An entry that is no proxy needs a device.
    #[error("Device not specified")]
    DeviceNotSpecified,
    /// The address has fewer bytes than the device's.
    #[error("Invalid link address")]
    ShortAddress,
    /// There is no such entry.
    #[error("no such entry")]
    NotFound,
    /// There is one already.
    #[error("the entry exists")]
    Exists,
    /// Nobody knows where it is.
    #[error("No link layer address given")]
    NoAddress,
    /// The device does no IPv4.
    #[error("the device does no IPv4")]
    NoInet,
    /// The device does no IPv6.
    #[error("IPv6 is disabled on this device")]
    NoInet6,
    /// A permanent entry is not kept fresh.
    #[error("Invalid NTF_* flag for permanent entry")]
    ManagedPermanent,
    /// Flags of entries do not go with proxies.
    #[error("Invalid NTF_* flag combination")]
    BadFlags,
    /// A new entry cannot be vouched for without saying where it is.
    #[error("Cannot create externally validated neighbor with an invalid state")]
    ValidatedNew,
    /// Nor can one that is there.
    #[error("Cannot mark neighbor as externally validated with an invalid state")]
    ValidatedOld,
    /// The table is full.
    #[error("the neighbour table is full")]
    Full,
    /// IPv6 answers for others on devices that do IPv6 only.
    #[error("the device does no IPv6")]
    NoProxy,
}

impl NeighError {
    /// The errno Linux gives in this case.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::NoDevice => errno::ENODEV,
            Self::NotFound => errno::ENOENT,
            Self::Exists => errno::EEXIST,
            Self::Full | Self::NoProxy => errno::ENOBUFS,
            Self::DeviceNotSpecified
            | Self::ShortAddress
            | Self::NoAddress
            | Self::NoInet
            | Self::NoInet6
            | Self::ManagedPermanent
            | Self::BadFlags
            | Self::ValidatedNew
            | Self::ValidatedOld => errno::EINVAL,
        }
    }

    /// The sentence that goes with it, where Linux has one.
    #[must_use]
    pub const fn text(self) -> Option<&'static str> {
        Some(match self {
            Self::DeviceNotSpecified => "Device not specified",
            Self::ShortAddress => "Invalid link address",
            Self::NoAddress => "No link layer address given",
            Self::NoInet6 => "IPv6 is disabled on this device",
            Self::ManagedPermanent => "Invalid NTF_* flag for permanent entry",
            Self::BadFlags => "Invalid NTF_* flag combination",
            Self::ValidatedNew => "Cannot create externally validated neighbor with an invalid state",
            Self::ValidatedOld => "Cannot mark neighbor as externally validated with an invalid state",
            Self::NoDevice | Self::NotFound | Self::Exists | Self::NoInet | Self::Full | Self::NoProxy => return None,
        })
    }
}

impl From<NoProtocol> for NeighError {
    fn from(missing: NoProtocol) -> Self {
        match missing {
            NoProtocol::V4 => Self::NoInet,
            NoProtocol::V6 => Self::NoInet6,
        }
    }
}

/// Which entry: of a device, which must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighKey {
    /// The device.
    pub ifindex: u32,
    /// The neighbour.
    pub dst: IpAddr,
}

/// Which proxy: of a device, or (0) of any.
pub type ProxyKey = NeighKey;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct NewNeigh<'a> {
    /// Which entry.
    pub key: NeighKey,
    /// What is to be believed of it.
    pub state: NeighState,
    /// `NTF_*`, `USE` among them.
    pub flags: NeighFlags,
    /// Where it is: at least as many bytes as the device's address has; more are ignored.
    pub address: Option<&'a [u8]>,
    /// `RTPROT_*`; 0 leaves it.
    pub protocol: u8,
    /// Make it if it is not there.
    pub create: bool,
    /// It must not be there.
    pub exclusive: bool,
    /// Replace what is known of it.
    pub replace: bool,
}

/// What a change does to the table, decided before anything is touched.
enum Plan {
    New(Box<Entry>),
    Changed(Box<Entry>),
}

impl Rtnl<'_> {
    /// Makes or changes an entry, or a proxy if the flags say so.
    ///
    /// Linux leaves an empty entry behind where it refuses one for want of an address; here a refusal leaves nothing.
    ///
    /// # Errors
    /// [`NeighError`]; nothing has changed then.
    pub fn new_neigh(&mut self, net: &Net, new: &NewNeigh<'_>) -> Result<(), NeighError> {
        let ns = self.ns(net).ok_or(NeighError::NoDevice)?;
        let link = device(ns, new.key.ifindex)?;
        let address = match (&link, new.address) {
            (Some(link), Some(given)) => Some(link_address(link, given)?),
            _ => None,
        };
        if new.flags.has(NeighFlags::PROXY) {
            return new_proxy(self, ns, link.as_deref(), new);
        }
        let link = link.ok_or(NeighError::DeviceNotSpecified)?;
        if new.key.dst.is_ipv6() && !kind::allows6(ns, &link) {
            return Err(NeighError::NoInet6);
        }
        let around = around(self, ns, &link, NeighFamily::of(&new.key.dst));
        let old = ns.peek_neigh().and_then(|table| table.find(link.index(), new.key.dst).cloned());
        let plan = match old {
            None if !new.create => return Err(NeighError::NotFound),
            None => {
                let permanent = new.state.is(NeighState::PERMANENT);
                if permanent && new.flags.has(NeighFlags::MANAGED) {
                    return Err(NeighError::ManagedPermanent);
                }
                if new.flags.has(NeighFlags::EXT_VALIDATED) && !vouchable(new) {
                    return Err(NeighError::ValidatedNew);
                }
                fresh(ns, &link, new, &around)?
            }
            Some(_) if new.exclusive => return Err(NeighError::Exists),
            Some(old) => {
                if new.flags.has(NeighFlags::EXT_VALIDATED) && !new.state.is(NeighState::VALID) {
                    return Err(NeighError::ValidatedOld);
                }
                Plan::Changed(Box::new(old))
            }
        };
        self.carry_out(ns, &link, plan, new, address, &around)
    }

    fn carry_out(
        &mut self,
        ns: Ns<'_>,
        link: &Arc<Link>,
        plan: Plan,
        new: &NewNeigh<'_>,
        address: Option<HwAddr>,
        around: &Around,
    ) -> Result<(), NeighError> {
        let (mut entry, is_new) = match plan {
            Plan::New(entry) => (*entry, true),
            Plan::Changed(entry) => (*entry, false),
        };
        let uses = new.flags.has(NeighFlags::USE) || new.flags.has(NeighFlags::MANAGED);
        let overrides = is_new || new.replace;
        if new.protocol != 0 {
            entry.protocol = new.protocol;
        }
        let managed = entry.flags.has(NeighFlags::MANAGED);
        let heard = if uses {
            // Whatever state the request names, use decides.
            let kept = NeighFlags::EXT_LEARNED.0 | NeighFlags::EXT_VALIDATED.0 | NeighFlags::MANAGED.0;
            let before = entry.flags;
            entry.flags = NeighFlags(before.0 & !kept | new.flags.0 & kept);
            if entry.state.is(NeighState::PERMANENT) {
                entry.state = NeighState::NONE;
            }
            before != entry.flags
        } else {
            let said = Said { state: new.state, address, flags: new.flags, overrides, admin: true };
            entry.update(said, around).map_err(|_| NeighError::NoAddress)?
        };
        // Refused above, or done from here on.
        let mut report = entry.report(around.now, true);
        let mut asks = false;
        if uses {
            asks = entry.use_it(around);
            if managed != entry.flags.has(NeighFlags::MANAGED) {
                report = entry.report(around.now, true);
            }
        }
        if entry.flags.has(NeighFlags::MANAGED) && entry.refresh.is_none() {
            entry.refresh = Some(around.now + around.parms.time(NeighParm::IntervalProbeTime).max(1));
        }
        if is_new {
            gc::make_room(self, ns, entry.family())?;
        }
        let id = {
            let mut table = ns.neigh.write();
            if is_new {
                table.insert(entry.clone())
            } else {
                let id = entry.id;
                table.replace(entry.clone());
                id
            }
        };
        if asks {
            solicit::ask(self, ns, link, &entry, None);
        }
        output::settle(self, ns, link, id);
        self.arm(ns, id);
        if heard {
            report.id = id;
            self.notify(ns, Notice::Neigh(NeighNotice::New(report)));
        }
        Ok(())
    }

    /// Takes an entry away.
    ///
    /// # Errors
    /// [`NeighError::NoDevice`], [`NeighError::NotFound`].
    pub fn del_neigh(&mut self, net: &Net, key: NeighKey) -> Result<(), NeighError> {
        let ns = self.ns(net).ok_or(NeighError::NoDevice)?;
        let link = device(ns, key.ifindex)?.ok_or(NeighError::DeviceNotSpecified)?;
        let found = ns.peek_neigh().and_then(|table| table.find(link.index(), key.dst).cloned());
        let entry = found.ok_or(NeighError::NotFound)?;
        fail(self, ns, &link, entry, |rtnl, ns, notice| rtnl.notify(ns, notice));
        Ok(())
    }

    /// Takes a proxy away.
    ///
    /// # Errors
    /// As [`Rtnl::del_neigh`].
    pub fn del_proxy(&mut self, net: &Net, key: ProxyKey) -> Result<(), NeighError> {
        let ns = self.ns(net).ok_or(NeighError::NoDevice)?;
        let link = device(ns, key.ifindex)?;
        let known = ns.peek_neigh().is_some_and(|table| table.proxy(key.ifindex, key.dst).is_some());
        if !known || !ns.neigh.write().remove_proxy(key.ifindex, key.dst) {
            return Err(NeighError::NotFound);
        }
        if let (Some(link), IpAddr::V6(dst)) = (link, key.dst) {
            inet6::leave_group(self, ns, &link, inet6::solicited_node(dst));
        }
        Ok(())
    }

    /// Puts an entry's next moment on the clock.
    pub(super) fn arm(&mut self, ns: Ns<'_>, id: u64) {
        let next = ns.peek_neigh().and_then(|table| {
            let entry = table.get(id)?;
            [entry.due, entry.refresh].into_iter().flatten().min()
        });
        if let Some(next) = next {
            let when = std::time::Duration::from_millis(u64::try_from(next).unwrap_or(0));
            self.set_timer(ns, when, rtnl::Timer::Neigh(Timer::Entry { id, due: next }));
        }
    }
}

/// Whether a control plane can vouch for what is asked for.
fn vouchable(new: &NewNeigh<'_>) -> bool {
    new.state.is(NeighState::VALID) && !new.flags.has(NeighFlags::USE) && !new.flags.has(NeighFlags::MANAGED)
}

fn fresh(ns: Ns<'_>, link: &Link, new: &NewNeigh<'_>, around: &Around) -> Result<Plan, NeighError> {
    let born = kind::born(ns, link, new.key.dst)?;
    // The address it is kept under may be another one, and taken.
    let known = ns.peek_neigh().and_then(|table| table.find(link.index(), born.dst).cloned());
    if let Some(known) = known {
        return Ok(Plan::Changed(Box::new(known)));
    }
    let kept = NeighFlags::EXT_LEARNED.0 | NeighFlags::EXT_VALIDATED.0 | NeighFlags::MANAGED.0;
    let flags = NeighFlags(new.flags.0 & kept);
    Ok(Plan::New(Box::new(Entry { flags, ..Entry::new(link, born, around) })))
}

impl Entry {
    /// One that is not in the table yet.
    pub(super) fn new(link: &Link, born: Born, around: &Around) -> Self {
        Self {
            id: 0,
            dst: born.dst,
            ifindex: link.index(),
            state: born.state,
            flags: NeighFlags::default(),
            kind: born.kind,
            protocol: 0,
            address: born.address,
            probes: 0,
            confirmed: Moment::new(around.now - 2 * around.parms.time(NeighParm::BaseReachableTime)),
            used: Moment::new(around.now),
            updated: around.now,
            due: None,
            refresh: None,
            noarp_device: link.stored_flags.contains(IfFlags::NOARP),
        }
    }
}

fn new_proxy(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: Option<&Link>, new: &NewNeigh<'_>) -> Result<(), NeighError> {
    if new.flags.ext() != 0 {
        return Err(NeighError::BadFlags);
    }
    if new.key.dst.is_ipv6() && !link.is_some_and(crate::inet6::has_inet6) {
        return Err(NeighError::NoProxy);
    }
    let known = ns.peek_neigh().and_then(|table| table.proxy(new.key.ifindex, new.key.dst).map(|p| p.protocol));
    let protocol = if new.protocol == 0 { known.unwrap_or(0) } else { new.protocol };
    let permanent = new.state.is(NeighState::PERMANENT);
    let proxy = NeighProxy { id: 0, dst: new.key.dst, ifindex: new.key.ifindex, flags: new.flags, protocol, permanent };
    ns.neigh.write().put_proxy(proxy);
    // Who asks for the neighbour is heard (`pndisc_constructor`).
    if let (Some(link), IpAddr::V6(dst), None) = (link, new.key.dst, known) {
        inet6::join_group(rtnl, ns, link, inet6::solicited_node(dst));
    }
    Ok(())
}

/// The device of a key, if it names one.
fn device(ns: Ns<'_>, ifindex: u32) -> Result<Option<Arc<Link>>, NeighError> {
    match ifindex {
        0 => Ok(None),
        index => ns.links.by_index(index).map(Some).ok_or(NeighError::NoDevice),
    }
}

fn link_address(link: &Link, given: &[u8]) -> Result<HwAddr, NeighError> {
    let used = given.get(..link.address.as_bytes().len()).ok_or(NeighError::ShortAddress)?;
    HwAddr::new(used).ok_or(NeighError::ShortAddress)
}

/// Takes an entry away. `tell`s that it failed, if it had not, and says to all that it is gone.
fn fail(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, mut entry: Entry, tell: fn(&mut Rtnl<'_>, Ns<'_>, Notice)) {
    let around = around(rtnl, ns, link, entry.family());
    let said =
        Said { state: NeighState::FAILED, address: None, flags: NeighFlags::default(), overrides: true, admin: true };
    let heard = entry.update(said, &around).unwrap_or(false);
    ns.neigh.write().remove(entry.id);
    if heard {
        tell(rtnl, ns, Notice::Neigh(NeighNotice::New(entry.report(around.now, true))));
    }
    rtnl.notify_caused(ns, Notice::Neigh(NeighNotice::Gone(entry.report(around.now, false))));
}

/// An address becomes a broadcast one of the link: who asked where it is need not wait for an answer (`arp_invalidate`).
/// An entry that is known to be somewhere stays.
pub(crate) fn became_broadcast(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, link: &Link, dst: Ipv4Addr) {
    let found = peek(ns, |table| table.find(link.index(), dst.into()).cloned()).flatten();
    if let Some(entry) = found.filter(|entry| !entry.state.is(NeighState::VALID)) {
        fail(rtnl, ns, link, entry, |rtnl, ns, notice| rtnl.notify_caused(ns, notice));
    }
}

/// What an entry on `link` depends on.
pub(super) fn around(rtnl: &Rtnl<'_>, ns: Ns<'_>, link: &Link, family: NeighFamily) -> Around {
    let parms = super::read::parms(ns.state(), link.index(), family);
    Around {
        now: super::timer::millis(rtnl.now()),
        parms,
        reachable: parms.reachable_time(super::read::spread(ns.state(), link.index(), family)).into(),
        addressless: link.address.as_bytes().is_empty(),
    }
}

/// Takes an entry out and tells of it.
pub(super) fn take(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, id: u64, now: i64) {
    let gone = ns.neigh.write().remove(id);
    if let Some(entry) = gone {
        let report: NeighReport = entry.report(now, false);
        rtnl.notify_caused(ns, Notice::Neigh(NeighNotice::Gone(report)));
    }
}

/// Reads the table under the part's lock, if there is one.
pub(super) fn peek<T>(ns: Ns<'_>, look: impl FnOnce(&Neighbours) -> T) -> Option<T> {
    ns.peek_neigh().map(|table| look(&table))
}
