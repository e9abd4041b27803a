//! Yields between lines.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use user_lib::println;
use user_lib::syscall::{getpid, yield_now};

#[unsafe(no_mangle)]
fn main() -> i32 {
    for round in 0..5 {
        println!("yields: process {}, round {round}", getpid());
        assert_eq!(yield_now(), 0);
    }
    0
}
