//! Sets a rounding mode and floating-point registers, and finds them unchanged after system calls. On
//! riscv64 one of the modes is reserved: the kernel must not compute with it.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use user_lib::println;

#[cfg(target_arch = "riscv64")]
fn check(mode: usize) {
    use core::arch::asm;
    use user_lib::syscall::number::YIELD;

    let (mode_after, kept, preserved): (usize, u64, u64);
    // SAFETY: the calls change no memory, and the registers are those named here. The mode is that of
    // other code again at the end.
    unsafe {
        asm!(
            "fsrm {mode}",
            "fmv.d.x ft0, {mode}",
            "fmv.d.x fs0, {mode}",
            "li {count}, 20",
            "2: li a7, {number}",
            "ecall",
            "addi {count}, {count}, -1",
            "bnez {count}, 2b",
            "frrm {mode_after}",
            "fmv.x.d {kept}, ft0",
            "fmv.x.d {preserved}, fs0",
            "fsrm zero",
            mode = in(reg) mode,
            count = out(reg) _,
            number = const YIELD,
            mode_after = out(reg) mode_after,
            kept = out(reg) kept,
            preserved = out(reg) preserved,
            out("a0") _,
            out("a7") _,
            out("ft0") _,
            out("fs0") _,
        );
    }
    assert_eq!(mode_after, mode);
    assert_eq!([kept, preserved], [mode as u64; 2]);
}

#[cfg(not(target_arch = "riscv64"))]
fn check(_mode: usize) {
    user_lib::syscall::yield_now();
}

#[unsafe(no_mangle)]
fn main() -> i32 {
    for mode in 0..8 {
        check(mode);
    }
    println!("rounding: eight modes");
    0
}
