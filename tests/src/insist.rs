//! Differences that count: those that come back.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::compare::{Difference, render};
use crate::scenario::Scenario;
use crate::skip::say;

/// How often a scenario is run at most.
const LOOKS: usize = 3;

/// Fails if a step of `scenario` differs each time that it is looked at.
///
/// Under load the kernel does not always agree with itself: a cable that its work queue notices late, a duplicate address
/// that is still being looked for. What differs once and not again is said, and no more.
///
/// # Panics
/// Then.
pub fn insist(what: &str, scenario: &Scenario, look: impl Fn() -> Vec<Difference>) {
    let mut differences = look();
    for _ in 1..LOOKS {
        if differences.is_empty() {
            return;
        }
        say(&format!("ONCE: {what}: looked at again, because these differ:\n{}", render(scenario, &differences)));
        let steps: BTreeSet<usize> = differences.iter().map(|difference| difference.step).collect();
        differences = look();
        differences.retain(|difference| steps.contains(&difference.step));
    }
    assert!(
        differences.is_empty(),
        "{what}: {} of {} steps differ, {LOOKS} times:\n{}",
        differences.len(),
        scenario.steps.len(),
        render(scenario, &differences)
    );
}

/// Fails if `test` fails each time that it is made; what it does is done anew each time.
///
/// What these tests drive are programs in real time, on a machine that may be busy with anything. What fails once and not
/// again is said, with its reason, and no more: it is to be read and looked into.
///
/// # Panics
/// Then, as the test did last.
pub(crate) fn at_last(what: &str, test: impl Fn()) {
    for _ in 1..LOOKS {
        let Err(reason) = catch_unwind(AssertUnwindSafe(&test)) else { return };
        let words = reason.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| reason.downcast_ref::<&str>().copied()).unwrap_or("no words");
        say(&format!("ONCE: {what}: made again, because it failed:\n{words}"));
    }
    test();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn what_always_fails_fails_and_what_fails_once_does_not() {
        let made = Cell::new(0);
        let fails_until = |good: usize| {
            made.set(0);
            catch_unwind(AssertUnwindSafe(|| {
                at_last("this test's own", || {
                    made.set(made.get() + 1);
                    assert!(made.get() >= good, "not yet");
                });
            }))
        };
        assert!(fails_until(2).is_ok() && made.get() == 2);
        assert!(fails_until(usize::MAX).is_err() && made.get() == LOOKS);
    }
}
