//! Counts the instructions that the guest has executed, under QEMU's `-icount shift=0`.

/// Returns the number of instructions so far.
#[cfg(target_arch = "riscv64")]
pub fn instructions() -> u64 {
    let count;
    // SAFETY: reading the counter has no effect on memory or registers that Rust uses (RISC-V
    // Unprivileged Architecture, "Zicntr").
    unsafe { core::arch::asm!("rdinstret {}", out(reg) count, options(nomem, nostack)) };
    count
}

/// Returns the number of instructions so far. Under `-icount shift=0` an instruction takes a
/// nanosecond, and QEMU's time-stamp counter counts nanoseconds.
#[cfg(target_arch = "x86_64")]
pub fn instructions() -> u64 {
    // SAFETY: all x86_64 CPUs have `rdtsc`, and it only reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}
