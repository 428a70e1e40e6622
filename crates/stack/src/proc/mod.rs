//! `/proc/net`: which entries the directory has, and what its files read as in a namespace without sockets and packet
//! filter rules, which the stack cannot hold so far. What depends on its configuration comes from there.

mod columns;
mod devices;
mod names;
mod netlink;
mod table;

use pernet::Net;

use crate::state::Ns;
use crate::{Entry, EntryKind, Links, Stack};
pub(crate) use names::MPTCP_EXT;
use table::Content;

pub(crate) use columns::{group, sockets4, sockets6};
pub use devices::proc_net_dev;
pub use netlink::{NetlinkSocket, kernel_netlink_sockets, proc_net_netlink};

/// Mode of a directory in procfs.
pub const PROC_DIR_MODE: u16 = 0o555;

/// Every entry of `/proc/net`, directories before what is in them, in the order in which Linux lists a directory (short
/// names first, names of the same length by byte).
#[must_use]
pub fn proc_net_entries(links: &Links) -> Vec<Entry> {
    let mut out = Vec::new();
    for &(path, mode, content) in table::TABLE {
        let kind =
            if matches!(content, Content::Dir | Content::PerDevice(_)) { EntryKind::Dir } else { EntryKind::File };
        out.push(Entry { path: path.into(), kind, mode });
        if let Content::PerDevice(_) = content {
            let devices = links.all().into_iter().filter(|l| devices::has_inet6(l));
            let file = |name: &str| Entry { path: format!("{path}/{name}"), kind: EntryKind::File, mode: 0o444 };
            out.extend(devices.map(|l| file(l.name().as_str())));
        }
    }
    out.sort_by(|a, b| order(&a.path).cmp(&order(&b.path)));
    out
}

/// What the file at `path` below `/proc/net` reads as in `net`; `None` if there is no such file.
#[must_use]
pub fn proc_net_file(stack: &Stack, net: &Net, path: &str) -> Option<String> {
    let state = stack.state(net)?;
    let links = &state.links;
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    table::TABLE.iter().find_map(|&(entry, _, content)| match content {
        Content::Text(text) if entry == path => Some(text.into()),
        Content::Lines(lines) if entry == path => Some(lines()),
        Content::Derived(render) if entry == path => Some(render(links)),
        Content::Sockets(render) if entry == path => Some(render(stack, net)),
        Content::Of(render) if entry == path => Some(render(Ns::living(state, net))),
        Content::PerDevice(render) if entry == dir => {
            let link = links.by_name(name).filter(|l| l.name().as_str() == name && devices::has_inet6(l));
            link.map(|l| render(&l))
        }
        _ => None,
    })
}

fn order(path: &str) -> Vec<(usize, &str)> {
    path.split('/').map(|part| (part.len(), part)).collect()
}
