//! Calls about the caller itself that would show, or spoil, what we wrote on it.

use super::Outcome;
use crate::listener::Call;
use crate::mem::Memory;

/// Answers a call of this family.
pub(crate) fn handle(call: &Call) -> Outcome {
    use libc::*;
    let memory = Memory::of(call.tid);
    match call.nr {
        // The limit that carries the namespace reads as what it is on any machine: none.
        SYS_prlimit64 if call.args[3] != 0 => unlimited(memory, call.args[3]),
        SYS_getrlimit => unlimited(memory, call.args[1]),
        SYS_prlimit64 | SYS_setrlimit => Outcome::Value(0),
        // A task that hides its memory could no longer be served; that it does not hide from us it cannot see.
        SYS_prctl if call.args[1] == 0 => Outcome::Value(0),
        SYS_getresuid | SYS_getresgid => {
            let zero = 0u32.to_ne_bytes();
            let all = call.args[..3].iter().try_for_each(|&at| memory.write(at, &zero));
            all.map_or_else(|e| Outcome::Errno(e.errno()), |()| Outcome::Value(0))
        }
        _ => Outcome::Proceed,
    }
}

fn unlimited(memory: Memory, at: u64) -> Outcome {
    memory.write(at, &[0xff; 16]).map_or_else(|e| Outcome::Errno(e.errno()), |()| Outcome::Value(0))
}
