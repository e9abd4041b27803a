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
    may_fault ld.bu $t1, $a1, 0
    may_fault st.b  $t1, $a0, 0
    addi.d  $a1, $a1, 1
    addi.d  $a0, $a0, 1
    addi.d  $a2, $a2, -1
    .endm

    .section .text.copy, \"ax\"
    .global probe_copy, probe_copy_end
probe_copy: // a0: to, a1: from, a2: bytes
    ori     $t5, $zero, 8
    ori     $t6, $zero, 32
    xor     $t0, $a0, $a1
    andi    $t0, $t0, 7
    bnez    $t0, 4f
1:  andi    $t0, $a0, 7
    beqz    $t0, 2f
    beqz    $a2, copy_end
    copy_byte
    b       1b

2:  bltu    $a2, $t6, 3f
    may_fault ld.d $t1, $a1, 0
    may_fault ld.d $t2, $a1, 8
    may_fault ld.d $t3, $a1, 16
    may_fault ld.d $t4, $a1, 24
    may_fault st.d $t1, $a0, 0
    may_fault st.d $t2, $a0, 8
    may_fault st.d $t3, $a0, 16
    may_fault st.d $t4, $a0, 24
    addi.d  $a1, $a1, 32
    addi.d  $a0, $a0, 32
    addi.d  $a2, $a2, -32
    b       2b

3:  bltu    $a2, $t5, 4f
    may_fault ld.d $t1, $a1, 0
    may_fault st.d $t1, $a0, 0
    addi.d  $a1, $a1, 8
    addi.d  $a0, $a0, 8
    addi.d  $a2, $a2, -8
    b       3b

4:  beqz    $a2, copy_end
    copy_byte
    b       4b

copy_end:
    move    $a0, $a2
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
