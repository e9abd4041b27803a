//! Writes to its own code.
//!
//! expected: killed
#![no_std]
#![no_main]

use user_lib::memory::write_word;
use user_lib::println;

#[unsafe(no_mangle)]
fn main() -> i32 {
    println!("bad_text_write: a write to code");
    // SAFETY: the kernel ends the program.
    unsafe { write_word(main as *const () as usize & !7, 1) };
    println!("bad_text_write: the kernel has allowed that");
    0
}
