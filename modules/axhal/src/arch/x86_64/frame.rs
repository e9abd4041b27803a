//! The registers that a trap entry saves.

use core::arch::global_asm;
use core::fmt;
use core::mem::offset_of;

use super::interrupts::RFLAGS_IF;

/// The registers of interrupted code, in the order in which the trap entry pushes them. The
/// hart itself pushes those from `error_code` on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TrapFrame {
    pub(super) general: [usize; NAMES.len()],
    pub(crate) vector: usize,
    pub(crate) error_code: usize,
    pub(crate) rip: usize,
    pub(crate) cs: usize,
    pub(super) rflags: usize,
    pub(crate) rsp: usize,
    pub(super) ss: usize,
}

/// The general registers, first those that a call preserves.
const NAMES: [&str; 15] = [
    "rbx", "rbp", "r12", "r13", "r14", "r15", "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10",
    "r11",
];
/// The number of registers that a call preserves.
pub(crate) const PRESERVED: usize = 6;

/// Where the registers of a system call are.
#[cfg(feature = "uspace")]
impl TrapFrame {
    /// The index of the number of a system call.
    pub(in crate::arch) const CALL_NUMBER: usize = PRESERVED;
    /// The indices of the arguments of a system call.
    pub(in crate::arch) const CALL_ARGUMENTS: [usize; 6] = [10, 9, 8, 13, 11, 12];
    /// The indices of the arguments of a function.
    pub(in crate::arch) const ARGUMENTS: [usize; 6] = [10, 9, 8, 7, 11, 12];
    /// The index of the result of a system call.
    pub(in crate::arch) const RESULT: usize = PRESERVED;

    /// Returns the general registers, by these indices.
    #[inline(always)]
    pub(in crate::arch) fn general(&self) -> &[usize] {
        &self.general
    }

    /// Returns the general registers, by these indices.
    #[inline(always)]
    pub(in crate::arch) fn general_mut(&mut self) -> &mut [usize] {
        &mut self.general
    }
}

impl TrapFrame {
    /// Returns the address of the interrupted instruction.
    pub fn pc(&self) -> usize {
        self.rip
    }

    /// Returns whether interrupts were on.
    pub fn irqs_were_on(&self) -> bool {
        self.rflags & RFLAGS_IF != 0
    }

    /// Makes the interrupted code continue at `pc`.
    pub fn set_pc(&mut self, pc: usize) {
        self.rip = pc;
    }

    /// Returns the return address of a function that was just called, and has not run an
    /// instruction yet.
    pub fn return_address(&self) -> usize {
        // SAFETY: the hart has just pushed this frame to the interrupted stack, so that stack
        // can be read.
        unsafe { (self.rsp as *const usize).read_unaligned() }
    }

    /// Takes that return address off the stack.
    pub fn drop_return_address(&mut self) {
        self.rsp += size_of::<usize>();
    }
}

impl fmt::Display for TrapFrame {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(
            f,
            "   rip {:016x}   rsp {:016x}  rflg {:016x}  cs {:x}  ss {:x}",
            self.rip, self.rsp, self.rflags, self.cs, self.ss
        )?;
        for (names, values) in NAMES.chunks(4).zip(self.general.chunks(4)) {
            for (name, value) in names.iter().zip(values) {
                write!(f, "  {name:>4} {value:016x}")?;
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
    .set    at, 0
    .irp register, rbx, rbp, r12, r13, r14, r15, rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11
    mov     [rdi + at], \\register
    .set    at, at + 8
    .endr
    mov     rax, [rsp]
    mov     [rdi + {rip}], rax
    mov     [rdi + {cs}], cs
    mov     [rdi + {ss}], ss
    pushfq
    pop     [rdi + {rflags}]
    lea     rax, [rsp + 8]
    mov     [rdi + {rsp}], rax
    ret
    ",
    rip = const offset_of!(TrapFrame, rip),
    cs = const offset_of!(TrapFrame, cs),
    ss = const offset_of!(TrapFrame, ss),
    rflags = const offset_of!(TrapFrame, rflags),
    rsp = const offset_of!(TrapFrame, rsp),
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
