//! Prints a line.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use user_lib::println;

#[unsafe(no_mangle)]
fn main() -> i32 {
    println!("Hello from user mode.");
    0
}
