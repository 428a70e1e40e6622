//! Options of sockets without connections.

use pernet_stack::InetSocket;

use super::DatagramFd;
use crate::bpf::{SO_TIMESTAMP_NEW, SO_TIMESTAMPING_NEW, SO_TIMESTAMPNS_NEW};
use crate::caller::Caller;
use crate::inet::caller::read_program;
use crate::inet::core::is_buffer;
use crate::inet::{Family, common_option, option_value, refuse};
use crate::listener::Call;
use crate::mem::Memory;
use crate::syscalls::Outcome;
use crate::task::Task;
use crate::world::{World, lock};

/// Options of level SOL_SOCKET that the stand-in has of its own: it answers what they are.
const NATIVE_TOO: [i32; 10] = [
    libc::SO_REUSEADDR,
    libc::SO_BROADCAST,
    libc::SO_DONTROUTE,
    libc::SO_TIMESTAMP,
    libc::SO_TIMESTAMPNS,
    libc::SO_TIMESTAMPING,
    SO_TIMESTAMP_NEW,
    SO_TIMESTAMPNS_NEW,
    SO_TIMESTAMPING_NEW,
    libc::SO_RXQ_OVFL,
];

impl DatagramFd {
    pub(super) fn getsockopt(&self, task: Task, call: &Call) -> Result<i64, i32> {
        if let Some(answer) = common_option(task, call, self.kind, &self.net) {
            return answer;
        }
        let memory = Memory::of(task.tid);
        let room = memory.u32(call.args[4]).map_err(|e| e.errno())?;
        let room = usize::try_from(room.cast_signed()).map_err(|_| libc::EINVAL)?;
        // Of some options what is asked for stands where the answer goes.
        let asks = InetSocket::asks(call.int(1), call.int(2)).max(size_of::<i32>());
        let given = memory.bytes(call.args[3], room.min(asks)).unwrap_or_default();
        let value = self.core.option(call.int(1), call.int(2), room, &given)?;
        memory.write_sized(call.args[3], call.args[4], &value).map_err(|e| e.errno())?;
        Ok(0)
    }

    pub(super) fn setsockopt(&self, world: &World, caller: &Caller, call: &Call) -> Outcome {
        let task = caller.task;
        let (level, name) = (call.int(1), call.int(2));
        let value = match option_value(task, call) {
            Ok(value) => value,
            Err(e) => return Outcome::Errno(e),
        };
        if level == libc::SOL_SOCKET
            && let Some(errno) = refuse(name, &value)
        {
            return Outcome::Errno(errno);
        }
        if level == libc::SOL_SOCKET
            && let Some(result) = self.filter(task, name, &value)
        {
            return Outcome::from(result.map(|()| 0));
        }
        if level == libc::SOL_SOCKET && matches!(name, libc::SO_ATTACH_FILTER | libc::SO_ATTACH_BPF) {
            // It is the kernel's to apply, in the pair.  Whether it is refused, or taken away again, we need not know.
            let mut state = lock(&self.state);
            self.fill(world, &mut state);
            state.filtered = true;
        }
        if level == libc::SOL_PACKET
            && let Err(e) = self.prepare_ring(world, task, name)
        {
            return Outcome::Errno(e);
        }
        if (level, name) == (libc::SOL_PACKET, libc::PACKET_FANOUT) {
            // Members that were closed are found by looking only, and would have their share of what comes.
            world.sockets.sweep(1);
        }
        if let Some(result) = self.fanout_program(task, level, name, &value) {
            return Outcome::from(result.map(|()| 0));
        }
        match self.core.set_option(level, name, &value, &self.privileges(world, task)) {
            Ok(()) if level == libc::SOL_SOCKET && NATIVE_TOO.contains(&name) => Outcome::Proceed,
            Err(libc::ENOPROTOOPT) if level == libc::SOL_SOCKET => Outcome::Proceed,
            Ok(()) if level == libc::SOL_SOCKET && is_buffer(name) => {
                self.make_room();
                Outcome::Value(0)
            }
            result => Outcome::from(result.map(|()| 0)),
        }
    }

    /// PACKET_FANOUT_DATA of a group that chooses by a program, which is where the value points to.
    fn fanout_program(&self, task: Task, level: i32, name: i32, value: &[u8]) -> Option<Result<(), i32>> {
        let socket = self.core.packet().filter(|_| (level, name) == (libc::SOL_PACKET, libc::PACKET_FANOUT_DATA))?;
        if !socket.wants_fanout_program() || value.len() != size_of::<libc::sock_fprog>() {
            return None;
        }
        let program = read_program(task, value);
        Some(program.and_then(|program| socket.set_fanout_program(&program).map_err(|e| e.errno())))
    }

    /// SO_ATTACH_FILTER and SO_DETACH_FILTER, where the stand-in's filter would not see what the socket's does.
    fn filter(&self, task: Task, name: i32, value: &[u8]) -> Option<Result<(), i32>> {
        if name == libc::SO_DETACH_FILTER {
            return self.core.set_filter(None);
        }
        if name != libc::SO_ATTACH_FILTER || self.kind.family != Family::Packet {
            return None;
        }
        self.core.set_filter(Some(&match read_program(task, value) {
            Ok(program) => program,
            Err(e) => return Some(Err(e)),
        }))
    }
}
