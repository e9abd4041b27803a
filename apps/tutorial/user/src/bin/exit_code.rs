//! Ends with a status that is not 0. Other programs begin it and wait for it.
//!
//! expected: exit 7
#![no_std]
#![no_main]

use user_lib::println;

#[unsafe(no_mangle)]
fn main() -> i32 {
    println!("exit_code: 7");
    7
}
