//! What a program sets on its socket, under the names that `netlink_sys::Socket` has for it.

use std::io;

use netlink_sys::SocketAddr;
use pernet_rtnl::Client;
use pernet_wire::uapi::*;

use crate::{PernetSocket, error, ours, theirs};

impl<C: Client> PernetSocket<C> {
    /// Binds to a port, 0 for any, and has the groups of `addr` for those up to 32 that it had: bit g-1 for group g.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EINVAL` when bound to another port, `EPERM` for groups that need a capability.
    pub fn bind(&self, addr: &SocketAddr) -> io::Result<()> {
        self.get_ref().bind(ours(addr), self.client()).map_err(error)
    }

    /// Binds to a free port and says which. Comes before [`add_membership`](Self::add_membership), or undoes it.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_auto(&self) -> io::Result<SocketAddr> {
        self.bind(&SocketAddr::new(0, 0))?;
        Ok(self.get_address())
    }

    /// Its own address: port 0 while unbound.
    pub fn get_address(&self) -> SocketAddr {
        theirs(self.get_ref().local_addr())
    }

    /// Sets the default destination.
    ///
    /// # Errors
    /// `EPERM` for a destination other than the kernel without CAP_NET_ADMIN.
    pub fn connect(&self, remote: &SocketAddr) -> io::Result<()> {
        self.get_ref().connect(ours(remote), self.client()).map_err(error)
    }

    /// Joins a multicast group, by its number (`NETLINK_ADD_MEMBERSHIP`).
    ///
    /// # Errors
    /// `EINVAL` for a group that does not exist, `EPERM` for one that needs a capability.
    pub fn add_membership(&self, group: u32) -> io::Result<()> {
        self.set(NETLINK_ADD_MEMBERSHIP, group)
    }

    /// Leaves a multicast group (`NETLINK_DROP_MEMBERSHIP`).
    ///
    /// # Errors
    /// `EINVAL` for a group that does not exist.
    pub fn drop_membership(&self, group: u32) -> io::Result<()> {
        self.set(NETLINK_DROP_MEMBERSHIP, group)
    }

    /// Hears the groups of all namespaces that have a number here (`NETLINK_LISTEN_ALL_NSID`).
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_BROADCAST.
    pub fn set_listen_all_namespaces(&self, on: bool) -> io::Result<()> {
        self.set(NETLINK_LISTEN_ALL_NSID, on.into())
    }

    /// Has requests read strictly (`NETLINK_GET_STRICT_CHK`).
    ///
    /// # Errors
    /// None today.
    pub fn set_netlink_get_strict_chk(&self, on: bool) -> io::Result<()> {
        self.set(NETLINK_GET_STRICT_CHK, on.into())
    }

    /// Has errors come with a text and a place (`NETLINK_EXT_ACK`).
    ///
    /// # Errors
    /// None today.
    pub fn set_ext_ack(&self, on: bool) -> io::Result<()> {
        self.set(NETLINK_EXT_ACK, on.into())
    }

    /// Has errors come without the request (`NETLINK_CAP_ACK`).
    ///
    /// # Errors
    /// None today.
    pub fn set_cap_ack(&self, on: bool) -> io::Result<()> {
        self.set(NETLINK_CAP_ACK, on.into())
    }

    /// Is not told of datagrams that found the queue full (`NETLINK_NO_ENOBUFS`).
    ///
    /// # Errors
    /// None today.
    pub fn set_no_enobufs(&self, on: bool) -> io::Result<()> {
        self.set(NETLINK_NO_ENOBUFS, on.into())
    }

    fn set(&self, option: i32, value: u32) -> io::Result<()> {
        self.get_ref().setsockopt(option, &value.to_ne_bytes(), self.client()).map_err(error)
    }
}
