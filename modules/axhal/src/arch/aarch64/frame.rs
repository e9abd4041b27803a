//! The registers that a trap entry saves.

use core::arch::global_asm;
use core::fmt;
use core::mem::offset_of;

/// The registers of interrupted code.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TrapFrame {
    elr: usize,
    spsr: usize,
    /// The registers `x0` to `x30`, and the stack pointer.
    pub(super) x: [usize; 32],
}

/// The index in `x` of `x30`, the link register.
const LR: usize = 30;
/// The index in `x` of the stack pointer.
pub(super) const SP: usize = 31;

/// `SPSR_EL1.I`: interrupts were off when the trap came.
const SPSR_I: usize = 1 << 7;

/// Where the registers of a system call are.
#[cfg(feature = "uspace")]
impl TrapFrame {
    /// The index of the number of a system call.
    pub(in crate::arch) const CALL_NUMBER: usize = 8;
    /// The indices of the arguments of a system call.
    pub(in crate::arch) const CALL_ARGUMENTS: [usize; 6] = [0, 1, 2, 3, 4, 5];
    /// The indices of the arguments of a function.
    pub(in crate::arch) const ARGUMENTS: [usize; 6] = Self::CALL_ARGUMENTS;
    /// The index of the result of a system call.
    pub(in crate::arch) const RESULT: usize = 0;

    /// Returns the general registers, by these indices.
    #[inline(always)]
    pub(in crate::arch) fn general(&self) -> &[usize] {
        &self.x
    }

    /// Returns the general registers, by these indices.
    #[inline(always)]
    pub(in crate::arch) fn general_mut(&mut self) -> &mut [usize] {
        &mut self.x
    }
}

impl TrapFrame {
    /// The offset of `x0` in bytes.
    pub(crate) const X: usize = offset_of!(Self, x);
    /// The offset of the stack pointer in bytes.
    pub(crate) const SP: usize = Self::X + SP * size_of::<usize>();

    /// Returns the stack pointer of the interrupted code.
    pub(crate) fn sp(&self) -> usize {
        self.x[SP]
    }

    /// Returns the address of the interrupted instruction.
    pub fn pc(&self) -> usize {
        self.elr
    }

    /// Returns whether interrupts were on.
    pub fn irqs_were_on(&self) -> bool {
        self.spsr & SPSR_I == 0
    }

    /// Makes the interrupted code continue at `pc`.
    pub fn set_pc(&mut self, pc: usize) {
        self.elr = pc;
    }

    /// Returns the return address of a function that was just called, and has not run an
    /// instruction yet.
    pub fn return_address(&self) -> usize {
        self.x[LR]
    }

    /// Does nothing: the return address is in a register, not on the stack.
    pub fn drop_return_address(&mut self) {}
}

impl fmt::Display for TrapFrame {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (pc, sp, spsr) = (self.elr, self.x[SP], self.spsr);
        writeln!(f, "  pc  {pc:016x}  sp  {sp:016x}  spsr {spsr:08x}")?;
        for (row, values) in self.x[..SP].chunks(4).enumerate() {
            for (column, value) in values.iter().enumerate() {
                write!(f, "  x{:<2} {value:016x}", 4 * row + column)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

global_asm!(
    "
    .section .text.trap, \"ax\"
    .global capture_registers
capture_registers:
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
    str     x\\n, [x0, #16 + 8 * \\n]
    .endr
    mov     x9, sp
    str     x9, [x0, #{sp_offset}]
    mrs     x9, nzcv
    mrs     x10, daif
    orr     x9, x9, x10
    mrs     x10, CurrentEL
    orr     x9, x9, x10
    mrs     x10, SPSel
    orr     x9, x9, x10
    stp     x30, x9, [x0]
    ret
    ",
    sp_offset = const TrapFrame::SP,
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
