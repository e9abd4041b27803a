//! What runs before a program's `main`, and after a panic.

use core::panic::PanicInfo;

use crate::syscall::exit;

unsafe extern "Rust" {
    /// The program. Its result is the exit status.
    safe fn main() -> i32;
}

/// Runs the program. The entry code of the machine calls this.
pub extern "C" fn start() -> ! {
    exit(main())
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    println!("{info}");
    exit(-1)
}
