//! A kernel in miniature: what it takes to embed the namespace core where there is no std.
//!
//! The machine below it (`host.c` here, firmware or a hypervisor elsewhere) gives two calls: a console and a way to
//! stop. Everything else is in this crate: memory, locks, the queue of deferred work, processes.
//!
//! | file | what it is in Linux |
//! |---|---|
//! | `memory.rs` | `kmalloc`: a free-list allocator over a static arena, which counts |
//! | `lock.rs` | `spinlock_t` |
//! | `workqueue.rs` | the executor; one of its tasks is the `netns` workqueue |
//! | `platform.rs` | `synchronize_rcu`, `call_rcu`, `rcu_barrier` |
//! | `subsystems.rs` | three users of `register_pernet_subsys` and `register_pernet_device` |
//! | `process.rs` | `nsproxy`, `unshare`, `setns`, exit, a descriptor of `/proc/<pid>/ns/net` |
//! | `boot.rs` | what happens, and the checks |
#![no_std]

extern crate alloc;

mod boot;
mod console;
mod lock;
mod memory;
mod platform;
mod process;
mod subsystems;
mod workqueue;

use console::print;

#[global_allocator]
static HEAP: memory::Heap = memory::Heap::new();

/// Boots, runs and shuts down. 0 if every check held and every byte came back.
// SAFETY: no other symbol of this name exists; the host calls it by this signature.
#[unsafe(no_mangle)]
pub extern "C" fn kernel_main() -> i32 {
    let before = HEAP.usage();
    boot::run(&HEAP);
    let after = HEAP.usage();
    print!("off: {} bytes in {} blocks are still out", after.bytes - before.bytes, after.blocks - before.blocks);
    i32::from(after.blocks != before.blocks || after.bytes != before.bytes)
}

/// A kernel that cannot go on says so and stops.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    print!("panic: {info}");
    console::halt()
}
