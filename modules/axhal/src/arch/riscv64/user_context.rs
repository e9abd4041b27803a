//! The registers of a user program.
//!
//! Floating point: while a user program runs, `sstatus.FS` is "Clean" until it changes a
//! floating-point register, and "Dirty" from then on. The kernel uses these registers, too. So a
//! trap stores dirty ones before any other code of the kernel can use them, and sets "Clean". In the
//! kernel, "Clean" says that the registers still are those of the user program. If they are not,
//! they are loaded before it continues.

use core::arch::asm;

use super::float_registers::{
    FloatRegisters, float_status, load_registers, reset_rounding, set_float_status,
};
use super::frame::{FS_CLEAN, FS_DIRTY, FS_INITIAL, SSTATUS_FS, TrapFrame};

/// `sstatus.SPIE`: the return from the trap turns interrupts on.
const SSTATUS_SPIE: usize = 1 << 5;
/// `sstatus.UXL`: user programs have 64 bits.
const SSTATUS_UXL_64: usize = 2 << 32;

/// The numbers of the stack pointer and the thread pointer.
const SP: usize = 2;
const TP: usize = 4;

/// The registers of a user program.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct UserRegisters {
    /// The trap entry stores and loads these.
    pub(in crate::arch) frame: TrapFrame,
    float: FloatRegisters,
}

impl UserRegisters {
    /// The registers of a program that begins at `entry` with the stack pointer `sp`. All others
    /// are 0.
    pub fn new(entry: usize, sp: usize) -> Self {
        let mut frame = TrapFrame {
            sstatus: SSTATUS_SPIE | SSTATUS_UXL_64 | FS_CLEAN,
            ..TrapFrame::default()
        };
        frame.set_pc(entry);
        frame.x[SP] = sp;
        Self {
            frame,
            float: FloatRegisters::ZERO,
        }
    }

    /// Returns the stack pointer.
    pub fn sp(&self) -> usize {
        self.frame.x[SP]
    }

    /// Sets the stack pointer.
    pub fn set_sp(&mut self, sp: usize) {
        self.frame.x[SP] = sp;
    }

    /// Sets the thread pointer, `tp`. Returns `true`: any address can be.
    pub fn set_thread_pointer(&mut self, address: usize) -> bool {
        self.frame.x[TP] = address;
        true
    }

    /// Returns `true`: whatever the registers are, the program continues in user mode.
    #[inline(always)]
    pub(crate) fn can_continue(&self) -> bool {
        true
    }

    /// Stores the floating-point registers if the program has changed any. Called after a trap,
    /// before other code of the kernel can use them.
    #[inline(always)]
    pub(crate) fn store_extended(&mut self) {
        if self.frame.sstatus & SSTATUS_FS == FS_DIRTY {
            self.store_float();
        }
    }

    #[cold]
    #[inline(never)]
    fn store_float(&mut self) {
        // SAFETY: the unit is on, because its state is "Dirty".
        unsafe { self.float.store() };
        match self.float.rounds_specially() {
            // The kernel must not round as the program does.
            true => {
                reset_rounding();
                set_float_status(FS_INITIAL);
            }
            false => set_float_status(FS_CLEAN),
        }
        self.set_state_for_return();
    }

    /// Sets the state with which the program continues. One that rounds specially continues with
    /// "Dirty", so that the next trap stores its registers and resets the rounding mode.
    fn set_state_for_return(&mut self) {
        self.frame.sstatus &= !SSTATUS_FS;
        self.frame.sstatus |= match self.float.rounds_specially() {
            true => FS_DIRTY,
            false => FS_CLEAN,
        };
    }

    /// Loads the floating-point registers, unless they still are those of the program. Called with
    /// interrupts off, right before the program continues.
    #[inline(always)]
    pub(crate) fn load_extended(&mut self) {
        if float_status() != FS_CLEAN {
            self.load_float();
        }
    }

    #[cold]
    #[inline(never)]
    fn load_float(&mut self) {
        // SAFETY: the platform has switched the unit on. The callers are functions of the trap entry,
        // which have no values of their own in these registers.
        unsafe { self.float.load() };
        set_float_status(FS_CLEAN);
    }

    /// Runs the program whose registers these are, until it leaves user mode for good. `context` is the
    /// address of the [`UserContext`](crate::uspace::UserContext) that they are in.
    ///
    /// # Safety
    ///
    /// The program's address space is entered, and interrupts are off. `this` is in the context, and no
    /// reference to it is used meanwhile.
    pub(crate) unsafe fn run(this: *mut Self, context: *mut ()) {
        set_float_status(FS_CLEAN);
        // SAFETY: `run_user` keeps the general registers that a call keeps. All floating-point
        // registers are changed, and are named here. The unit is on.
        unsafe {
            asm!(
                "call {load_float}",
                "mv a0, s2",
                "call run_user",
                load_float = sym load_registers,
                inlateout("a0") &raw const (*this).float => _,
                in("s2") context,
                out("fs0") _, out("fs1") _, out("fs2") _, out("fs3") _, out("fs4") _,
                out("fs5") _, out("fs6") _, out("fs7") _, out("fs8") _, out("fs9") _,
                out("fs10") _, out("fs11") _,
                clobber_abi("C"),
            );
        }
        set_float_status(FS_INITIAL);
    }
}
