//! Routing policy rules of either family: which tables a packet asks, and in which order.
//!
//! Every namespace has its first rules without anybody having made them; a table of rules is made with the first change.

mod change;
mod lookup;
mod rule;

use std::sync::Arc;

pub use change::RuleError;
pub(crate) use lookup::{Selectors, Verdict, lookup};
pub use rule::{Action, Family, PortRange, Rule, RuleNet, RuleView, rule_flag};

use pernet::Net;

use crate::dev::Stack;
use crate::state::Ns;

/// What a namespace has of it.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// IPv4, IPv6; ascending by preference, of one preference in the order they came.
    of: [Arc<Vec<Arc<Rule>>>; 2],
    /// Whether a rule of the family was ever added or deleted.
    pub(crate) custom: [bool; 2],
    generation: u32,
}

impl Default for Rules {
    fn default() -> Self {
        let rule = |family, (pref, table)| Arc::new(Rule::kernel(family, pref, table));
        let of = |family, list: &[(u32, u32)]| Arc::new(list.iter().map(|of| rule(family, *of)).collect());
        let first = [(0, 255), (32_766, 254), (32_767, 253)];
        Self { of: [of(Family::Inet, &first), of(Family::Inet6, &first[..2])], custom: [false; 2], generation: 0 }
    }
}

impl Rules {
    pub(crate) fn list(&self, family: Family) -> &Arc<Vec<Arc<Rule>>> {
        &self.of[family as usize]
    }
}

/// The rules of a namespace, without making any.
fn current(ns: Ns<'_>, family: Family) -> Arc<Vec<Arc<Rule>>> {
    ns.peek_rules().map_or_else(|| Arc::clone(Rules::default().list(family)), |rules| Arc::clone(rules.list(family)))
}

/// Whether a rule of the family was ever added or deleted: until then IPv4's local table is within the main one.
pub(crate) fn has_custom(ns: Ns<'_>, family: Family) -> bool {
    ns.peek_rules().is_some_and(|rules| rules.custom[family as usize])
}

/// What listeners are told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RuleNotice {
    /// A rule was added.
    New(RuleView),
    /// A rule was deleted.
    Del(RuleView),
}

impl Stack {
    /// All rules of a family in the order in which they are asked, and a number that changes with them.
    #[must_use]
    pub fn rules(&self, net: &Net, family: Family) -> (Vec<RuleView>, u32) {
        let Some(state) = self.state(net) else { return (Vec::new(), 0) };
        let ns = Ns::living(state, net);
        let generation = state.peek_rules().map_or(0, |rules| rules.generation);
        let list = current(ns, family);
        (list.iter().map(|rule| RuleView::of(ns, rule, &list)).collect(), generation)
    }
}
