//! Makes system calls, and is interrupted, while each register holds an address of the kernel. The
//! kernel uses some of these registers for itself.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use user_lib::hostile::{KERNEL, TOO_LARGE, getpid_with_registers};
use user_lib::println;
use user_lib::syscall::getpid;

/// Enough for a timer interrupt.
const ROUNDS: usize = 10_000_000;

#[unsafe(no_mangle)]
fn main() -> i32 {
    let process = getpid();
    for value in [KERNEL, TOO_LARGE, usize::MAX, 0, 1] {
        for rounds in [1, 1000, ROUNDS] {
            assert_eq!(getpid_with_registers(value, rounds), process, "{value:#x}");
        }
    }
    println!("bad_registers: all were preserved");
    0
}
