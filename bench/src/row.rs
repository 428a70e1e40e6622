//! One figure: the object that a line of `--json` holds, and that a half hands to the process that compares.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Whose figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    /// The kernel of this machine.
    Kernel,
    /// pernet, in this build.
    Pernet,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Pernet => "pernet",
        })
    }
}

/// One measured thing. A field that does not apply is left out of the JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Who was measured.
    pub(crate) side: Side,
    /// The operation: those of the group `core` are in [`crate::life`], those of `depth` in [`crate::depth`], of `control`
    /// in [`crate::control`], of `stack` in [`crate::group_stack`], `start` is `run`'s, and `capped` stands for a line that only says why a side was measured at a smaller `n`, or not at all.
    pub(crate) what: String,
    /// How many namespaces (or, for `start`, how many times).
    pub(crate) n: u64,
    /// Microseconds for each one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) us_each: Option<f64>,
    /// The fastest of several, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) us_min: Option<f64>,
    /// The slowest of several, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) us_max: Option<f64>,
    /// Memory for each one, in KiB.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) kib_each: Option<f64>,
    /// Over how many namespaces `kib_each` is the average, where that is not `n`: one alone vanishes in the noise.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) kib_over: Option<u64>,
    /// Entries that a dump delivered; fewer than `n` means that entries were lost.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) entries_seen: Option<u64>,
    /// Nanoseconds for each entry delivered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) ns_each: Option<f64>,
    /// How often as fast as one thread several together are.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) speedup: Option<f64>,
    /// The most memory that the process ever held, in MiB.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) peak_mib: Option<f64>,
    /// Gigabits a second.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) gbit_s: Option<f64>,
    /// Milliseconds for all of them together.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) total_ms: Option<f64>,
    /// Of how many repetitions the times are the median, where more than one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) rounds: Option<u64>,
    /// With `capped`: the n that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) asked: Option<u64>,
    /// With `capped`: why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) reason: Option<String>,
}

impl Row {
    /// A row without figures yet.
    pub(crate) fn new(side: Side, what: &str, n: u64) -> Self {
        Self {
            side,
            what: what.to_owned(),
            n,
            us_each: None,
            us_min: None,
            us_max: None,
            kib_each: None,
            kib_over: None,
            entries_seen: None,
            ns_each: None,
            speedup: None,
            peak_mib: None,
            gbit_s: None,
            total_ms: None,
            rounds: None,
            asked: None,
            reason: None,
        }
    }

    /// A row that says why `side` was measured at `n` although `asked` was wanted (`n` is 0: not at all).
    pub(crate) fn capped(side: Side, asked: u64, n: u64, reason: String) -> Self {
        Self { asked: Some(asked), reason: Some(reason), ..Self::new(side, "capped", n) }
    }

    /// One line of JSON.
    pub(crate) fn to_json(&self) -> String {
        // A struct of strings and finite numbers always serialises; `measure` never makes a NaN.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_the_names_and_leaves_out_what_does_not_apply() {
        let row = Row { us_each: Some(1.5), ..Row::new(Side::Kernel, "create", 7) };
        assert_eq!(row.to_json(), r#"{"side":"kernel","what":"create","n":7,"us_each":1.5}"#);
    }

    #[test]
    fn json_goes_there_and_back() {
        let row = Row { entries_seen: Some(134), ns_each: Some(88.0), ..Row::new(Side::Pernet, "dump", 3000) };
        let back: Row = serde_json::from_str(&row.to_json()).expect("parses");
        assert_eq!(back, row);
    }
}
