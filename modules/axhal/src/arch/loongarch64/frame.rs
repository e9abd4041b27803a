//! The registers that a trap entry saves.

use core::arch::global_asm;
use core::fmt;
#[cfg(feature = "uspace")]
use core::mem::offset_of;

/// The registers of interrupted code.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TrapFrame {
    /// `r1` to `r31`; `r[0]` is not used.
    pub(super) r: [usize; 32],
    pub(super) era: usize,
    pub(super) prmd: usize,
}

const NAMES: [&str; 32] = [
    "zero", "ra", "tp", "sp", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "t0", "t1", "t2",
    "t3", "t4", "t5", "t6", "t7", "t8", "r21", "fp", "s0", "s1", "s2", "s3", "s4", "s5", "s6",
    "s7", "s8",
];

/// `PRMD.PIE`: interrupts were on when the trap came.
pub(super) const PRMD_PIE: usize = 1 << 2;

/// Where the registers of a system call are.
#[cfg(feature = "uspace")]
impl TrapFrame {
    /// The index of the number of a system call.
    pub(in crate::arch) const CALL_NUMBER: usize = 11;
    /// The indices of the arguments of a system call.
    pub(in crate::arch) const CALL_ARGUMENTS: [usize; 6] = [4, 5, 6, 7, 8, 9];
    /// The indices of the arguments of a function.
    pub(in crate::arch) const ARGUMENTS: [usize; 6] = Self::CALL_ARGUMENTS;
    /// The index of the result of a system call.
    pub(in crate::arch) const RESULT: usize = 4;

    /// Returns the general registers, by these indices.
    #[inline(always)]
    pub(in crate::arch) fn general(&self) -> &[usize] {
        &self.r
    }

    /// Returns the general registers, by these indices.
    #[inline(always)]
    pub(in crate::arch) fn general_mut(&mut self) -> &mut [usize] {
        &mut self.r
    }
}

impl TrapFrame {
    /// The offset of the address of the next instruction in bytes, and that of `PRMD`.
    #[cfg(feature = "uspace")]
    pub(crate) const PC: usize = offset_of!(Self, era);
    #[cfg(feature = "uspace")]
    pub(crate) const STATUS: usize = offset_of!(Self, prmd);

    /// Returns the address of the interrupted instruction.
    pub fn pc(&self) -> usize {
        self.era
    }

    /// Returns whether interrupts were on.
    pub fn irqs_were_on(&self) -> bool {
        self.prmd & PRMD_PIE != 0
    }

    /// Makes the interrupted code continue at `pc`.
    pub fn set_pc(&mut self, pc: usize) {
        self.era = pc;
    }

    /// Returns the return address of a function that was just called, and has not run an
    /// instruction yet.
    pub fn return_address(&self) -> usize {
        self.r[1]
    }

    /// Does nothing: the return address is in a register, not on the stack.
    pub fn drop_return_address(&mut self) {}
}

impl fmt::Display for TrapFrame {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "    pc {:016x}  prmd {:016x}", self.era, self.prmd)?;
        for (row, names) in NAMES[1..].chunks(4).enumerate() {
            for (column, name) in names.iter().enumerate() {
                write!(f, "  {name:>4} {:016x}", self.r[1 + 4 * row + column])?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

global_asm!(
    "
    .equ    CRMD, 0x0

    .section .text.trap, \"ax\"
    .global capture_registers
capture_registers:
    .irp n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    st.d    $r\\n, $a0, \\n * 8
    .endr
    st.d    $ra, $a0, 32 * 8
    // A trap would have copied these lowest bits of CRMD to PRMD.
    csrrd   $t0, CRMD
    andi    $t0, $t0, 7
    st.d    $t0, $a0, 33 * 8
    ret
    "
);

unsafe extern "C" {
    fn capture_registers(frame: *mut TrapFrame);
}

/// Returns the caller's own registers.
#[inline(always)]
pub fn capture() -> TrapFrame {
    let mut frame = TrapFrame::default();
    // SAFETY: it writes every register to the frame, and writes nothing else.
    unsafe { capture_registers(&mut frame) };
    frame
}
