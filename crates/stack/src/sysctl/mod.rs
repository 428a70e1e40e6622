//! The settings of a namespace under `/proc/sys/net`.

/// What a namespace has of it, as far as it differs from what it was born with.
#[derive(Debug, Default)]
pub(crate) struct Sysctls {}
