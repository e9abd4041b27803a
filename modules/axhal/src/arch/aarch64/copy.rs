//! A copy whose accesses may fault: see [`crate::probe::copy`].

use core::arch::global_asm;

// A fault ends the copy; `x2` has the number of bytes left. Each block is loaded as a whole
// before it is stored, and `x2` is updated after it, so a faulting block counts as left.
global_asm!(
    "
    .macro  may_fault instruction:vararg
9:  \\instruction
    .pushsection .fixup_table, \"a\"
    .quad   9b, copy_end
    .popsection
    .endm

    .macro  copy_byte
    may_fault ldrb w10, [x1]
    may_fault strb w10, [x0]
    add     x1, x1, #1
    add     x0, x0, #1
    sub     x2, x2, #1
    .endm

    .section .text.copy, \"ax\"
    .global probe_copy, probe_copy_end
probe_copy: // x0: to, x1: from, x2: bytes
    eor     x9, x0, x1
    tst     x9, #7
    b.ne    4f
1:  tst     x0, #7
    b.eq    2f
    cbz     x2, copy_end
    copy_byte
    b       1b

2:  cmp     x2, #32
    b.lo    3f
    may_fault ldp x10, x11, [x1]
    may_fault ldp x12, x13, [x1, #16]
    may_fault stp x10, x11, [x0]
    may_fault stp x12, x13, [x0, #16]
    add     x1, x1, #32
    add     x0, x0, #32
    sub     x2, x2, #32
    b       2b

3:  cmp     x2, #8
    b.lo    4f
    may_fault ldr x10, [x1]
    may_fault str x10, [x0]
    add     x1, x1, #8
    add     x0, x0, #8
    sub     x2, x2, #8
    b       3b

4:  cbz     x2, copy_end
    copy_byte
    b       4b

copy_end:
    mov     x0, x2
    ret
probe_copy_end:
    .purgem copy_byte
    .purgem may_fault
    "
);

unsafe extern "C" {
    /// Copies `len` bytes, up to the first access that faults. Returns the number of bytes
    /// left.
    pub unsafe fn probe_copy(to: *mut u8, from: *const u8, len: usize) -> usize;
    /// The end of the instructions of `probe_copy`.
    pub safe static probe_copy_end: u8;
}
