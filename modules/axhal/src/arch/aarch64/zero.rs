//! Zeroing pages: by `dc zva`, a block at a time, or else sixteen bytes at a
//! time.

use core::arch::asm;

use axconfig::PAGE_SIZE;

/// How many times `dc zva` stands in the loop.
const UNROLLED: usize = 8;

/// `DCZID_EL0.DZP`: the instruction is prohibited.
const DZP: usize = 1 << 4;
/// `DCZID_EL0.BS`: the binary logarithm of a block's words, of 4 bytes each.
const BS: usize = 0b1111;

/// Nothing to choose at boot: each hart reads `DCZID_EL0` when it zeroes, which
/// costs no more than to read a choice from memory, and is right for each of
/// harts that differ.
pub fn init_zeroing() {}

/// As [`crate::mem::zero_pages`].
///
/// # Safety
///
/// The same.
pub unsafe fn zero_pages(start: *mut u8, len: usize) {
    let end = start.wrapping_add(len);
    let dczid: usize;
    // SAFETY: reading the register changes nothing.
    unsafe {
        asm!("mrs {}, dczid_el0", out(reg) dczid, options(nomem, nostack, preserves_flags));
    };
    if dczid & DZP != 0 {
        // SAFETY: the caller's promise.
        unsafe { store_zeroes(start, end) };
    } else {
        let block = 4 << (dczid & BS);
        let step = block.min(PAGE_SIZE / UNROLLED);
        // SAFETY: the caller's promise, and the instruction is not prohibited.
        unsafe { zero_blocks(start, end, step) };
    }
}

/// `dc zva` ("DC ZVA, Data Cache Zero by VA"): to other harts and to barriers it
/// is a store like others. It needs no aligned address: it zeroes the block that
/// the address lies in, so that a step may be smaller than a block.
///
/// # Safety
///
/// The pages from `at` to `end` are writable Normal memory, mapped with the MMU
/// on, and nobody else's; this hart may execute the instruction ("DCZID_EL0"),
/// `UNROLLED` steps divide a page, and no step is larger than a block.
unsafe fn zero_blocks(mut at: *mut u8, end: *mut u8, step: usize) {
    while at < end {
        // SAFETY: the caller's promise.
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

/// Pairs of doublewords, 512 bytes a turn.
///
/// # Safety
///
/// The pages from `at` to `end` are writable memory and nobody else's.
unsafe fn store_zeroes(mut at: *mut u8, end: *mut u8) {
    while at < end {
        // SAFETY: the caller's promise; 512 bytes divide a page.
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
