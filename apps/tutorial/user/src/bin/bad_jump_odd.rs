//! Calls an odd address at which nothing is mapped.
//!
//! expected: killed
#![no_std]
#![no_main]

use user_lib::hostile::jump;
use user_lib::memory::FREE;
use user_lib::println;

#[unsafe(no_mangle)]
fn main() -> i32 {
    println!("bad_jump_odd: a call of an odd address");
    // SAFETY: the kernel ends the program.
    unsafe { jump(FREE + 1) };
    println!("bad_jump_odd: the kernel has allowed that");
    0
}
