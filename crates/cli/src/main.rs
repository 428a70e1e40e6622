//! The `pernet` command.
#![forbid(unsafe_code)]
fn main() {}
