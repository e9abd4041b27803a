//! Points the stack to the kernel's code, and writes to the stack.
//!
//! expected: killed
#![no_std]
#![no_main]

use user_lib::hostile::{KERNEL, fault_with_stack_at};
use user_lib::println;

#[unsafe(no_mangle)]
fn main() -> i32 {
    println!("bad_stack_kernel: a stack at {KERNEL:#x}");
    fault_with_stack_at(KERNEL + 1);
    println!("bad_stack_kernel: the kernel has allowed that");
    0
}
