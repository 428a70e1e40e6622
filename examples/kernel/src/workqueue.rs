//! The executor: tasks that sleep until somebody raises their flag.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

/// A task's flag. Raising it is one store: fit for an interrupt, and for `on_work`.
#[derive(Default)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) fn raise(&self) {
        // Release: who takes the flag sees what was done before it was raised.
        self.0.store(true, Ordering::Release);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Acquire)
    }
}

/// What a task says when it gives the CPU back.
#[derive(PartialEq, Eq)]
pub(crate) enum Turn {
    /// There is more to do; others first.
    Again,
    /// Until the flag is raised again.
    Sleep,
}

struct Task {
    flag: Arc<Flag>,
    run: Box<dyn FnMut() -> Turn>,
}

/// Runs tasks in turn.
#[derive(Default)]
pub(crate) struct Executor {
    tasks: Vec<Task>,
}

impl Executor {
    /// Adds a task, asleep.
    pub(crate) fn spawn(&mut self, flag: &Arc<Flag>, run: impl FnMut() -> Turn + 'static) {
        self.tasks.push(Task { flag: Arc::clone(flag), run: Box::new(run) });
    }

    /// Runs whoever is awake until all sleep. Says how many turns that took.
    pub(crate) fn run_until_idle(&mut self) -> usize {
        let mut turns = 0;
        loop {
            let before = turns;
            for task in &mut self.tasks {
                // Taken before the run: what is raised during it counts for the next.
                if task.flag.take() {
                    turns += 1;
                    if (task.run)() == Turn::Again {
                        task.flag.raise();
                    }
                }
            }
            if turns == before {
                return turns;
            }
        }
    }
}
