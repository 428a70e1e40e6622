//! The operations, and how random ones are made.

use proptest::prelude::*;

/// One operation. Numbers choose among what there is at that time, modulo how many there are, so
/// every sequence is a legal one, and so is each part of it: that is what makes shrinking work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Asks for an active reference by a handle of any namespace there ever was.
    Upgrade(u8),
    /// A second reference.
    Clone(u8),
    /// Drops a reference, perhaps the last.
    Drop(u8),
    /// Whose it is, which init fails, and what an init does on the side.
    Create(u8, Option<u8>, Act),
    /// So many that die at once.
    Burst(u16),
    /// Subsystem or device, of which type, in which namespace its init fails, and the same.
    Register(bool, u8, Option<u8>, Act),
    /// By any key there ever was, of this system or of another.
    Unregister(u8),
    /// Lets a state own a reference until one of its callbacks, or its end: whose state, of which
    /// registration, a reference to whom, until when.
    Stash(u8, u8, u8, Until),
    /// Writes into a state.
    Poke(u8, u8, u8),
    /// Observer, peer.
    Alloc(u8, u8),
    /// Observer, peer, wanted id.
    Assign(u8, u8, Option<i32>),
    /// Observer, id.
    Lookup(u8, i32),
    /// Begins a dump of an observer's table, or goes on with it: so many entries.
    Page(u8, u8),
    /// Visits all namespaces, and drops a reference at one of the visits.
    ForEach(u8, u8),
    /// A child of a user namespace, made by a user.
    NewUser(u8, u8),
    /// The limit of a user namespace.
    Limit(u8, i64),
    Step,
    Barrier,
}

/// What an init does besides its work, and in which of an operation's inits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Nothing,
    KeepHandle(u8),
    KeepRef(u8),
    /// Drops the reference of the second number.
    DropRef(u8, u8),
    /// Names the namespace of the second number, and has itself named by it.
    Name(u8, u8),
}

/// When a stashed reference is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    PreExit,
    Killed,
    Exit,
    Batch,
    Freed,
}

impl Op {
    /// Operations that say less.
    pub(crate) fn simpler(self) -> Vec<Self> {
        let number = |n: u8| [0, n / 2, n.saturating_sub(1)].into_iter().filter(move |less| *less < n);
        let one = |n: u8, to: fn(u8) -> Self| number(n).map(to).collect();
        let two = |a: u8, b: u8, to: fn(u8, u8) -> Self| -> Vec<Self> {
            number(a).map(|a| to(a, b)).chain(number(b).map(|b| to(a, b))).collect()
        };
        match self {
            Self::Upgrade(n) => one(n, Self::Upgrade),
            Self::Clone(n) => one(n, Self::Clone),
            Self::Drop(n) => one(n, Self::Drop),
            Self::Unregister(n) => one(n, Self::Unregister),
            Self::Alloc(o, p) => two(o, p, Self::Alloc),
            Self::Page(o, max) => two(o, max, Self::Page),
            Self::ForEach(at, n) => two(at, n, Self::ForEach),
            Self::NewUser(parent, uid) => two(parent, uid, Self::NewUser),
            Self::Burst(n) => (1..n).take(1).map(Self::Burst).collect(),
            Self::Limit(user, limit) => number(user).map(|user| Self::Limit(user, limit)).collect(),
            Self::Lookup(o, id) => number(o).map(|o| Self::Lookup(o, id)).collect(),
            Self::Poke(n, key, value) => number(n).map(|n| Self::Poke(n, key, value)).collect(),
            Self::Assign(o, p, want) => {
                let pairs = number(o).map(|o| (o, p)).chain(number(p).map(|p| (o, p)));
                pairs.map(|(o, p)| Self::Assign(o, p, want)).chain([Self::Alloc(o, p)]).collect()
            }
            Self::Create(cred, fail, act) => {
                let acts = act.simpler().into_iter().map(|act| Self::Create(cred, fail, act));
                let fails = fail.into_iter().flat_map(|n| number(n).map(Some).chain([None]));
                let fails = fails.map(|fail| Self::Create(cred, fail, act));
                number(cred).map(|cred| Self::Create(cred, fail, act)).chain(fails).chain(acts).collect()
            }
            Self::Register(device, kind, fail, act) => {
                let acts = act.simpler().into_iter().map(|act| Self::Register(device, kind, fail, act));
                let fails = fail.into_iter().flat_map(|n| number(n).map(Some).chain([None]));
                let fails = fails.map(|fail| Self::Register(device, kind, fail, act));
                let plain = device.then_some(Self::Register(false, kind, fail, act)).into_iter();
                let kinds = number(kind).map(|kind| Self::Register(device, kind, fail, act));
                plain.chain(kinds).chain(fails).chain(acts).collect()
            }
            Self::Stash(n, key, whom, until) => {
                let owners = number(n).map(|n| (n, key, whom)).chain(number(key).map(|key| (n, key, whom)));
                let all = owners.chain(number(whom).map(|whom| (n, key, whom)));
                all.map(|(n, key, whom)| Self::Stash(n, key, whom, until)).collect()
            }
            Self::Barrier => vec![Self::Step],
            Self::Step => Vec::new(),
        }
    }
}

