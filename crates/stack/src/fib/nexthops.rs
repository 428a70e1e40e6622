//! What nexthop objects do to the routes that point to them.

use std::sync::Arc;

use super::create::nexthop_fits;
use super::{Anchor, FibInfo, FibNotice, RouteError};
use crate::nexthop::Resolved;
use crate::notice::Notice;
use crate::rtnl::Rtnl;
use crate::state::Ns;
use crate::sysctl::nexthop_compat;

const NLM_F_REPLACE: u16 = 0x100;

/// Whether the routes that point to the object `id` may lead where `new` leads.
pub(crate) fn check_nexthop(ns: Ns<'_>, id: u32, new: &Resolved) -> Result<(), RouteError> {
    if new.fdb && ns.peek_fib().is_some_and(|fib| fib.any(Anchor::Nexthop(id))) {
        return Err(RouteError::FdbNexthop);
    }
    let infos = ns.peek_fib().map_or_else(Vec::new, |fib| fib.infos_of(Anchor::Nexthop(id)));
    infos.iter().try_for_each(|info| nexthop_fits(info.scope, &new.hops, new.group.is_some()))
}

/// An object leads elsewhere: the routes that point to it do, and their listeners are told on behalf of who asked. Where
/// routes do not tell of their objects, nothing that they told has changed.
pub(crate) fn nexthop_replaced(rtnl: &mut Rtnl<'_>, ns: Ns<'_>, object: &Arc<Resolved>) {
    if !nexthop_compat(ns) {
        return nexthop_shrunk(ns, object);
    }
    for (table, key, alias) in redirect(ns, object) {
        let route = super::update::view(ns, table, key, &alias);
        rtnl.notify(ns, Notice::Fib(FibNotice::New { route, flags: NLM_F_REPLACE }));
    }
}

/// A group lost a member: the same, and nobody is told.
pub(crate) fn nexthop_shrunk(ns: Ns<'_>, object: &Arc<Resolved>) {
    redirect(ns, object);
}

type Moved = Vec<(u32, super::table::Key, super::table::Alias)>;

fn redirect(ns: Ns<'_>, object: &Arc<Resolved>) -> Moved {
    let anchor = Anchor::Nexthop(object.id);
    if ns.peek_fib().is_none_or(|fib| !fib.any(anchor)) {
        return Vec::new();
    }
    let points = |info: &FibInfo| info.nhid() == object.id;
    ns.fib.write().rewrite(anchor, points, |info| FibInfo { nexthop: Some(Arc::clone(object)), ..info.clone() })
}

/// An object is gone, and with it the routes that point to it. Nobody is told: who deleted it knows.
pub(crate) fn nexthop_gone(ns: Ns<'_>, id: u32) {
    let anchor = Anchor::Nexthop(id);
    if ns.peek_fib().is_some_and(|fib| fib.any(anchor)) {
        ns.fib.write().flush(anchor, |_, alias| alias.info.nhid() == id);
    }
}
