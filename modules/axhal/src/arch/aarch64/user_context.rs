//! The registers of a user program.

use core::arch::asm;

use super::frame::{SP, TrapFrame};
use crate::arch::extended::{Extended, Place};

/// The registers of a user program.
#[repr(C, align(16))]
#[derive(Clone, Debug)]
pub struct UserRegisters {
    /// The trap entry stores and loads these. `SPSR_EL1` is 0 for a program that begins: exception
    /// level 0, and interrupts are on.
    pub(in crate::arch) frame: TrapFrame,
    pub(in crate::arch) extended: Place<ExtendedRegisters>,
}

/// The registers that the kernel does not use: those of SIMD and floating point, and the thread
/// pointer `TPIDR_EL0`.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug)]
pub(in crate::arch) struct ExtendedRegisters {
    vectors: [u128; 32],
    fpcr: usize,
    fpsr: usize,
    thread_pointer: usize,
}

impl Extended for ExtendedRegisters {
    const INITIAL: Self = Self {
        vectors: [0; 32],
        fpcr: 0,
        fpsr: 0,
        thread_pointer: 0,
    };

    fn store(&mut self) {
        // SAFETY: `user_entry::init` has enabled the registers, and there is a place for each.
        unsafe {
            asm!(
                ".arch_extension fp",
                ".arch_extension simd",
                ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
                "str     q\\n, [{at}, #16 * \\n]",
                ".endr",
                "mrs     {fpcr}, fpcr",
                "mrs     {fpsr}, fpsr",
                "mrs     {thread_pointer}, tpidr_el0",
                at = in(reg) &raw mut self.vectors,
                fpcr = lateout(reg) self.fpcr,
                fpsr = lateout(reg) self.fpsr,
                thread_pointer = lateout(reg) self.thread_pointer,
                options(nostack),
            );
        }
    }

    unsafe fn load(&self) {
        // SAFETY: `user_entry::init` has enabled the registers, and the kernel does not use them.
        unsafe {
            asm!(
                ".arch_extension fp",
                ".arch_extension simd",
                ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
                "ldr     q\\n, [{at}, #16 * \\n]",
                ".endr",
                "msr     fpcr, {fpcr}",
                "msr     fpsr, {fpsr}",
                "msr     tpidr_el0, {thread_pointer}",
                at = in(reg) &raw const self.vectors,
                fpcr = in(reg) self.fpcr,
                fpsr = in(reg) self.fpsr,
                thread_pointer = in(reg) self.thread_pointer,
                options(nostack),
            );
        }
    }
}

impl UserRegisters {
    /// The registers of a program that begins at `entry` with the stack pointer `sp`. All others
    /// are 0.
    pub fn new(entry: usize, sp: usize) -> Self {
        let mut frame = TrapFrame::default();
        frame.set_pc(entry);
        frame.x[SP] = sp;
        Self {
            frame,
            extended: Place::new(),
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

    /// Sets the thread pointer, `TPIDR_EL0`. Returns `true`: any address can be.
    pub fn set_thread_pointer(&mut self, address: usize) -> bool {
        self.extended
            .change(|extended| extended.thread_pointer = address);
        true
    }

    /// Returns `true`: whatever the registers are, the program continues in user mode.
    #[inline(always)]
    pub(crate) fn can_continue(&self) -> bool {
        true
    }
}
