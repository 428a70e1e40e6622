//! Who makes a call on a datagram socket, and the filter that he gives it.

use pernet::{Cap, NetRef};
use pernet_stack::{Caller, FilterInstruction};

use crate::mem::Memory;
use crate::task::Task;
use crate::world::World;

/// Who makes a call, asked when it matters.
pub(super) struct TaskCaller<'w> {
    pub(super) world: &'w World,
    pub(super) task: Task,
    pub(super) net: &'w NetRef,
}

impl Caller for TaskCaller<'_> {
    fn capable(&self, cap: Cap) -> bool {
        self.world.users.cred(self.task).capable(self.net.owner(), cap)
    }
}

/// The instructions that a `sock_fprog` points to.
///
/// # Errors
/// EINVAL, EFAULT.
pub(super) fn read_program(task: Task, value: &[u8]) -> Result<Vec<FilterInstruction>, i32> {
    let whole: &[u8; 16] = value.first_chunk().ok_or(libc::EINVAL)?;
    let [low, high, _, _, _, _, _, _, pointer @ ..] = *whole;
    let count = usize::from(u16::from_ne_bytes([low, high]));
    let raw = Memory::of(task.tid).bytes(u64::from_ne_bytes(pointer), count * 8).map_err(|e| e.errno())?;
    let instruction = |&[a, b, jt, jf, k @ ..]: &[u8; 8]| FilterInstruction {
        code: u16::from_ne_bytes([a, b]),
        jt,
        jf,
        k: u32::from_ne_bytes(k),
    };
    Ok(raw.as_chunks().0.iter().map(instruction).collect())
}
