//! Makes system calls with stack pointers that are none. The kernel has a stack of its own.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use user_lib::hostile::{KERNEL, TOO_LARGE, getpid_with_stack_at};
use user_lib::println;
use user_lib::syscall::getpid;

#[unsafe(no_mangle)]
fn main() -> i32 {
    for stack in [0, 1, 8, KERNEL, KERNEL + 1, TOO_LARGE, usize::MAX] {
        assert_eq!(getpid_with_stack_at(stack), getpid(), "{stack:#x}");
    }
    println!("bad_stack_call: the stack pointer does not matter");
    0
}
