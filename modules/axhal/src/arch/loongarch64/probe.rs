//! Functions that probe one address each, and return whether the access was possible: see
//! [`crate::probe`].
//!
//! A jump to a page that is in the TLB as not executable hangs QEMU
//! ([`refill`](super::refill)). So `probe_execute` flushes the address before the jump. The
//! fetch of its own code must not load the page again, as the other page of a pair. So the code
//! is in the first pair of pages of the kernel, which are both code.

use core::arch::global_asm;

global_asm!(
    "
    .section .text.trap, \"ax\"
    .global probe_read, probe_write, probe_execute
probe_read:
1:  ld.bu   $a0, $a0, 0
    ret
    .pushsection .fixup_table, \"a\"
    .quad   1b, probe_unread
    .popsection

probe_write:
1:  ld.b    $t0, $a0, 0
2:  st.b    $t0, $a0, 0
    ori     $a0, $zero, 1
    ret
    .pushsection .fixup_table, \"a\"
    .quad   1b, probe_failed
    .quad   2b, probe_failed
    .popsection

probe_unread:
    addi.d  $a0, $zero, -1
    ret

probe_failed:
    move    $a0, $zero
    ret

probe_execute:
    addi.d  $sp, $sp, -16
    st.d    $ra, $sp, 0
    invtlb  6, $zero, $a0
    jirl    $ra, $a0, 0
1:  ori     $a0, $zero, 1
2:  ld.d    $ra, $sp, 0
    addi.d  $sp, $sp, 16
    ret
3:  move    $a0, $zero
    b       2b
    .pushsection .fixup_table, \"a\"
    .quad   1b, 3b
    .popsection
    "
);

unsafe extern "C" {
    /// Returns the byte at `addr`, or `usize::MAX` if the read faults.
    pub unsafe fn probe_read(addr: usize) -> usize;
    /// Writes the byte at `addr` back unchanged. Returns whether that was possible.
    pub unsafe fn probe_write(addr: usize) -> bool;
    /// Calls the function at `addr`. Returns whether its first instruction could be fetched.
    pub unsafe fn probe_execute(addr: usize) -> bool;
}
