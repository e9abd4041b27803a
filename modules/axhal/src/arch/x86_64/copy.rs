//! A copy whose accesses may fault: see [`crate::probe::copy`].

use core::arch::global_asm;

// A fault ends the copy; `rcx` has the number of words, or bytes, left (SDM volume 2, "REP":
// the registers are those of the iteration that faults).
global_asm!(
    "
    .section .text.copy, \"ax\"
    .global probe_copy, probe_copy_end
probe_copy: // rdi: to, rsi: from, rdx: bytes
    mov     rcx, rdx
    and     edx, 7
    shr     rcx, 3
2:  rep movsq
    mov     ecx, edx
3:  rep movsb
4:  mov     rax, rcx
    ret
5:  lea     rax, [rdx + rcx * 8]
    ret
probe_copy_end:
    .pushsection .fixup_table, \"a\"
    .quad   2b, 5b
    .quad   3b, 4b
    .popsection
    "
);

unsafe extern "C" {
    /// Copies `len` bytes, up to the first access that faults. Returns the number of bytes
    /// left.
    pub unsafe fn probe_copy(to: *mut u8, from: *const u8, len: usize) -> usize;
    /// The end of the instructions of `probe_copy`.
    pub safe static probe_copy_end: u8;
}
