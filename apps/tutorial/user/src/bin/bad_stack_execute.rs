//! Calls its own stack.
//!
//! expected: killed
#![no_std]
#![no_main]

use user_lib::hostile::jump;
use user_lib::println;

#[unsafe(no_mangle)]
fn main() -> i32 {
    println!("bad_stack_execute: a call of the stack");
    let word = 5_u64;
    // SAFETY: the kernel ends the program.
    unsafe { jump(&raw const word as usize) };
    println!("bad_stack_execute: the kernel has allowed that");
    0
}
