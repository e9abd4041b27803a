//! Runs 16 children at the same time.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use user_lib::println;
use user_lib::process::{begin, wait_for};
use user_lib::syscall::{getpid, yield_now};

#[unsafe(no_mangle)]
fn main() -> i32 {
    let children: [isize; 16] = core::array::from_fn(|number| {
        begin(|| {
            for _ in 0..10 {
                yield_now();
            }
            println!("many: child {number} is process {}", getpid());
            number as i32
        })
    });
    for (number, child) in children.into_iter().enumerate() {
        assert_eq!(wait_for(child), number as i32);
    }
    println!("many: all have ended");
    0
}
