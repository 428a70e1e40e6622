//! Whether the programs at both ends of a connection may be joined: then their bytes never come here, and what is here
//! stays as it was when it was established, until they close.

use std::sync::{Arc, Weak};

use super::sock::Sock;
use super::stream::TcpSocket;
use crate::l2::Cx;

impl Sock {
    fn partner(self: &Arc<Self>) -> Option<Arc<Self>> {
        let path = self.path().clone()?;
        path.ends().iter().filter_map(Weak::upgrade).find(|end| !Arc::ptr_eq(end, self))
    }

    fn is_plain(self: &Arc<Self>) -> bool {
        // What is older than a second is as good here: neighbours are kept fresh by segments, and none will follow.
        let unchanged = self.path().as_ref().is_some_and(|path| path.is_unchanged(self));
        unchanged && self.lock().is_untouched()
    }

    /// Sends a segment that learns the way, of the kind that an idle connection is probed with: it bears nothing that the
    /// peer's program would see.
    fn ask_way(self: &Arc<Self>) {
        let Some(net) = self.net.upgrade() else { return };
        let Some(cx) = Cx::new(&self.stack, &net) else { return };
        self.act(cx, |inner, out| {
            if inner.ask_at > cx.now() {
                return;
            }
            if let Some(engine) = &mut inner.engine {
                engine.probe();
                engine.poll(cx.now(), out);
            }
        });
    }
}

impl TcpSocket {
    /// What the program at the other end is known by ([`set_inode`](Self::set_inode)); 0 if none has it yet. `None` if the
    /// other end is not of this stack, or the way there was never learnt.
    #[must_use]
    pub fn partner(&self) -> Option<u64> {
        self.sock.partner().map(|other| other.lock().inode)
    }

    /// Is it connected to a socket of this stack by a way on which nothing needs to see its bytes, and holds none?
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.sock.is_plain()
    }

    /// The same, asked by one segment more if it is not known: the first connection to a neighbour changes what is known of
    /// that neighbour while it looks.
    #[must_use]
    pub fn is_found_plain(&self) -> bool {
        if self.is_plain() {
            return true;
        }
        self.sock.ask_way();
        self.sock.stack.run_packets();
        self.is_plain()
    }
}
