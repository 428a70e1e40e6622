//! What the machine below offers.

use core::fmt::{self, Write};

// SAFETY: `host.c` defines both with these types, and they may be called at any time from any context.
unsafe extern "C" {
    fn machine_write(text: *const u8, len: usize);
    safe fn machine_halt() -> !;
}

/// Stops the machine.
pub(crate) fn halt() -> ! {
    machine_halt()
}

/// The console, without a buffer and so without an allocation.
pub(crate) struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: pointer and length are those of a string that outlives the call; it is only read.
        unsafe { machine_write(text.as_ptr(), text.len()) };
        Ok(())
    }
}

/// One line on the console.
macro_rules! print {
    ($($arg:tt)*) => {{
        use core::fmt::Write as _;
        // The console accepts everything.
        let _ = writeln!($crate::console::Console, $($arg)*);
    }};
}
pub(crate) use print;
