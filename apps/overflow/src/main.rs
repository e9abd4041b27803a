//! A function with an array that is larger than the stack, in an image without the feature
//! `paging`: the boot page table has nothing below a stack, so the machine ends with a
//! report. The boot argument `hart=N` says on which hart; 0 is `main`'s own.
//!
//! With `size=fits` the array fits, and the machine ends well.
#![no_std]
#![no_main]

use core::hint::black_box;

use axstd::{env, harts, println};

/// An array of 100 KiB fits into a stack of 256 KiB.
const FITS: usize = 100 << 10;
/// One of 512 KiB does not.
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

/// Fills an array of so many bytes on the stack.
#[inline(never)]
fn fill<const SIZE: usize>() {
    let array = black_box([0x41_u8; SIZE]);
    let sum: usize = black_box(&array)
        .iter()
        .map(|byte| usize::from(*byte))
        .sum();
    println!("{SIZE} bytes of the stack, sum {sum}");
}
