//! Zeroing pages: a doubleword at a time. LoongArch has no instruction that
//! zeroes a cache block (LoongArch Reference Manual, volume 1, "Cache
//! Maintenance Instructions": `cacop` initializes tags, not memory).

use core::arch::asm;

/// Nothing to choose: there is one way.
pub fn init_zeroing() {}

/// As [`crate::mem::zero_pages`]: `st.d` of the register that is always zero,
/// 512 bytes a turn.
///
/// # Safety
///
/// The same.
pub unsafe fn zero_pages(start: *mut u8, len: usize) {
    let (mut at, end) = (start, start.wrapping_add(len));
    while at < end {
        // SAFETY: the caller's promise; 512 bytes divide a page.
        unsafe {
            asm!(
                r"
                .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
                st.d    $zero, {at}, \n * 16
                st.d    $zero, {at}, \n * 16 + 8
                .endr
                ",
                at = in(reg) at,
                options(nostack, preserves_flags),
            );
        }
        at = at.wrapping_add(512);
    }
}
