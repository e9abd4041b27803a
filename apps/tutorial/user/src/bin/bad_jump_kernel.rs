//! Calls the kernel's code.
//!
//! expected: killed
#![no_std]
#![no_main]

use user_lib::hostile::{KERNEL, jump};
use user_lib::println;

/// Where the program jumps to. On loongarch64 it is memory that the kernel does not use at this
/// moment, because QEMU 10.0 hangs on a jump that an entry of the TLB refuses.
const TARGET: usize = if cfg!(target_arch = "loongarch64") {
    KERNEL + (64 << 20)
} else {
    KERNEL
};

#[unsafe(no_mangle)]
fn main() -> i32 {
    println!("bad_jump_kernel: a call of {TARGET:#x}");
    // SAFETY: the kernel ends the program.
    unsafe { jump(TARGET) };
    println!("bad_jump_kernel: the kernel has allowed that");
    0
}
