//! A stack overflow in an image without the feature `paging`, by an array that is larger than the
//! stack. The boot page table maps nothing below a stack, so that the access faults and the
//! machine ends with a report.
//!
//! The boot argument `hart=N` chooses the hart; 0, the default, is the hart of `main`. With
//! `size=fits` the array fits, and the machine ends with status 0.
#![no_std]
#![no_main]

use core::hint::black_box;

use axstd::{env, harts, println};

/// The size in bytes of an array that fits into a stack of 256 KiB.
const FITS: usize = 100 << 10;
/// The size in bytes of an array that does not fit.
const TOO_LARGE: usize = 512 << 10;

#[unsafe(no_mangle)]
fn main() {
    let fill = match env::var("size") {
        Some("fits") => fill::<FITS>,
        _ => fill::<TOO_LARGE>,
    };
    let wanted = env::var("hart").and_then(|number| number.parse().ok());
    match wanted.unwrap_or(0) {
        0 => fill(),
        wanted => {
            let done = harts::run_on_all(|hart| {
                if hart == wanted {
                    fill();
                }
            });
            if let Err(error) = done {
                println!("{error:?}");
            }
        }
    }
}

/// Fills an array of `SIZE` bytes on the stack, and prints its sum.
#[inline(never)]
fn fill<const SIZE: usize>() {
    let array = black_box([0x41_u8; SIZE]);
    let sum: usize = black_box(&array)
        .iter()
        .map(|byte| usize::from(*byte))
        .sum();
    println!("{SIZE} bytes of the stack, sum {sum}");
}
