//! The registers of a user program.

use core::arch::asm;
use core::fmt;

use super::frame::{PRMD_PIE, TrapFrame};
use crate::arch::extended::{Extended, Place};

/// `PRMD.PPLV`: the privilege level of user programs.
const PRMD_USER: usize = 3;

/// The numbers of registers: `tp`, `sp`, `a0`, `a7`.
const TP: usize = 2;
const SP: usize = 3;
const A0: usize = 4;
const A7: usize = 11;

/// The registers of a user program.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct UserRegisters {
    /// The trap entry stores and loads these.
    frame: TrapFrame,
    extended: Place<FloatRegisters>,
}

/// The floating-point registers, which the kernel does not use.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct FloatRegisters {
    registers: [u64; 32],
    /// The condition flags `fcc0` to `fcc7`, a byte each.
    conditions: [u8; 8],
    fcsr: usize,
}

impl Extended for FloatRegisters {
    const INITIAL: Self = Self {
        registers: [0; 32],
        conditions: [0; 8],
        fcsr: 0,
    };

    // The assembler knows no floating-point instructions of this target, so they are encoded here:
    // `fst.d`, `movfcsr2gr`, `movcf2gr`.
    fn store(&mut self) {
        // SAFETY: `user_entry::init` has enabled the registers, and there is a place for each.
        unsafe {
            asm!(
                ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
                ".word   0x2bc00000 | (8 * \\n) << 10 | 4 << 5 | \\n",
                ".endr",
                ".irp n, 0, 1, 2, 3, 4, 5, 6, 7",
                ".word   0x0114dc00 | \\n << 5 | 12",
                "st.b    $t0, $a0, 256 + \\n",
                ".endr",
                ".word   0x0114c800 | 12",
                "st.d    $t0, $a0, 264",
                in("$a0") &raw mut *self,
                out("$t0") _,
                options(nostack),
            );
        }
    }

    // `fld.d`, `movgr2fcsr`, `movgr2cf`.
    unsafe fn load(&self) {
        // SAFETY: `user_entry::init` has enabled the registers, and the kernel does not use them.
        unsafe {
            asm!(
                ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
                ".word   0x2b800000 | (8 * \\n) << 10 | 4 << 5 | \\n",
                ".endr",
                ".irp n, 0, 1, 2, 3, 4, 5, 6, 7",
                "ld.bu   $t0, $a0, 256 + \\n",
                ".word   0x0114d800 | 12 << 5 | \\n",
                ".endr",
                "ld.d    $t0, $a0, 264",
                ".word   0x0114c000 | 12 << 5",
                in("$a0") &raw const *self,
                out("$t0") _,
                options(nostack),
            );
        }
    }
}

impl UserRegisters {
    /// The registers of a program that begins at `entry` with the stack pointer `sp`. All others
    /// are 0.
    pub fn new(entry: usize, sp: usize) -> Self {
        let mut frame = TrapFrame {
            prmd: PRMD_PIE | PRMD_USER,
            ..TrapFrame::default()
        };
        frame.set_pc(entry);
        frame.r[SP] = sp;
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
        self.frame.r[SP]
    }

    /// Sets the stack pointer.
    pub fn set_sp(&mut self, sp: usize) {
        self.frame.r[SP] = sp;
    }

    /// Sets the thread pointer, `tp`. Returns `true`: any address can be.
    pub fn set_thread_pointer(&mut self, address: usize) -> bool {
        self.frame.r[TP] = address;
        true
    }

    /// Returns the number of the system call that the program makes: `a7`.
    #[inline(always)]
    pub fn call_number(&self) -> usize {
        self.frame.r[A7]
    }

    /// Returns argument `n`, from 0 to 5, of a system call: `a0` to `a5`.
    #[inline(always)]
    pub fn argument(&self, n: usize) -> usize {
        self.frame.r[A0 + n]
    }

    /// Sets argument `n`, from 0 to 5, of the function at which the program continues.
    pub fn set_argument(&mut self, n: usize, value: usize) {
        self.frame.r[A0 + n] = value;
    }

    /// Sets the result of a system call: `a0`.
    #[inline(always)]
    pub fn set_result(&mut self, value: usize) {
        self.frame.r[A0] = value;
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
