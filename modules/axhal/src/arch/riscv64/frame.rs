//! The registers that a trap entry saves.

use core::arch::global_asm;
use core::fmt;
#[cfg(feature = "uspace")]
use core::mem::offset_of;

/// The registers of interrupted code.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TrapFrame {
    /// `x1` to `x31`; `x[0]` is not used.
    pub(super) x: [usize; 32],
    pub(super) sepc: usize,
    pub(super) sstatus: usize,
}

const NAMES: [&str; 32] = [
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4",
    "a5", "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4",
    "t5", "t6",
];

/// `sstatus.SPIE`: interrupts were on when the trap came.
const SSTATUS_SPIE: usize = 1 << 5;

/// `sstatus.FS`: the state of the floating-point registers ("Extension Context Status in
/// mstatus Register"). A larger state means more use.
pub(super) const SSTATUS_FS: usize = 3 << 13;
/// The state of registers that the thread has not used.
pub(super) const FS_INITIAL: usize = 1 << 13;
/// The state of registers that have not changed since the last switch to the thread, which
/// restored them.
#[cfg(any(feature = "multitask", feature = "uspace"))]
pub(super) const FS_CLEAN: usize = 2 << 13;
/// The state of registers that may have changed since the last switch to the thread. The next
/// switch saves them.
pub(super) const FS_DIRTY: usize = 3 << 13;

/// Where the registers of a system call are.
#[cfg(feature = "uspace")]
impl TrapFrame {
    /// The index of the number of a system call.
    pub(in crate::arch) const CALL_NUMBER: usize = 17;
    /// The indices of the arguments of a system call.
    pub(in crate::arch) const CALL_ARGUMENTS: [usize; 6] = [10, 11, 12, 13, 14, 15];
    /// The indices of the arguments of a function.
    pub(in crate::arch) const ARGUMENTS: [usize; 6] = Self::CALL_ARGUMENTS;
    /// The index of the result of a system call.
    pub(in crate::arch) const RESULT: usize = 10;

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
    /// The offset of the address of the next instruction in bytes, and that of `sstatus`.
    #[cfg(feature = "uspace")]
    pub(crate) const PC: usize = offset_of!(Self, sepc);
    #[cfg(feature = "uspace")]
    pub(crate) const STATUS: usize = offset_of!(Self, sstatus);

    /// Returns the address of the interrupted instruction.
    pub fn pc(&self) -> usize {
        self.sepc
    }

    /// Returns whether interrupts were on.
    pub fn irqs_were_on(&self) -> bool {
        self.sstatus & SSTATUS_SPIE != 0
    }

    /// Returns whether the interrupted code has used a floating-point register.
    pub(super) fn uses_float(&self) -> bool {
        self.sstatus & SSTATUS_FS > FS_INITIAL
    }

    /// Makes the next switch save the floating-point registers of the interrupted code.
    pub(super) fn set_float_dirty(&mut self) {
        self.sstatus |= FS_DIRTY;
    }

    /// Makes the interrupted code continue at `pc`.
    pub fn set_pc(&mut self, pc: usize) {
        self.sepc = pc;
    }

    /// Returns the return address of a function that was just called, and has not run an
    /// instruction yet.
    pub fn return_address(&self) -> usize {
        self.x[1]
    }

    /// Does nothing: the return address is in a register, not on the stack.
    pub fn drop_return_address(&mut self) {}
}

impl fmt::Display for TrapFrame {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(
            f,
            "    pc {:016x}  sstatus {:016x}",
            self.sepc, self.sstatus
        )?;
        for (row, names) in NAMES[1..].chunks(4).enumerate() {
            for (column, name) in names.iter().enumerate() {
                write!(f, "  {name:>4} {:016x}", self.x[1 + 4 * row + column])?;
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
    .irp n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    sd      x\\n, \\n * 8(a0)
    .endr
    sd      ra, 32 * 8(a0)
    csrr    t0, sstatus
    sd      t0, 33 * 8(a0)
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
