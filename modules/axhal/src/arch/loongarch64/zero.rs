//! Zeroing pages: a doubleword at a time. LoongArch has no instruction that zeroes a cache
//! block (LoongArch Reference Manual, volume 1, "Cache Maintenance Instructions": `cacop`
//! initializes tags, not memory).

use core::arch::asm;

/// Does nothing: there is only one way.
pub fn init_zeroing() {}

/// Zeroes `len` bytes from `start` on, which are whole pages, by stores of the zero register,
/// 512 bytes an iteration.
///
/// # Safety
///
/// See [`crate::mem::zero_pages`].
pub unsafe fn zero_pages(start: *mut u8, len: usize) {
    let (mut at, end) = (start, start.wrapping_add(len));
    while at < end {
        // SAFETY: the caller owns the pages, and 512 divides a page's size.
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
