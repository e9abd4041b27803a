//! Reads the kernel's code.
//!
//! expected: killed
#![no_std]
#![no_main]

use user_lib::hostile::KERNEL;
use user_lib::memory::read_word;
use user_lib::println;

#[unsafe(no_mangle)]
fn main() -> i32 {
    println!("bad_kernel_read: a read of {KERNEL:#x}");
    // SAFETY: the kernel ends the program.
    unsafe { read_word(KERNEL) };
    println!("bad_kernel_read: the kernel has allowed that");
    0
}
