//! Zeroing pages: a block at a time by `dc zva`, or, where that is prohibited, sixteen bytes
//! at a time.

use core::arch::asm;

use axconfig::PAGE_SIZE;

/// The number of `dc zva` in one iteration of the loop.
const UNROLLED: usize = 8;

/// `DCZID_EL0.DZP`: the instruction is prohibited.
const DZP: usize = 1 << 4;
/// `DCZID_EL0.BS`: the binary logarithm of a block's size in words of 4 bytes.
const BS: usize = 0b1111;

/// Does nothing: each hart reads `DCZID_EL0` when it zeroes. That costs no more than to read
/// a choice from memory, and is right even where harts differ.
pub fn init_zeroing() {}

/// Zeroes `len` bytes from `start` on, which are whole pages.
///
/// # Safety
///
/// See [`crate::mem::zero_pages`].
pub unsafe fn zero_pages(start: *mut u8, len: usize) {
    let end = start.wrapping_add(len);
    let dczid: usize;
    // SAFETY: reading the register has no effect.
    unsafe {
        asm!("mrs {}, dczid_el0", out(reg) dczid, options(nomem, nostack, preserves_flags));
    };
    if dczid & DZP != 0 {
        // SAFETY: the caller says that the pages are writable and its own.
        unsafe { store_zeroes(start, end) };
    } else {
        let block = 4 << (dczid & BS);
        let step = block.min(PAGE_SIZE / UNROLLED);
        // SAFETY: the caller says that the pages are writable and its own, and `DZP` is not
        // set, so the instruction is allowed.
        unsafe { zero_blocks(start, end, step) };
    }
}

/// Zeroes pages by `dc zva` ("DC ZVA, Data Cache Zero by VA"). To other harts and to barriers
/// it is a store like others. It takes any address, and zeroes the block in which the address
/// lies, so a step may be smaller than a block.
///
/// # Safety
///
/// The pages from `at` to `end` are writable Normal memory, mapped with the MMU on, and the
/// caller owns them exclusively. This hart may execute the instruction ("DCZID_EL0").
/// `UNROLLED` steps divide a page, and no step is larger than a block.
unsafe fn zero_blocks(mut at: *mut u8, end: *mut u8, step: usize) {
    while at < end {
        // SAFETY: the caller says that the pages are its own, and that the instruction works
        // on them with this step.
        unsafe {
            asm!(
                "
                .rept   {unrolled}
                dc      zva, {at}
                add     {at}, {at}, {step}
                .endr
                ",
                at = inout(reg) at,
                step = in(reg) step,
                unrolled = const UNROLLED,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// Zeroes pages by stores of pairs of doublewords, 512 bytes an iteration.
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
                stp     xzr, xzr, [{at}, #\n * 16]
                .endr
                ",
                at = in(reg) at,
                options(nostack, preserves_flags),
            );
        }
        at = at.wrapping_add(512);
    }
}
