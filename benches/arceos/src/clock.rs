//! What the guest has executed, under QEMU's `-icount shift=0`.

/// Instructions so far.
#[cfg(target_arch = "riscv64")]
pub fn instructions() -> u64 {
    let count;
    // SAFETY: reads a counter (RISC-V Unprivileged Architecture, "Zicntr").
    unsafe { core::arch::asm!("rdinstret {}", out(reg) count, options(nomem, nostack)) };
    count
}

/// Instructions so far: under `-icount shift=0` one is a nanosecond, and QEMU's
/// time-stamp counter counts nanoseconds.
#[cfg(target_arch = "x86_64")]
pub fn instructions() -> u64 {
    // SAFETY: reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}
