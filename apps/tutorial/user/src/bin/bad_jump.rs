//! Calls an address at which nothing is mapped.
//!
//! expected: killed
#![no_std]
#![no_main]

use user_lib::hostile::jump;
use user_lib::memory::FREE;
use user_lib::println;

#[unsafe(no_mangle)]
fn main() -> i32 {
    println!("bad_jump: a call of {FREE:#x}");
    // SAFETY: the kernel ends the program.
    unsafe { jump(FREE) };
    println!("bad_jump: the kernel has allowed that");
    0
}
