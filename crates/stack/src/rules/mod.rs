//! Routing policy rules of either family.

/// What a namespace has of it.
#[derive(Debug, Default)]
pub(crate) struct Rules {}

/// What listeners are told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RuleNotice {}