impl Act {
    fn simpler(self) -> Vec<Self> {
        match self {
            Self::Nothing => Vec::new(),
            Self::KeepHandle(0) | Self::KeepRef(0) | Self::DropRef(0, 0) | Self::Name(0, 0) => vec![Self::Nothing],
            Self::KeepHandle(n) => vec![Self::Nothing, Self::KeepHandle(n / 2), Self::KeepHandle(n - 1)],
            Self::KeepRef(n) => vec![Self::Nothing, Self::KeepRef(n / 2), Self::KeepRef(n - 1)],
            Self::DropRef(at, n) => {
                vec![
                    Self::Nothing,
                    Self::DropRef(at / 2, n),
                    Self::DropRef(at, n / 2),
                    Self::DropRef(at, n.saturating_sub(1)),
                ]
            }
            Self::Name(at, n) => {
                vec![Self::Nothing, Self::Name(at / 2, n), Self::Name(at, n / 2), Self::Name(at, n.saturating_sub(1))]
            }
        }
    }
}

type Args = [u8; 4];

fn act([what, at, other, _]: Args) -> Act {
    match what % 16 {
        8 => Act::KeepHandle(at),
        9 | 10 => Act::KeepRef(at),
        11 | 12 => Act::DropRef(at, other),
        13 | 14 => Act::Name(at, other),
        _ => Act::Nothing,
    }
}

fn id(n: u8) -> i32 {
    match n % 16 {
        15 => i32::MAX,
        14 => i32::MAX - 1,
        13 => -1,
        n => i32::from(n),
    }
}

fn until(n: u8) -> Until {
    [Until::PreExit, Until::Killed, Until::Exit, Until::Batch, Until::Freed][n as usize % 5]
}

fn limit(n: u8) -> i64 {
    [i64::from(i32::MAX), 0, 1, 2, 3, 5, 8, -1, 1 << 31][n as usize % 9]
}

/// Mostly one of the first: what happens to few goes deeper.
fn few(n: u8) -> u8 {
    if n < 160 { n % 3 } else { n }
}

/// One in four of `n` is a number.
fn rarely(n: u8) -> Option<u8> {
    n.is_multiple_of(4).then_some(n / 4)
}

/// How often, out of the sum, and what it is made of.
type Kind = (u8, fn(Args) -> Op);

/// All kinds. The harmless first: numbers shrink towards 0.
const KINDS: [Kind; 17] = [
    (3, |[n, ..]| Op::Upgrade(n)),
    (7, |[n, ..]| Op::Clone(n)),
    (28, |[o, p, ..]| Op::Alloc(few(o), p)),
    (18, |[o, p, want, _]| Op::Assign(few(o), p, (want < 224).then(|| id(want)).filter(|id| *id >= 0))),
    (8, |[o, n, ..]| Op::Lookup(few(o), if n < 192 { i32::from(n % 4) } else { id(n) })),
    (20, |[o, max, ..]| Op::Page(few(o), max % 4)),
    (3, |[n, key, value, _]| Op::Poke(n, key, value)),
    (12, |[n, key, whom, when]| Op::Stash(n, key, whom, until(when))),
    (4, |[at, victim, ..]| Op::ForEach(at, victim)),
    (2, |[parent, uid, ..]| Op::NewUser(parent, uid)),
    (5, |[user, n, ..]| Op::Limit(user, limit(n))),
    (26, |[cred, fail, what, at]| Op::Create(cred, rarely(fail), act([what, at, cred / 2, 0]))),
    (16, |[kind, fail, what, at]| Op::Register(kind & 1 != 0, kind / 2 % 3, rarely(fail), act([what, at, kind, 0]))),
    (2, |[n, ..]| Op::Burst(1 + u16::from(n % 4))),
    (10, |[key, ..]| Op::Unregister(key)),
    (30, |[n, ..]| Op::Drop(n)),
    (18, |[n, ..]| if n < 200 { Op::Step } else { Op::Barrier }),
];

const fn sum() -> u8 {
    let (mut sum, mut at) = (0, 0);
    while at < KINDS.len() {
        sum += KINDS[at].0;
        at += 1;
    }
    sum
}

fn op() -> impl Strategy<Value = Op> {
    (0..sum(), any::<Args>()).prop_map(|(mut nth, args)| {
        let kind = KINDS.iter().find(|(weight, _)| match nth.checked_sub(*weight) {
            Some(rest) => {
                nth = rest;
                false
            }
            None => true,
        });
        kind.expect("below the sum").1(args)
    })
}

/// A case: something to stand on, so that short cases reach deep states, then anything; and
/// whether the system is switched off at the end with its dead not torn down.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) ops: Vec<Op>,
    pub(crate) power_off: bool,
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    // Nine and more registrations leave the slots that are in the namespace itself.
    let registered = (0..32u8).prop_map(|n| if n < 30 { n % 5 } else { n - 21 });
    (registered, 0..9u8, prop::collection::vec(op(), 1..64), 0..8u8).prop_map(|(registered, nets, ops, end)| {
        let registrations = (0..registered).map(|n| Op::Register(n & 1 != 0, n % 3, None, Act::Nothing));
        let creations = (0..nets).map(|n| Op::Create(n, None, Act::Nothing));
        Case { ops: registrations.chain(creations).chain(ops).collect(), power_off: end == 7 }
    })
}
