//! Instruction fetches and data: see [`crate::icache`].

use core::arch::{asm, global_asm};
use core::ops::Range;

use aarch64_cpu::asm::barrier;

/// The fields of `CTR_EL0`. `DMIN_LINE` is the binary logarithm of the smallest data cache
/// line in words of 4 bytes. `IDC` says that fetches see data that is not cleaned, and `DIC`
/// that they see it without an invalidation of the instruction cache.
const DMIN_LINE_SHIFT: usize = 16;
const DMIN_LINE: usize = 0xf;
const IDC: usize = 1 << 28;
const DIC: usize = 1 << 29;

fn cache_type() -> usize {
    let ctr: usize;
    // SAFETY: reading the register has no effect.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags)) };
    ctr
}

/// Returns whether data must be cleaned to the point of unification.
pub fn needs_cleaning() -> bool {
    cache_type() & IDC == 0
}

/// Cleans a range of virtual addresses to the point of unification, line by line. It does not
/// matter by which of its virtual addresses a frame is cleaned: data caches are indexed by
/// physical addresses.
pub fn clean_code(bytes: Range<usize>) {
    let ctr = cache_type();
    if ctr & IDC == 0 {
        let line = 4 << (ctr >> DMIN_LINE_SHIFT & DMIN_LINE);
        // SAFETY: cleaning a line changes no byte, and a fault is fixed up.
        unsafe { clean_lines(bytes.start & !(line - 1), bytes.end, line) };
    }
}

global_asm!(
    "
    .section .text.clean, \"ax\"
    .global clean_lines
clean_lines: // x0: start, x1: end, x2: bytes of a line
1:  cmp     x0, x1
    b.hs    3f
2:  dc      cvau, x0
    add     x0, x0, x2
    b       1b
3:  ret
    .pushsection .fixup_table, \"a\"
    .quad   2b, 3b
    .popsection
    "
);

unsafe extern "C" {
    /// Cleans the lines from `start` up to `end`, or up to the first that is not mapped.
    unsafe fn clean_lines(start: usize, end: usize, line: usize);
}

/// Makes this hart's next fetches see what has been cleaned. It invalidates the whole
/// instruction cache, because a cache that is indexed by virtual addresses may hold a frame at
/// several of them ("IC", "VIPT instruction caches").
pub fn refetch_instructions() {
    barrier::dsb(barrier::ISH);
    if cache_type() & DIC == 0 {
        // SAFETY: invalidating instruction caches changes no memory.
        unsafe { asm!("ic ialluis", options(nostack, preserves_flags)) };
        barrier::dsb(barrier::ISH);
    }
    barrier::isb(barrier::SY);
}

/// Returns `false`. The hardware invalidates all harts' caches, but each hart must be
/// interrupted to drop what it has fetched ahead.
pub fn remote_refetch_instructions(_harts: u64) -> bool {
    false
}
