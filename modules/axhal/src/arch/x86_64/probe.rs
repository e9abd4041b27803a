//! Functions that probe one address each, and return whether the access was possible: see
//! [`crate::probe`].

use core::arch::global_asm;

global_asm!(
    "
    .section .text.probe, \"ax\"
    .global probe_read, probe_write, probe_execute
probe_read:
1:  movzx   eax, byte ptr [rdi]
    ret
    .pushsection .fixup_table, \"a\"
    .quad   1b, probe_unread
    .popsection

probe_write:
1:  mov     al, [rdi]
2:  mov     [rdi], al
    mov     eax, 1
    ret
    .pushsection .fixup_table, \"a\"
    .quad   1b, probe_failed
    .quad   2b, probe_failed
    .popsection

probe_unread:
    mov     rax, -1
    ret

probe_failed:
    xor     eax, eax
    ret

probe_execute:
    push    rbp
0:  call    rdi
1:  mov     eax, 1
2:  pop     rbp
    ret
3:  xor     eax, eax
    jmp     2b
    .pushsection .fixup_table, \"a\"
    .quad   0b, 3b
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
