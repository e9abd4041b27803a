//! Switching from one thread to another on the same hart.
//!
//! A switch is a function call, so the calling code expects it to preserve only what every
//! call preserves. The switch saves those registers on the thread's stack
//! (`arch::SAVED_WORDS`). After an interrupt, too, a thread is switched away from by a call.
//! All general registers of the interrupted code are in the trap frame then. The registers that
//! find per-hart data belong to the hart and stay as they are.
//!
//! Floating point: only the riscv64 target has floating-point registers that live across a
//! switch; [`arch`](crate::arch) saves them. The other targets are soft-float.

use crate::arch::{Float, RETURN_WORD, SAVED_WORDS, switch_stacks};

/// The saved state of a thread that does not run: its stack pointer, and its floating-point
/// registers where the target has any.
#[derive(Debug)]
pub struct Context {
    sp: usize,
    float: Float,
}

impl Context {
    /// Returns the context of a thread that runs. The switch away from the thread fills it.
    pub const fn running() -> Self {
        Self {
            sp: 0,
            float: Float::UNUSED,
        }
    }

    /// Returns the context of a thread that begins with `entry`, with interrupts off, on the
    /// stack that ends at `top`.
    ///
    /// # Safety
    ///
    /// `top` is a multiple of 16. The 256 bytes below it are writable, and the caller owns
    /// them exclusively.
    pub unsafe fn starting(top: usize, entry: extern "C" fn() -> !) -> Self {
        let mut saved = [0; SAVED_WORDS];
        saved[RETURN_WORD] = entry as usize;
        let sp = top - size_of_val(&saved);
        // SAFETY: the caller owns 256 writable bytes below `top`, and `SAVED_WORDS` is at most
        // 32.
        unsafe { (sp as *mut [usize; SAVED_WORDS]).write(saved) };
        Self {
            sp,
            ..Self::running()
        }
    }

    /// Switches from the running thread, whose context is `from`, to the thread of `to`.
    /// Returns when a thread of this hart switches to `from`.
    ///
    /// # Safety
    ///
    /// Interrupts are off. `to` is [starting](Self::starting), or was switched away from on
    /// this hart. No other code uses `from` or `to` meanwhile. All pages of the stack of
    /// `to` are mapped.
    pub unsafe fn switch(from: *mut Self, to: *const Self) {
        // SAFETY: the caller says that interrupts are off and that `from` and `to` are used
        // by this call alone. The current stack has the space that any call needs.
        unsafe {
            (*from).float.save();
            (*to).float.restore();
            switch_stacks(&raw mut (*from).sp, (*to).sp);
        }
    }
}
