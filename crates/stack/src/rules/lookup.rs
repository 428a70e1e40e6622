//! Asking the rules.

use std::net::IpAddr;

use super::rule::{Action, Family, Rule};
use crate::errno;
use crate::state::Ns;

/// What rules look at in a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selectors {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// Type of service, or traffic class.
    pub(crate) tos: u8,
    pub(crate) mark: u32,
    /// Device it came in by; the loopback's for what this host sends.
    pub(crate) iif: u32,
    /// Device it must leave by, 0 for any.
    pub(crate) oif: u32,
    pub(crate) uid: u32,
    pub(crate) protocol: u8,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
    pub(crate) flow_label: u32,
}

/// What a table says of a packet, and the rules in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict<T> {
    /// This.
    Found(T),
    /// Nothing: the next rule is asked.
    Continue,
    /// The search ends with this errno.
    Fail(i32),
}

/// Asks the tables that the rules name for this packet, one after the other (`fib_rules_lookup`). `ask` gets the table
/// and the rule, whose wishes about what to suppress are its to follow. [`Verdict::Continue`] if all were asked in vain.
pub(crate) fn lookup<T>(
    ns: Ns<'_>,
    family: Family,
    packet: &Selectors,
    mut ask: impl FnMut(u32, &Rule) -> Verdict<T>,
) -> Verdict<T> {
    // Where nobody has added a rule, IPv6's are not looked at: it asks the main table even where its rule is gone. IPv4
    // without rules is `fib_lookup`'s own matter.
    if family == Family::Inet6 && !super::has_custom(ns, family) {
        let plain = Rule::new(family);
        for table in [255, 254] {
            match ask(table, &plain) {
                Verdict::Continue => {}
                verdict => return verdict,
            }
        }
        return Verdict::Continue;
    }
    let rules = super::current(ns, family);
    let mut at = 0;
    while let Some(rule) = rules.get(at) {
        at += 1;
        if !rule.fits(ns, packet) {
            continue;
        }
        match rule.action {
            Action::GOTO => {
                // Only forward, so this ends; a target that is not there is no target.
                let target = rules.partition_point(|other| other.pref < rule.goto);
                if rules.get(target).is_some_and(|other| other.pref == rule.goto) {
                    at = at.max(target);
                }
            }
            Action::TO_TABLE => match ask(rule.table, rule) {
                Verdict::Continue => {}
                verdict => return verdict,
            },
            Action::NOP => {}
            Action::UNREACHABLE => return Verdict::Fail(errno::ENETUNREACH),
            Action::PROHIBIT => return Verdict::Fail(errno::EACCES),
            _ => return Verdict::Fail(errno::EINVAL),
        }
    }
    Verdict::Continue
}
