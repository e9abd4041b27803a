//! Calls itself deeply, within the stack.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use core::hint::black_box;
use user_lib::println;

/// Each call needs some 100 bytes, and the stack has 1 MiB.
const DEPTH: u64 = 4000;

fn sum_to(number: u64) -> u64 {
    // The calls stay calls, and each needs its frame.
    let frame = black_box([number; 8]);
    match number {
        0 => 0,
        _ => black_box(sum_to(number - 1)) + frame[7],
    }
}

#[unsafe(no_mangle)]
fn main() -> i32 {
    assert_eq!(sum_to(DEPTH), DEPTH * (DEPTH + 1) / 2);
    println!("deep: {DEPTH} calls");
    0
}
