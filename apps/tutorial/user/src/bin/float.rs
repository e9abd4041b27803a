//! Computes with floating point while other processes do. riscv64 has registers for that, which each
//! process must find as it left them. The other machines compute in software.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use user_lib::println;
use user_lib::process::{begin, wait_for};
use user_lib::syscall::yield_now;

/// Returns the square root, by Newton's method. Yields in each round.
fn root_of(square: f64) -> f64 {
    let mut root = square;
    for _ in 0..60 {
        let better = (root + square / root) / 2.0;
        yield_now();
        root = better;
    }
    root
}

fn is_near(root: f64, square: f64) -> bool {
    let error = root * root - square;
    -1e-9 < error && error < 1e-9
}

#[unsafe(no_mangle)]
fn main() -> i32 {
    let children: [isize; 4] = core::array::from_fn(|number| {
        begin(|| i32::from(!is_near(root_of(number as f64 + 2.0), number as f64 + 2.0)))
    });
    assert!(is_near(root_of(10.0), 10.0));
    for child in children {
        assert_eq!(wait_for(child), 0);
    }
    println!("float: five square roots");
    0
}
