//! Scenario harness.
#![forbid(unsafe_code)]
