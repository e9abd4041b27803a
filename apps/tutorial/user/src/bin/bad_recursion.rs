//! Calls itself without end.
//!
//! expected: killed
#![no_std]
#![no_main]

use core::hint::black_box;
use user_lib::println;

fn endless(depth: u64) -> u64 {
    // Without end for the compiler, too: it does not know that the frame holds `depth`.
    let frame = black_box([depth; 8]);
    match frame[0] {
        u64::MAX => 0,
        _ => black_box(endless(depth + 1)) + frame[7],
    }
}

#[unsafe(no_mangle)]
fn main() -> i32 {
    println!("bad_recursion: calls without end");
    endless(0);
    println!("bad_recursion: the kernel has allowed that");
    0
}
