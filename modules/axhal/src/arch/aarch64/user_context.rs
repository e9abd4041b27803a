//! The registers of a user program.

use core::arch::asm;
use core::fmt;

use super::frame::{SP, TrapFrame};
use crate::arch::extended::{Extended, Place};

/// The register that has the number of a system call.
const NUMBER: usize = 8;

/// The registers of a user program.
#[repr(C, align(16))]
#[derive(Clone, Debug)]
pub struct UserRegisters {
    /// The trap entry stores and loads these. `SPSR_EL1` is 0 for a program that begins: exception
    /// level 0, and interrupts are on.
    frame: TrapFrame,
    extended: Place<ExtendedRegisters>,
}

/// The registers that the kernel does not use: those of SIMD and floating point, and the thread
/// pointer `TPIDR_EL0`.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug)]
struct ExtendedRegisters {
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

    /// Returns the address of the next instruction.
    pub fn pc(&self) -> usize {
        self.frame.pc()
    }

    /// Makes the program continue at `pc`.
    pub fn set_pc(&mut self, pc: usize) {
        self.frame.set_pc(pc);
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

    /// Returns the number of the system call that the program makes: `x8`.
    #[inline(always)]
    pub fn call_number(&self) -> usize {
        self.frame.x[NUMBER]
    }

    /// Returns argument `n`, from 0 to 5, of a system call: `x0` to `x5`.
    #[inline(always)]
    pub fn argument(&self, n: usize) -> usize {
        self.frame.x[n]
    }

    /// Sets argument `n`, from 0 to 5, of the function at which the program continues.
    pub fn set_argument(&mut self, n: usize, value: usize) {
        self.frame.x[n] = value;
    }

    /// Sets the result of a system call: `x0`.
    #[inline(always)]
    pub fn set_result(&mut self, value: usize) {
        self.frame.x[0] = value;
    }

    /// Returns `true`: whatever the registers are, the program continues in user mode.
    #[inline(always)]
    pub(crate) fn can_continue(&self) -> bool {
        true
    }

    /// Does nothing: the kernel does not use the other registers.
    #[inline(always)]
    pub(crate) fn store_extended(&mut self) {}

    /// Loads the registers that the trap entry does not load, unless they still are those of the
    /// program. Called with interrupts off, right before the program continues.
    #[inline(always)]
    pub(crate) fn load_extended(&mut self) {
        self.extended.take();
    }

    /// Runs the program whose registers these are, until it leaves user mode for good. `context` is
    /// the address of the [`UserContext`](crate::uspace::UserContext) that they are in.
    ///
    /// # Safety
    ///
    /// The program's address space is entered, and interrupts are off. `this` is in the context, and no
    /// reference to it is used meanwhile.
    pub(crate) unsafe fn run(this: *mut Self, context: *mut ()) {
        unsafe extern "C" {
            fn run_user(context: *mut ());
        }
        // SAFETY: the caller says that the address space is entered, that interrupts are off, and that
        // `this` is in the context. The other registers are loaded before the program runs.
        unsafe {
            (*this).extended.take();
            run_user(context);
            (*this).extended.give_up();
        }
    }
}

impl fmt::Display for UserRegisters {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.frame.fmt(f)
    }
}
