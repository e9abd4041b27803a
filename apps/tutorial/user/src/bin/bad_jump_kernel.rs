//! Calls the kernel's code.
//!
//! expected: killed
#![no_std]
#![no_main]

use user_lib::hostile::{KERNEL, jump};
use user_lib::println;

#[unsafe(no_mangle)]
fn main() -> i32 {
    println!("bad_jump_kernel: a call of {KERNEL:#x}");
    // SAFETY: the kernel ends the program.
    unsafe { jump(KERNEL) };
    println!("bad_jump_kernel: the kernel has allowed that");
    0
}
