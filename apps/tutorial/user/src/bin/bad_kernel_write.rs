//! Writes to the kernel's code.
//!
//! expected: killed
#![no_std]
#![no_main]

use user_lib::hostile::KERNEL;
use user_lib::memory::write_word;
use user_lib::println;

#[unsafe(no_mangle)]
fn main() -> i32 {
    println!("bad_kernel_write: a write to {KERNEL:#x}");
    // SAFETY: the kernel ends the program.
    unsafe { write_word(KERNEL, 1) };
    println!("bad_kernel_write: the kernel has allowed that");
    0
}
