//! A copy whose accesses may fault: see [`crate::probe::copy`].

use core::arch::global_asm;

// A fault ends the copy; `a2` has the number of bytes left. Each block is loaded as a whole
// before it is stored, and `a2` is updated after it, so a faulting block counts as left.
global_asm!(
    "
    .macro  may_fault instruction:vararg
9:  \\instruction
    .pushsection .fixup_table, \"a\"
    .quad   9b, copy_end
    .popsection
    .endm

    .macro  copy_byte
    may_fault lbu t1, 0(a1)
    may_fault sb  t1, 0(a0)
    addi    a1, a1, 1
    addi    a0, a0, 1
    addi    a2, a2, -1
    .endm

    .section .text.copy, \"ax\"
    .global probe_copy, probe_copy_end
probe_copy: // a0: to, a1: from, a2: bytes
    xor     t0, a0, a1
    andi    t0, t0, 7
    bnez    t0, 4f
1:  andi    t0, a0, 7
    beqz    t0, 2f
    beqz    a2, copy_end
    copy_byte
    j       1b

2:  li      t0, 32
    bltu    a2, t0, 3f
    may_fault ld t1, 0(a1)
    may_fault ld t2, 8(a1)
    may_fault ld t3, 16(a1)
    may_fault ld t4, 24(a1)
    may_fault sd t1, 0(a0)
    may_fault sd t2, 8(a0)
    may_fault sd t3, 16(a0)
    may_fault sd t4, 24(a0)
    addi    a1, a1, 32
    addi    a0, a0, 32
    addi    a2, a2, -32
    j       2b

3:  li      t0, 8
    bltu    a2, t0, 4f
    may_fault ld t1, 0(a1)
    may_fault sd t1, 0(a0)
    addi    a1, a1, 8
    addi    a0, a0, 8
    addi    a2, a2, -8
    j       3b

4:  beqz    a2, copy_end
    copy_byte
    j       4b

copy_end:
    mv      a0, a2
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
