//! Spans for `tracing`, where the feature asks for them; nothing otherwise, not even the arguments.

/// Enters a span until the end of the block. A subscriber is foreign code: never under a lock.
#[cfg(feature = "tracing")]
macro_rules! span {
    ($name:literal $($fields:tt)*) => {
        let _entered = tracing::debug_span!(target: "pernet", $name $($fields)*).entered();
    };
}

#[cfg(not(feature = "tracing"))]
macro_rules! span {
    ($($anything:tt)*) => {};
}
