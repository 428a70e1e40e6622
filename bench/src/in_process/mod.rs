//! What packets cost in one process, without any supervisor: the part of `stack` that has no other side.
//!
//! One thread does everything, and what is counted is the time that it has the processor: on an idle machine that is all of
//! the time.
//!
//! | row | what |
//! |---|---|
//! | `forward_64`, `forward_64_1000` | a frame of 64 bytes through a router: one flow, and a thousand destinations |
//! | `forward_64_udp` | the same, taken by a socket at the end |
//! | `forward6_64` | a frame of 64 bytes with IPv6 through a router |
//! | `tcp_in_process` | one stream of pieces of 64 KiB, the devices' MTU 1500, one thread at both ends |
//! | `tcp_in_process_segments` | the same, every byte of it in segments: the stack is kept from the short way |
//! | `tcp_in_process_round_trip` | a byte there and back |
//! | `tcp_idle` | memory of an end of a connection that was used and is idle |

pub(crate) mod forward;
pub(crate) mod stream;
pub(crate) mod world;

use crate::row::Row;
use anyhow::Result;

/// Arguments of the hidden `in-process` command.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each measurement lasts, milliseconds.
    #[arg(long, default_value_t = 1000)]
    ms: u64,
    /// Only the rows whose names begin so.
    #[arg(long, default_value = "")]
    only: String,
}

type Measure = fn(&Args) -> Result<Row>;
const ALL: [(&str, Measure); 8] = [
    // First, in a fresh heap.
    ("tcp_idle", |_| stream::idle()),
    ("forward_64", |args| forward::measure("forward_64", args.ms, forward::Path::new(1, false)?)),
    ("forward_64_1000", |args| forward::measure("forward_64_1000", args.ms, forward::Path::new(1000, false)?)),
    ("forward_64_udp", |args| forward::measure("forward_64_udp", args.ms, forward::Path::new(1, true)?)),
    ("forward6_64", |args| forward::measure("forward6_64", args.ms, forward::Path::new6(1)?)),
    ("tcp_in_process", |args| stream::bulk("tcp_in_process", args.ms, false)),
    ("tcp_in_process_segments", |args| stream::bulk("tcp_in_process_segments", args.ms, true)),
    ("tcp_in_process_round_trip", |args| stream::round_trip(args.ms)),
];

/// Measures and prints rows as JSON.
pub(crate) fn run(args: &Args) -> Result<()> {
    for (name, measure) in ALL {
        if name.starts_with(&args.only) {
            println!("{}", measure(args)?.to_json());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_measured() {
        for (name, measure) in ALL {
            let row = measure(&Args { ms: 1, only: String::new() }).expect(name);
            assert_eq!(row.what, name);
        }
    }
}
