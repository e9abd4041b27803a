//! Functions that probe one address each, and return whether the access was possible: see
//! [`crate::probe`].

use core::arch::global_asm;

global_asm!(
    "
    .section .text.probe, \"ax\"
    .global probe_read, probe_write, probe_execute
probe_read:
1:  ldrb    w0, [x0]
    ret
    .pushsection .fixup_table, \"a\"
    .quad   1b, probe_unread
    .popsection

probe_write:
1:  ldrb    w9, [x0]
2:  strb    w9, [x0]
    mov     x0, #1
    ret
    .pushsection .fixup_table, \"a\"
    .quad   1b, probe_failed
    .quad   2b, probe_failed
    .popsection

probe_unread:
    mov     x0, #-1
    ret

probe_failed:
    mov     x0, #0
    ret

probe_execute:
    str     x30, [sp, #-16]!
    blr     x0
1:  mov     x0, #1
2:  ldr     x30, [sp], #16
    ret
3:  mov     x0, #0
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
