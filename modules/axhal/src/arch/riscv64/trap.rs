//! The trap vector and the registers it saves.

use core::arch::{asm, global_asm};
use core::fmt;

use crate::probe::fix_up;
use crate::trap::{
    Access, PageFault, on_exception, on_irq, on_page_fault, on_stack_overflow, resolve,
};

/// The registers of what was interrupted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TrapFrame {
    /// `x1` to `x31`; `x[0]` is not used.
    x: [usize; 32],
    sepc: usize,
    sstatus: usize,
}

const FRAME_SIZE: usize = size_of::<TrapFrame>();
const NAMES: [&str; 32] = [
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4",
    "a5", "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4",
    "t5", "t6",
];

/// `sstatus.SPIE`: interrupts were let in when the trap came.
const SSTATUS_SPIE: usize = 1 << 5;

impl TrapFrame {
    /// The instruction that was interrupted.
    pub fn pc(&self) -> usize {
        self.sepc
    }

    /// Whether interrupts were let in.
    pub fn irqs_were_on(&self) -> bool {
        self.sstatus & SSTATUS_SPIE != 0
    }

    /// Goes on at `pc` instead.
    pub fn set_pc(&mut self, pc: usize) {
        self.sepc = pc;
    }

    /// Where the function that was just called, and has not run yet, returns to.
    pub fn return_address(&self) -> usize {
        self.x[1]
    }

    /// Forgets that return address. It is in a register: nothing to do.
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
    .balign 4
trap_vector:
    // A stack that has overflowed cannot hold the frame: compare first.
    csrw    sscratch, t0
    lui     t0, %hi(__PERCPU_STACK_LIMIT)
    add     t0, t0, gp
    ld      t0, %lo(__PERCPU_STACK_LIMIT)(t0)
    bltu    sp, t0, stack_overflow
    csrr    t0, sscratch

    // For a page fault it is enough to save what a call may change: the rest of
    // the frame is for whatever is left then.
    addi    sp, sp, -{frame_size}
    .irp n, 1, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17, 28, 29, 30, 31
    sd      x\\n, \\n * 8(sp)
    .endr
    csrr    a0, scause
    csrr    a1, stval
    call    {resolve}
    bnez    a0, 1f

    .irp n, 3, 4, 8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27
    sd      x\\n, \\n * 8(sp)
    .endr
    addi    t0, sp, {frame_size}
    sd      t0, 2 * 8(sp)
    csrr    t0, sepc
    csrr    t1, sstatus
    sd      t0, 32 * 8(sp)
    sd      t1, 33 * 8(sp)

    mv      a0, sp
    csrr    a1, scause
    csrr    a2, stval
    call    {handler}

    ld      t0, 32 * 8(sp)
    ld      t1, 33 * 8(sp)
    csrw    sepc, t0
    csrw    sstatus, t1
1:  .irp n, 1, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17, 28, 29, 30, 31
    ld      x\\n, \\n * 8(sp)
    .endr
    addi    sp, sp, {frame_size}
    sret

stack_overflow:
    mv      t0, sp
    lui     sp, %hi(__PERCPU_EMERGENCY_STACK)
    add     sp, sp, gp
    ld      sp, %lo(__PERCPU_EMERGENCY_STACK)(sp)
    addi    sp, sp, -{frame_size}
    .irp n, 1, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    sd      x\\n, \\n * 8(sp)
    .endr
    sd      t0, 2 * 8(sp)
    mv      a1, t0
    csrr    t0, sscratch
    sd      t0, 5 * 8(sp)
    csrr    t0, sepc
    csrr    t1, sstatus
    sd      t0, 32 * 8(sp)
    sd      t1, 33 * 8(sp)
    mv      a0, sp
    call    {overflow}

    .global capture_registers
capture_registers:
    .irp n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    sd      x\\n, \\n * 8(a0)
    .endr
    sd      ra, 32 * 8(a0)
    csrr    t0, sstatus
    sd      t0, 33 * 8(a0)
    ret
    ",
    frame_size = const FRAME_SIZE,
    resolve = sym on_fault,
    handler = sym on_trap,
    overflow = sym overflow,
);

unsafe extern "C" {
    fn trap_vector();
    fn capture_registers(frame: *mut TrapFrame);
}

/// Points this hart's trap vector at the kernel's.
pub fn init_trap() {
    // SAFETY: `trap_vector` is a trap entry, aligned to four bytes, which makes
    // it a direct vector ("Supervisor Trap Vector Base Address Register").
    unsafe { asm!("csrw stvec, {}", in(reg) trap_vector as *const () as usize, options(nostack)) };
}

/// The caller's own registers.
#[inline(always)]
pub fn capture() -> TrapFrame {
    let mut frame = TrapFrame::default();
    // SAFETY: it writes every register to the frame, and nothing else.
    unsafe { capture_registers(&mut frame) };
    frame
}

/// "Supervisor Cause Register": set for interrupts.
const INTERRUPT: usize = 1 << 63;

/// Whether the trap was a page fault, and what was interrupted can go on.
extern "C" fn on_fault(scause: usize, stval: usize) -> bool {
    access(scause).is_some_and(|access| resolve(stval, access))
}

extern "C" fn on_trap(frame: &mut TrapFrame, scause: usize, stval: usize) {
    if scause & INTERRUPT != 0 {
        return on_irq(scause & !INTERRUPT);
    }
    if let Some(access) = access(scause) {
        return on_page_fault(frame, stval, access);
    }
    let addr = stval.into();
    let refused = access_fault(scause).map(|access| PageFault { addr, access });
    if !refused.is_some_and(|fault| fix_up(frame, &fault)) {
        on_exception(
            frame,
            format_args!("{} (scause {scause}, stval {stval:#x})", name(scause)),
        );
    }
}

/// What a page fault's access wanted to do; `None` for any other trap.
fn access(scause: usize) -> Option<Access> {
    match scause {
        12 => Some(Access::EXECUTE),
        13 => Some(Access::READ),
        15 => Some(Access::WRITE),
        _ => None,
    }
}

/// What an access wanted to do that physical memory refused: nothing is there, or the
/// firmware keeps it for itself ("Physical Memory Protection").
fn access_fault(scause: usize) -> Option<Access> {
    match scause {
        1 => Some(Access::EXECUTE),
        5 => Some(Access::READ),
        7 => Some(Access::WRITE),
        _ => None,
    }
}

#[inline(never)]
fn name(scause: usize) -> &'static str {
    match scause {
        0 => "instruction address misaligned",
        1 => "instruction access fault",
        2 => "illegal instruction",
        3 => "breakpoint",
        4 => "load address misaligned",
        5 => "load access fault",
        6 => "store address misaligned",
        7 => "store access fault",
        8 | 9 => "environment call",
        _ => "unknown",
    }
}

extern "C" fn overflow(frame: &TrapFrame, sp: usize) -> ! {
    on_stack_overflow(frame, sp)
}
