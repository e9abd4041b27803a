//! What no program may do. The kernel ends a program that does, or refuses the call.
//!
//! The accesses are made in assembly: the compiler then assumes nothing about them.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "loongarch64")]
mod loongarch64;
#[cfg(target_arch = "riscv64")]
mod riscv64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
use aarch64 as machine;
#[cfg(target_arch = "loongarch64")]
use loongarch64 as machine;
#[cfg(target_arch = "riscv64")]
use riscv64 as machine;
#[cfg(target_arch = "x86_64")]
use x86_64 as machine;

pub use machine::{
    EXCEPTIONS, KERNEL, fault_with_stack_at, getpid_with_registers, getpid_with_stack_at,
};

use core::mem;

/// An address that no machine can translate, because it has too many bits.
pub const TOO_LARGE: usize = 1 << 52;

/// Executes an instruction that does not exist.
pub fn illegal() -> i32 {
    machine::illegal();
    0
}

/// Executes an instruction that only the kernel may.
pub fn privileged() -> i32 {
    machine::privileged();
    0
}

/// Calls the code at an address.
///
/// # Safety
///
/// There is a function without arguments, or the kernel ends the program.
pub unsafe fn jump(address: usize) {
    // SAFETY: the caller's promise. The address is not 0.
    let function = unsafe { mem::transmute::<usize, extern "C" fn()>(address.max(1)) };
    core::hint::black_box(function)();
}
