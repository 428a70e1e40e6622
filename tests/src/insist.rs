//! Differences that count: those that come back.

use std::collections::BTreeSet;

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
