//! Writes to address 0.
//!
//! expected: killed
#![no_std]
#![no_main]

use user_lib::memory::write_word;
use user_lib::println;

#[unsafe(no_mangle)]
fn main() -> i32 {
    println!("bad_null: a write to address 0");
    // SAFETY: the kernel ends the program.
    unsafe { write_word(0, 1) };
    println!("bad_null: the kernel has allowed that");
    0
}
