//! What happens over time, on a clock that a test moves.
