//! Zeroing pages: a cache block at a time where every hart can, or else a
//! doubleword at a time.

use core::arch::asm;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicUsize, Ordering};

use axconfig::PAGE_SIZE;
use kernel_guard::IrqSave;

/// How many times `cbo.zero` stands in the loop.
const UNROLLED: usize = 8;

/// From one `cbo.zero` to the next, in bytes; 0 for stores instead, which work
/// on any hart.
static STEP: AtomicUsize = AtomicUsize::new(0);

/// Chooses `cbo.zero` where the platform says that every hart has it, and this
/// one proves it.
///
/// A loop zeroes no less than a page, so that its step is bounded: a step within
/// one larger block zeroes that block once more.
pub fn init_zeroing() {
    if let Some(block) = axmachine::zero_block()
        && may_zero_blocks()
    {
        STEP.store(block.min(PAGE_SIZE / UNROLLED), Ordering::Relaxed);
    }
}

/// As large as the largest block that the platform names, and aligned to it.
#[repr(align(4096))]
struct Scratch([MaybeUninit<u8>; PAGE_SIZE]);

/// Whether `cbo.zero` does not trap. In supervisor mode it is an illegal
/// instruction until the firmware has set `menvcfg.CBZE`, which supervisor mode
/// cannot read (RISC-V Privileged Architecture, "Machine Environment
/// Configuration Register"). One hart speaks for all: they have one firmware.
///
/// A trap of the one instruction goes to the instruction behind it. Of what a
/// trap changes, `sepc`, `scause` and `stval` are of no use outside a trap
/// handler, and `sstatus.SIE` is off already.
fn may_zero_blocks() -> bool {
    let mut scratch = Scratch([MaybeUninit::uninit(); PAGE_SIZE]);
    let works: usize;
    let _guard = IrqSave::new();
    // SAFETY: interrupts are out, so that nothing but `cbo.zero` can trap while
    // the vector is not the kernel's; `2:` is aligned as a vector must be. What
    // is written lies in `scratch`, which has room for any block.
    unsafe {
        asm!(
            "
            .option push
            .option arch, +zicboz
            li      {works}, 0
            lla     {vector}, 2f
            csrrw   {vector}, stvec, {vector}
            cbo.zero ({scratch})
            li      {works}, 1
            .balign 4
        2:  csrw    stvec, {vector}
            .option pop
            ",
            works = out(reg) works,
            vector = out(reg) _,
            scratch = in(reg) &raw mut scratch.0,
            options(nostack),
        );
    }
    works != 0
}

/// As [`crate::mem::zero_pages`].
///
/// # Safety
///
/// The same.
pub unsafe fn zero_pages(start: *mut u8, len: usize) {
    let end = start.wrapping_add(len);
    match STEP.load(Ordering::Relaxed) {
        // SAFETY: the caller's promise.
        0 => unsafe { store_zeroes(start, end) },
        // SAFETY: the caller's promise, and `init_zeroing`'s choice.
        step => unsafe { zero_blocks(start, end, step) },
    }
}

/// `cbo.zero` (RISC-V CMO specification, "Zicboz"): to other harts and to
/// fences it is a store like others. It needs no aligned address: it zeroes the
/// block that the address lies in.
///
/// # Safety
///
/// The pages from `at` to `end` are writable cached memory and nobody else's,
/// every hart may execute the instruction, `UNROLLED` steps divide a page, and
/// no step is larger than a block.
unsafe fn zero_blocks(mut at: *mut u8, end: *mut u8, step: usize) {
    while at < end {
        // SAFETY: the caller's promise.
        unsafe {
            asm!(
                "
                .option push
                .option arch, +zicboz
                .rept   {unrolled}
                cbo.zero ({at})
                add     {at}, {at}, {step}
                .endr
                .option pop
                ",
                at = inout(reg) at,
                step = in(reg) step,
                unrolled = const UNROLLED,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// Doublewords, 512 bytes a turn.
///
/// # Safety
///
/// The pages from `at` to `end` are writable memory and nobody else's.
unsafe fn store_zeroes(mut at: *mut u8, end: *mut u8) {
    while at < end {
        // SAFETY: the caller's promise; 512 bytes divide a page.
        unsafe {
            asm!(
                r"
                .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
                sd      zero, \n * 16({at})
                sd      zero, \n * 16 + 8({at})
                .endr
                ",
                at = in(reg) at,
                options(nostack, preserves_flags),
            );
        }
        at = at.wrapping_add(512);
    }
}
