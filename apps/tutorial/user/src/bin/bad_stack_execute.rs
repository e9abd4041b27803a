//! Calls its own stack.
//!
//! expected: killed
#![no_std]
#![no_main]

use user_lib::hostile::jump;
use user_lib::println;

/// How far below a word of the stack the program jumps to. On loongarch64 it is a page of the stack
/// that is not in the TLB, because QEMU 10.0 hangs on a jump that an entry of the TLB refuses.
const BELOW: usize = if cfg!(target_arch = "loongarch64") {
    128 << 10
} else {
    0
};

#[unsafe(no_mangle)]
fn main() -> i32 {
    println!("bad_stack_execute: a call of the stack");
    let word = 5_u64;
    // SAFETY: the kernel ends the program.
    unsafe { jump(&raw const word as usize - BELOW) };
    println!("bad_stack_execute: the kernel has allowed that");
    0
}
