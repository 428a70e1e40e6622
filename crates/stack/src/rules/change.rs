//! Adding and deleting rules.

use std::sync::Arc;

use pernet::Net;

use super::rule::{Action, Family, Rule, RuleView, rule_flag};
use super::{RuleNotice, Rules};
use crate::fib::refusals;
use crate::inet6;
use crate::notice::Notice;
use crate::rtnl::Rtnl;

refusals! {
    /// Why a change of rules is refused.
    RuleError {
        BackwardGoto = EINVAL, "Backward goto not supported";
        NoTable = EINVAL, "Invalid table";
        L3mdevTable = EINVAL, "l3mdev and table are mutually exclusive";
    }
    unsaid {
        Exists = EEXIST, "the rule exists";
        NotFound = ENOENT, "no rule fits";
        Permanent = EPERM, "the rule cannot be deleted";
        NoSuchNamespace = ENODEV, "the namespace is not one of this system";
    }
}

/// What a deletion asks for: of two ways to say "any" it needs both.
#[derive(Clone, Debug)]
struct Asked<'a>(&'a Rule);

impl Asked<'_> {
    fn fits(&self, rule: &Rule) -> bool {
        let Rule { .. } = rule;
        let asked = self.0;
        let number = |asked: u32, is: u32| asked == 0 || asked == is;
        fn if_given<T: PartialEq>(asked: &Option<T>, is: &Option<T>) -> bool {
            asked.is_none() || asked == is
        }
        number(asked.action.0.into(), rule.action.0.into())
            && number(asked.table, rule.table)
            && number(asked.pref, rule.pref)
            && if_given(&asked.iif, &rule.iif)
            && if_given(&asked.oif, &rule.oif)
            && number(asked.mark, rule.mark)
            && if_given(&asked.suppress_group, &rule.suppress_group)
            && if_given(&asked.suppress_prefixlen, &rule.suppress_prefixlen)
            && number(asked.mark_mask, rule.mark_mask)
            && (asked.tun_id == 0 || asked.tun_id == rule.tun_id)
            && (!asked.l3mdev || rule.l3mdev)
            && if_given(&asked.uids, &rule.uids)
            && number(asked.ip_proto.into(), rule.ip_proto.into())
            && number(asked.protocol.into(), rule.protocol.into())
            && if_given(&asked.sport, &rule.sport)
            && if_given(&asked.dport, &rule.dport)
            && if_given(&asked.src, &rule.src)
            && if_given(&asked.dst, &rule.dst)
            && number(asked.tos.into(), rule.tos.into())
            && if_given(&asked.dscp, &rule.dscp)
            && number(asked.realms, rule.realms)
            && if_given(&asked.flow_label, &rule.flow_label)
    }
}

/// Whether two rules are the same to somebody who wants no double: whatever else they differ in.
fn same(a: &Rule, b: &Rule) -> bool {
    let flags = |rule: &Rule| rule.flags & rule_flag::INVERT;
    Rule { flags: 0, ..a.clone() } == Rule { flags: 0, ..b.clone() } && flags(a) == flags(b)
}

/// An unused table for a rule that names none: the first that has no routes.
const FREE_TABLES: std::ops::RangeInclusive<u32> = 1..=252;

impl Rtnl<'_> {
    /// Adds a rule (`RTM_NEWRULE`). Without preference it goes before the second one there is.
    ///
    /// # Errors
    /// [`RuleError`]; nothing has changed then.
    pub fn new_rule(&mut self, net: &Net, mut rule: Rule, has_pref: bool, exclusive: bool) -> Result<(), RuleError> {
        let Some(ns) = self.ns(net) else { return Err(RuleError::NoSuchNamespace) };
        let family = rule.family;
        let list = super::current(ns, family);
        if !has_pref {
            rule.pref = default_pref(&list);
        }
        if rule.action == Action::GOTO && rule.goto <= rule.pref {
            return Err(RuleError::BackwardGoto);
        }
        if rule.l3mdev && rule.table != 0 {
            return Err(RuleError::L3mdevTable);
        }
        if exclusive && list.iter().any(|other| same(other, &rule)) {
            return Err(RuleError::Exists);
        }
        if rule.table == 0 && rule.action == Action::TO_TABLE && !rule.l3mdev {
            rule.table = match family {
                Family::Inet => self.free_table(ns).ok_or(RuleError::NoTable)?,
                Family::Inet6 => return Err(RuleError::NoTable),
            };
        }
        if rule.action == Action::TO_TABLE && !rule.l3mdev && family == Family::Inet6 {
            inet6::make_table(ns, rule.table);
        }
        let rule = Arc::new(rule);
        let mut all: Vec<_> = list.iter().cloned().collect();
        let at = all.partition_point(|other| other.pref <= rule.pref);
        all.insert(at, Arc::clone(&rule));
        let view = RuleView::of(ns, &rule, &all);
        ns.rules.write().set(family, all, true);
        self.notify(ns, Notice::Rule(RuleNotice::New(view)));
        Ok(())
    }

    /// Deletes the first rule that fits (`RTM_DELRULE`).
    ///
    /// # Errors
    /// [`RuleError::NotFound`], [`RuleError::Permanent`].
    pub fn del_rule(&mut self, net: &Net, asked: &Rule, has_pref: bool) -> Result<(), RuleError> {
        let Some(ns) = self.ns(net) else { return Err(RuleError::NoSuchNamespace) };
        let list = super::current(ns, asked.family);
        // As if it were to be added.
        if asked.action == Action::GOTO && asked.goto <= if has_pref { asked.pref } else { default_pref(&list) } {
            return Err(RuleError::BackwardGoto);
        }
        let fits = |rule: &Arc<Rule>| (!has_pref || rule.pref == asked.pref) && Asked(asked).fits(rule);
        let at = list.iter().position(fits).ok_or(RuleError::NotFound)?;
        let rule = Arc::clone(&list[at]);
        if rule.flags & rule_flag::PERMANENT != 0 {
            return Err(RuleError::Permanent);
        }
        let view = RuleView::of(ns, &rule, &list);
        let mut rest: Vec<_> = list.iter().cloned().collect();
        rest.remove(at);
        ns.rules.write().set(asked.family, rest, asked.family == Family::Inet);
        self.notify(ns, Notice::Rule(RuleNotice::Del(view)));
        Ok(())
    }

    fn free_table(&self, ns: crate::state::Ns<'_>) -> Option<u32> {
        let rules = super::current(ns, Family::Inet);
        let fib = ns.peek_fib();
        let taken = |id: &u32| {
            rules.iter().any(|rule| rule.table == *id) || fib.as_ref().is_some_and(|fib| fib.table(*id).is_some())
        };
        FREE_TABLES.into_iter().find(|id| !taken(id))
    }
}

/// Before the second rule, if that leaves room: so that the first, which asks the local table, stays first.
fn default_pref(list: &[Arc<Rule>]) -> u32 {
    list.get(1).map_or(0, |second| second.pref.saturating_sub(1))
}

impl Rules {
    /// `custom`: rules are asked from now on, and not the tables that there are from the beginning.
    fn set(&mut self, family: Family, list: Vec<Arc<Rule>>, custom: bool) {
        self.of[family as usize] = Arc::new(list);
        self.custom[family as usize] |= custom;
        self.generation = self.generation.wrapping_add(1);
    }
}
