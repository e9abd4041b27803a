//! The registers of a user program.

use core::arch::asm;

use super::frame::{PRMD_PIE, TrapFrame};
use crate::arch::extended::{Extended, Place};

/// `PRMD.PPLV`: the privilege level of user programs.
const PRMD_USER: usize = 3;

/// The numbers of the stack pointer and the thread pointer.
const TP: usize = 2;
const SP: usize = 3;

/// The registers of a user program.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct UserRegisters {
    /// The trap entry stores and loads these.
    pub(in crate::arch) frame: TrapFrame,
    pub(in crate::arch) extended: Place<FloatRegisters>,
}

/// The floating-point registers, which the kernel does not use.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(in crate::arch) struct FloatRegisters {
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

    /// Returns `true`: whatever the registers are, the program continues in user mode.
    #[inline(always)]
    pub(crate) fn can_continue(&self) -> bool {
        true
    }
}
