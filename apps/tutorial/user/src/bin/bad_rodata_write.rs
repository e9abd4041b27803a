//! Writes to its own constants.
//!
//! expected: killed
#![no_std]
#![no_main]

use user_lib::memory::write_word;
use user_lib::println;

static CONSTANT: u64 = 5;

#[unsafe(no_mangle)]
fn main() -> i32 {
    println!("bad_rodata_write: a write to a constant");
    // SAFETY: the kernel ends the program.
    unsafe { write_word(&raw const CONSTANT as usize, 1) };
    println!("bad_rodata_write: the kernel has allowed that");
    0
}
