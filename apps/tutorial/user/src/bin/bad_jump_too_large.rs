//! Calls an address with too many bits.
//!
//! expected: killed
#![no_std]
#![no_main]

use user_lib::hostile::{TOO_LARGE, jump};
use user_lib::println;

#[unsafe(no_mangle)]
fn main() -> i32 {
    println!("bad_jump_too_large: a call of {TOO_LARGE:#x}");
    // SAFETY: the kernel ends the program.
    unsafe { jump(TOO_LARGE) };
    println!("bad_jump_too_large: the kernel has allowed that");
    0
}
