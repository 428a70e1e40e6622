//! Alternative names (`rtnl_linkprop`).

use pernet::Net;

use super::{LinkRefused, watch};
use crate::errno;
use crate::rtnl::Rtnl;

impl Rtnl<'_> {
    /// Gives a device further names.
    ///
    /// # Errors
    /// One of them is taken; then it gets none.
    pub fn add_alt_names(&mut self, net: &Net, index: u32, names: &[Box<str>]) -> Result<(), LinkRefused> {
        let ns = self.ns(net).ok_or(LinkRefused::NoStack)?;
        let link = ns.links.by_index(index).ok_or(LinkRefused::plain(errno::ENODEV))?;
        if names.is_empty() {
            return Ok(());
        }
        let mut all = link.alt_names().to_vec();
        for name in names {
            if all.contains(name) {
                return Err(LinkRefused::plain(errno::EEXIST));
            }
            all.push(name.clone());
        }
        ns.links.set_alt_names(index, all)?;
        watch::state_change(self, ns, index);
        Ok(())
    }

    /// Takes names from a device.
    ///
    /// # Errors
    /// `ENOENT` for a name that nobody has, `EINVAL` for one that is not an alternative name of this device; then it
    /// keeps all.
    pub fn del_alt_names(&mut self, net: &Net, index: u32, names: &[Box<str>]) -> Result<(), LinkRefused> {
        let ns = self.ns(net).ok_or(LinkRefused::NoStack)?;
        let link = ns.links.by_index(index).ok_or(LinkRefused::plain(errno::ENODEV))?;
        let mut all = link.alt_names().to_vec();
        for name in names {
            let Some(at) = all.iter().position(|n| n == name) else {
                let known = ns.links.is_named(name) && !link.alt_names().contains(name);
                return Err(LinkRefused::plain(if known { errno::EINVAL } else { errno::ENOENT }));
            };
            all.remove(at);
        }
        if !names.is_empty() {
            ns.links.set_alt_names(index, all)?;
            watch::state_change(self, ns, index);
        }
        Ok(())
    }
}
