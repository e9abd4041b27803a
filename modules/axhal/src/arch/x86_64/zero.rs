//! Zeroing pages: by `rep stos` on CPUs that report a fast one, and eight bytes at a time
//! elsewhere. The kernel uses no vector registers.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use x86::cpuid::CpuId;

/// Whether the string instruction is the fast way. Relaxed: both ways are right at any time.
static FAST_STRINGS: AtomicBool = AtomicBool::new(false);

/// Chooses `rep stos` where the CPU has "Enhanced REP MOVSB/STOSB" (SDM volume
/// 2, "CPUID", leaf 7, EBX bit 9).
pub fn init_zeroing() {
    let features = CpuId::new().get_extended_feature_info();
    let fast = features.is_some_and(|features| features.has_rep_movsb_stosb());
    FAST_STRINGS.store(fast, Ordering::Relaxed);
}

/// Zeroes `len` bytes from `start` on, which are whole pages.
///
/// # Safety
///
/// See [`crate::mem::zero_pages`].
pub unsafe fn zero_pages(start: *mut u8, len: usize) {
    match FAST_STRINGS.load(Ordering::Relaxed) {
        // SAFETY: the caller says that the pages are writable and its own.
        true => unsafe { store_string(start, len) },
        // SAFETY: the caller says that the pages are writable and its own.
        false => unsafe { store_zeroes(start, start.wrapping_add(len)) },
    }
}

/// Zeroes pages by `rep stos` of quadwords. On whole pages that is the same "Fast-String
/// Operation" (SDM volume 1, 7.3.9.3) as by bytes. An emulator, which executes each store,
/// has an eighth of the work.
///
/// # Safety
///
/// The `len` bytes from `start` on are pages of writable memory that the caller owns
/// exclusively.
unsafe fn store_string(start: *mut u8, len: usize) {
    // SAFETY: the caller owns the pages. By the calling convention the direction flag is
    // clear.
    unsafe {
        asm!(
            "rep stosq",
            inout("rdi") start => _,
            inout("rcx") len / 8 => _,
            in("rax") 0_u64,
            options(nostack, preserves_flags),
        );
    }
}

/// Zeroes pages by stores of quadwords, 512 bytes an iteration.
///
/// # Safety
///
/// The pages from `at` to `end` are writable memory that the caller owns exclusively.
unsafe fn store_zeroes(mut at: *mut u8, end: *mut u8) {
    while at < end {
        // SAFETY: the caller owns the pages, and 512 divides a page's size.
        unsafe {
            asm!(
                r"
                .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
                mov     [{at} + \n * 16], {zero}
                mov     [{at} + \n * 16 + 8], {zero}
                .endr
                ",
                at = in(reg) at,
                zero = in(reg) 0usize,
                options(nostack, preserves_flags),
            );
        }
        at = at.wrapping_add(512);
    }
}
