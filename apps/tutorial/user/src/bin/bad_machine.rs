//! Executes each instruction that ends a program on this machine, in a child.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use user_lib::hostile::EXCEPTIONS;
use user_lib::println;
use user_lib::process::in_child;

#[unsafe(no_mangle)]
fn main() -> i32 {
    for (name, instruction) in EXCEPTIONS {
        let status = in_child(|| {
            instruction();
            0
        });
        assert_ne!(status, 0, "the kernel has allowed {name}");
    }
    println!("bad_machine: {} children were ended", EXCEPTIONS.len());
    0
}
