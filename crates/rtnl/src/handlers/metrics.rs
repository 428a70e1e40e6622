//! What a route of either family says about the path behind it (`RTA_METRICS`), from bytes and to bytes.

use std::time::Duration;

use pernet_stack::{Learned, Metrics, RTAX_CC_ALGO, RTAX_LOCK, RouteError};
use pernet_wire::{Attr, Builder, Errno, ExtAck};

use crate::handlers::refused;
use crate::handlers::rta::RTA_METRICS;

/// Reads the nest (`ip_metrics_convert`).
pub(crate) fn read(attr: &Attr<'_>, ext: &mut ExtAck) -> Result<Metrics, Errno> {
    let mut out = Metrics::default();
    for metric in attr.nested().filter(|metric| metric.ty != 0) {
        let set = if metric.ty == RTAX_CC_ALGO {
            let name = std::str::from_utf8(metric.str_bytes()).map_err(|_| RouteError::UnknownCongctl);
            name.and_then(|name| out.set_congctl(name))
        } else if metric.payload.len() == 4 {
            out.set(metric.ty, metric.u32().unwrap_or(0))
        } else {
            ext.set_msg_attr("Invalid attribute in metrics", &metric);
            return Err(Errno::EINVAL);
        };
        set.map_err(|error| refused(ext, error.errno(), error.text()))?;
    }
    Ok(out)
}

/// Adds what packets learnt of the path.
pub(crate) fn learned(metrics: &mut Metrics, learned: Option<&Learned>) {
    const RTAX_MTU: u16 = 2;
    let Some((learned, mtu)) = learned.and_then(|learned| Some((learned, learned.mtu?))) else { return };
    // The numbers are known to be right.
    let _ = metrics.set(RTAX_MTU, mtu);
    if learned.locked {
        let _ = metrics.set(RTAX_LOCK, metrics.get(RTAX_LOCK) | 1 << RTAX_MTU);
    }
}

/// A time as messages tell it, hundredths of a second.
fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / 10).unwrap_or(u32::MAX)
}

/// How long what packets learnt holds, as messages tell it: 0 if that is not known.
pub(crate) fn expires(learned: Option<&Learned>) -> u32 {
    learned.and_then(|learned| learned.expires).map_or(0, ticks)
}

/// How often what packets learnt is held, and for how long (`struct rta_cacheinfo`): one holds it.
pub(crate) fn uses(learned: &Learned) -> [u32; 2] {
    [1, learned.age.map_or(0, ticks)]
}

/// Writes the nest, if there is anything to say (`rtnetlink_put_metrics`).
pub(crate) fn fill(out: &mut Builder, metrics: &Metrics) {
    if metrics.is_empty() {
        return;
    }
    out.nest(RTA_METRICS, |nest| {
        let mut congctl = metrics.congctl();
        for (ty, value) in metrics.iter() {
            if ty > RTAX_CC_ALGO
                && let Some(name) = congctl.take()
            {
                nest.put_str(RTAX_CC_ALGO, name);
            }
            nest.put_u32(ty, value);
        }
        if let Some(name) = congctl {
            nest.put_str(RTAX_CC_ALGO, name);
        }
    });
}
