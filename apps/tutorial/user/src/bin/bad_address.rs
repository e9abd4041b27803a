//! Reads an address with too many bits. On x86_64 it is not canonical.
//!
//! expected: killed
#![no_std]
#![no_main]

use user_lib::hostile::TOO_LARGE;
use user_lib::memory::read_word;
use user_lib::println;

#[unsafe(no_mangle)]
fn main() -> i32 {
    println!("bad_address: a read of {TOO_LARGE:#x}");
    // SAFETY: the kernel ends the program.
    unsafe { read_word(TOO_LARGE) };
    println!("bad_address: the kernel has allowed that");
    0
}
