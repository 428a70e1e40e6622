//! Times of a packet that is sent, for a sender who wants to know them (`skb_tstamp_tx`).
//!
//! Whoever wants them puts a wish into the frame. A device that sends it looks at the wish and tells; beyond the device the
//! frame is somebody else's, and bears none.

use std::fmt::Debug;
use std::sync::{Arc, Weak};

use super::{Cx, Frame};
use crate::dev::Link;

/// What was reached (`SCM_TSTAMP_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// The device has sent it.
    Sent = 0,
    /// It waits for the device.
    Scheduled = 1,
}

/// Who is told. No lock of a socket is held where that is done.
pub(crate) trait Told: Debug + Send + Sync {
    /// The frame, whose data begin at its link-layer header, has come so far at the device.
    fn told(&self, cx: Cx<'_>, link: &Link, reached: Reached, id: u32, frame: &Frame);
}

#[derive(Debug)]
struct Wish {
    whom: Weak<dyn Told>,
    sent: bool,
    scheduled: bool,
    id: u32,
}

/// The place for a wish in a frame. It stays with the frame that was sent: a copy's is empty.
#[derive(Debug, Default)]
pub(crate) struct Stamps(Option<Box<Wish>>);

impl Stamps {
    /// Nobody wants to know.
    pub(super) const NONE: Self = Self(None);

    /// `whom` wants to know when the packet was sent, or waits for that, and knows it by `id`.
    pub(crate) fn for_whom(whom: &Arc<impl Told + 'static>, [sent, scheduled]: [bool; 2], id: u32) -> Self {
        let weak = Arc::downgrade(whom);
        Self(Some(Box::new(Wish { whom: weak, sent, scheduled, id })))
    }

    /// Whether somebody wants to know.
    #[inline]
    pub(crate) const fn are_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Of the whole, for its first part.
    pub(crate) fn take(&mut self) -> Self {
        Self(self.0.take())
    }
}

/// The device is about to send the frame.
pub(super) fn scheduled(cx: Cx<'_>, link: &Link, frame: &Frame) {
    if let Some(wish) = frame.stamps.0.as_ref().filter(|wish| wish.scheduled)
        && let Some(whom) = wish.whom.upgrade()
    {
        whom.told(cx, link, Reached::Scheduled, wish.id, frame);
    }
}

/// The device sends the frame now, and it leaves this sender.
pub(super) fn sent(cx: Cx<'_>, link: &Link, frame: &mut Frame) {
    if !frame.stamps.are_wanted() {
        return;
    }
    if let Some(wish) = frame.stamps.0.take().filter(|wish| wish.sent)
        && let Some(whom) = wish.whom.upgrade()
    {
        whom.told(cx, link, Reached::Sent, wish.id, frame);
    }
}
