//! Has a frame of 64 KiB.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use core::hint::black_box;
use user_lib::println;

#[unsafe(no_mangle)]
fn main() -> i32 {
    let mut frame = [0_u8; 64 << 10];
    for (index, byte) in black_box(&mut frame).iter_mut().enumerate() {
        *byte = index as u8;
    }
    let sum: u64 = black_box(&frame).iter().map(|byte| u64::from(*byte)).sum();
    assert_eq!(sum, 256 * (255 * 256 / 2));
    println!("big_stack: 64 KiB in one frame");
    0
}
