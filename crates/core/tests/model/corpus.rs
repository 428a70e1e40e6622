//! Operations that have told something wrong from something right: by what they found.
//!
//! To add one, copy what a failure prints.

use crate::ops::Act::*;
use crate::ops::Op::{self, *};
use crate::ops::Until::*;

pub(crate) const REGRESSIONS: [(&str, &[Op]); 19] = [
    (
        "a unit returned above a lowered limit, and used again",
        &[Create(0, None, Nothing), Limit(0, 0), Drop(0), Create(0, None, Nothing)],
    ),
    (
        "units drawn in advance at two levels, of which one is asked to give them back",
        &[
            Create(1, None, Nothing),
            Create(2, None, Nothing),
            NewUser(0, 0),
            Limit(0, 3),
            Limit(211, 2),
            Register(false, 0, None, DropRef(0, 0)),
            Create(16, None, Nothing),
        ],
    ),
    ("a batch callback left out", &[Register(false, 0, Some(0), Nothing)]),
    (
        "exits in the order of inits",
        &[Register(false, 0, None, Nothing), Register(false, 0, None, Nothing), Create(0, None, Nothing)],
    ),
    (
        "a number that is free and not found",
        &[Create(0, None, Nothing), Create(1, None, Nothing), Alloc(1, 20), Drop(7), Step, Alloc(1, 0)],
    ),
    ("a charge returned at one level only", &[Create(1, None, Nothing)]),
    (
        "a refused charge kept below the level that refused",
        &[Create(1, None, Nothing), Limit(0, 0), Create(1, None, Nothing)],
    ),
    ("a state that its key still finds", &[Register(false, 0, None, Nothing), Unregister(0)]),
    ("the last to die torn down first", &[Create(0, None, Nothing), Create(0, None, Nothing)]),
    ("a handle that revives", &[Create(0, None, Nothing), Drop(0), Upgrade(1)]),
    ("a name for what is being built", &[Register(false, 0, None, Nothing), Create(0, Some(0), Name(0, 0))]),
    (
        "a charge kept by who keeps a reference from a failed creation",
        &[Register(false, 0, None, Nothing), Register(false, 0, None, Nothing), Create(0, Some(1), KeepRef(0))],
    ),
    ("a registration that passes by the dead", &[Create(0, None, Nothing), Drop(0), Register(false, 0, None, Nothing)]),
    (
        "observers told in another order",
        &[
            Register(false, 0, None, Nothing),
            Create(0, None, KeepRef(0)),
            Drop(0),
            Create(0, None, Nothing),
            Alloc(2, 19),
            Alloc(0, 136),
            Drop(0),
            Step,
        ],
    ),
    (
        "a removal that the generation does not tell",
        &[Create(0, None, Nothing), Alloc(0, 1), Page(0, 0), Drop(0), Step, Page(0, 0)],
    ),
    (
        "a slot used for the third time",
        &[
            Register(false, 0, None, Nothing),
            Unregister(0),
            Register(false, 0, None, Nothing),
            Unregister(1),
            Register(false, 0, None, Nothing),
            Unregister(2),
            Register(false, 0, None, Nothing),
        ],
    ),
    (
        "memory that somebody held, with a reference in it",
        &[
            Register(false, 0, None, Nothing),
            Create(0, None, Nothing),
            Create(1, None, Nothing),
            Create(2, None, Nothing),
            Stash(53, 0, 119, Freed),
            Stash(0, 0, 128, PreExit),
            Drop(0),
            Register(false, 0, None, KeepRef(62)),
            Step,
            Create(0, Some(59), DropRef(0, 0)),
        ],
    ),
    (
        "memory that somebody held, freed at the end of a round",
        &[
            Register(false, 0, None, Nothing),
            Create(0, None, Nothing),
            Create(0, None, Nothing),
            Create(0, None, Nothing),
            Stash(178, 0, 7, Freed),
            Drop(0),
            Create(0, None, Nothing),
            Create(0, None, Nothing),
            Register(false, 0, None, KeepRef(49)),
            Drop(0),
            Step,
            Drop(82),
            Create(0, None, Nothing),
            Register(false, 0, None, KeepRef(118)),
            Create(0, None, Nothing),
            Drop(156),
            Step,
        ],
    ),
    (
        "more deaths than a round takes",
        &[
            Register(false, 0, None, Nothing),
            Create(0, None, Nothing),
            Alloc(0, 1),
            Drop(0),
            Burst(1100),
            Register(true, 1, None, Nothing),
            Step,
            Step,
            Barrier,
        ],
    ),
];
