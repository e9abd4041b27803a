//! Zeroing pages: a cache block at a time where every hart can do that, and a doubleword at
//! a time elsewhere.

use core::arch::asm;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicUsize, Ordering};

use axconfig::PAGE_SIZE;
use kernel_guard::IrqSave;

/// The number of `cbo.zero` in one iteration of the loop.
const UNROLLED: usize = 8;

/// The bytes from one `cbo.zero` to the next. 0 means to use stores, which work on any hart.
///
/// Relaxed: both ways are right at any time.
static STEP: AtomicUsize = AtomicUsize::new(0);

/// Chooses `cbo.zero` if the platform says that every hart has it, and it works on this one.
///
/// One iteration must not go beyond a page, so the step is bounded. A step that is smaller
/// than a block zeroes the block more than once.
pub fn init_zeroing() {
    if let Some(block) = axmachine::zero_block()
        && may_zero_blocks()
    {
        STEP.store(block.min(PAGE_SIZE / UNROLLED), Ordering::Relaxed);
    }
}

/// Memory for a trial. It is as large as the largest block that the platform can name, and
/// aligned to it.
#[repr(align(4096))]
struct Scratch([MaybeUninit<u8>; PAGE_SIZE]);

/// Returns whether `cbo.zero` works, by trying it. In supervisor mode it is an illegal
/// instruction until the firmware has set `menvcfg.CBZE`, which supervisor mode cannot read
/// (RISC-V Privileged Architecture, "Machine Environment Configuration Register"). The
/// result of one hart holds for all, because all have the same firmware.
///
/// During the trial a trap continues at the label `2`. It does not return by `sret`, so what
/// the trap has changed stays: `sepc`, `scause`, `stval`, and in `sstatus` `SPP`, `SPIE` and
/// `SIE`. Only `SIE` has a use outside a trap handler, and it is off already.
fn may_zero_blocks() -> bool {
    let mut scratch = Scratch([MaybeUninit::uninit(); PAGE_SIZE]);
    let works: usize;
    let _guard = IrqSave::new();
    // SAFETY: interrupts are off, so only `cbo.zero` can trap while the vector is not the
    // kernel's. `2:` is aligned as a vector must be. The instruction writes only to
    // `scratch`, which is as large as any block.
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

/// Zeroes `len` bytes from `start` on, which are whole pages.
///
/// # Safety
///
/// See [`crate::mem::zero_pages`].
pub unsafe fn zero_pages(start: *mut u8, len: usize) {
    let end = start.wrapping_add(len);
    match STEP.load(Ordering::Relaxed) {
        // SAFETY: the caller says that the pages are writable and its own.
        0 => unsafe { store_zeroes(start, end) },
        // SAFETY: the caller says that the pages are writable and its own, and
        // `init_zeroing` has found that `cbo.zero` works with this step.
        step => unsafe { zero_blocks(start, end, step) },
    }
}

/// Zeroes pages by `cbo.zero` (RISC-V CMO specification, "Zicboz"). To other harts and to
/// fences it is a store like others. It takes any address, and zeroes the block in which the
/// address lies.
///
/// # Safety
///
/// The pages from `at` to `end` are writable cached memory that the caller owns exclusively.
/// Every hart may execute the instruction. `UNROLLED` steps divide a page, and no step is
/// larger than a block.
unsafe fn zero_blocks(mut at: *mut u8, end: *mut u8, step: usize) {
    while at < end {
        // SAFETY: the caller says that the pages are its own, and that the instruction works
        // on them with this step.
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

/// Zeroes pages by stores of doublewords, 512 bytes an iteration.
///
/// # Safety
///
/// The pages from `at` to `end` are writable memory that the caller owns exclusively.
unsafe fn store_zeroes(mut at: *mut u8, end: *mut u8) {
    while at < end {
        // SAFETY: the caller owns the pages, and 512 divides a page's size.
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
