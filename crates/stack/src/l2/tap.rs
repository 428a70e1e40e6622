//! Who looks on: every frame that a device sends or receives passes here (`dev_queue_xmit_nit`, `ptype_all`).

use super::{Cx, Frame};
use crate::dev::Link;

/// A frame passes. Its data begin at the link-layer header when it goes out, at the network header when it came in.
pub(super) fn tap(cx: Cx<'_>, link: &Link, frame: &Frame, outgoing: bool) {
    #[cfg(test)]
    seen::note(cx, link, frame, outgoing);
    crate::l4::packet::tap(cx, link, frame, outgoing);
}

/// Whether anybody looks on in the namespace. Who does not ask with each frame [`notes`](note) it all the same.
pub(super) fn watched(cx: Cx<'_>) -> bool {
    crate::l4::packet::watched(cx)
}

/// A frame passes that nobody looks at but tests.
pub(super) fn note(_cx: Cx<'_>, _link: &Link, _frame: &Frame, _outgoing: bool) {
    #[cfg(test)]
    seen::note(_cx, _link, _frame, _outgoing);
}

/// What passed, for tests.
#[cfg(test)]
pub(crate) mod seen {
    use std::cell::RefCell;

    use super::{Cx, Frame, Link};

    /// A frame that passed.
    #[derive(Clone, Debug)]
    pub(crate) struct Seen {
        pub(crate) net: u64,
        pub(crate) device: String,
        pub(crate) outgoing: bool,
        /// From the link-layer header on.
        pub(crate) bytes: Vec<u8>,
    }

    thread_local!(static SEEN: RefCell<Vec<Seen>> = const { RefCell::new(Vec::new()) });

    pub(super) fn note(cx: Cx<'_>, link: &Link, frame: &Frame, outgoing: bool) {
        let mut whole = frame.clone();
        whole.pull_back_to_mac();
        let seen = Seen {
            net: cx.net.cookie().get(),
            device: link.name().to_string(),
            outgoing,
            bytes: whole.data().to_vec(),
        };
        SEEN.with_borrow_mut(|all| all.push(seen));
    }

    /// What passed on this thread since the last look.
    pub(crate) fn take() -> Vec<Seen> {
        SEEN.take()
    }
}
