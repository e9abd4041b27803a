//! Going from one thread to another on the same hart.
//!
//! A thread goes by a call, also where an interrupt takes the hart from it: the trap
//! frame on its stack has the rest. So what the calling convention lets a function
//! change is the compiler's to save, and what it preserves lies on the stack that is
//! left (`arch::SAVED` words). Per-hart registers are no thread's and stay.
//!
//! Floating point: of the targets only riscv64's has registers for it that live across
//! a switch ([`arch`](crate::arch) says how they are kept); the others are soft-float.

use crate::arch::{Float, RETURN, SAVED, switch_stacks};

/// A thread that does not run: where its stack ends, and its floating-point registers
/// where there are any.
#[derive(Debug)]
pub struct Context {
    sp: usize,
    float: Float,
}

impl Context {
    /// That of a thread that runs: it is filled when the thread goes.
    pub const fn running() -> Self {
        Self {
            sp: 0,
            float: Float::UNUSED,
        }
    }

    /// A thread that is to begin with `entry`, with interrupts out, on the stack that
    /// ends at `top`.
    ///
    /// # Safety
    ///
    /// `top` is a multiple of 16; the 256 bytes below it can be written and are nobody's.
    pub unsafe fn starting(top: usize, entry: extern "C" fn() -> !) -> Self {
        let mut saved = [0; SAVED];
        saved[RETURN] = entry as usize;
        let sp = top - size_of_val(&saved);
        // SAFETY: the caller's promise; `SAVED` is at most 32.
        unsafe { (sp as *mut [usize; SAVED]).write(saved) };
        Self {
            sp,
            ..Self::running()
        }
    }

    /// Leaves the thread that runs, whose context `from` is, and goes on with that of
    /// `to`. Returns when another thread, or this hart's next one, comes back to `from`.
    ///
    /// # Safety
    ///
    /// Interrupts are out. `to` was left on this hart, or is [starting](Self::starting);
    /// nobody else uses either, and its stack is mapped with all its pages.
    pub unsafe fn switch(from: *mut Self, to: *const Self) {
        // SAFETY: the caller's promises; the stack that is left has the room that any
        // call needs.
        unsafe {
            (*from).float.save();
            (*to).float.restore();
            switch_stacks(&raw mut (*from).sp, (*to).sp);
        }
    }
}

/// The floating-point registers of a machine whose code uses none that a switch must keep.
#[derive(Debug)]
pub struct NoFloat;

impl NoFloat {
    /// Those of a thread that has not used any.
    pub const UNUSED: Self = Self;

    /// Nothing to save.
    ///
    /// # Safety
    ///
    /// None, here.
    pub unsafe fn save(&mut self) {}

    /// Nothing to restore.
    ///
    /// # Safety
    ///
    /// None, here.
    pub unsafe fn restore(&self) {}
}
