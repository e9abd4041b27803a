//! The trap vector and the registers it saves.

use core::arch::global_asm;
use core::fmt;
use core::mem::offset_of;

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{VBAR_EL1, Writeable};

use crate::probe::fix_up;
use crate::trap::{
    Access, PageFault, on_exception, on_irq, on_page_fault, on_stack_overflow, resolve,
};

/// The registers of what was interrupted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TrapFrame {
    elr: usize,
    spsr: usize,
    /// `x0` to `x30`, and the stack pointer.
    x: [usize; 32],
}

const FRAME_SIZE: usize = size_of::<TrapFrame>();
/// `x30`, the link register, among `x`.
const LR: usize = 30;
/// The stack pointer among `x`.
const SP: usize = 31;

/// `SPSR_EL1.I`: interrupts were kept out when the trap came.
const SPSR_I: usize = 1 << 7;

impl TrapFrame {
    /// The instruction that was interrupted.
    pub fn pc(&self) -> usize {
        self.elr
    }

    /// Whether interrupts were let in.
    pub fn irqs_were_on(&self) -> bool {
        self.spsr & SPSR_I == 0
    }

    /// Goes on at `pc` instead.
    pub fn set_pc(&mut self, pc: usize) {
        self.elr = pc;
    }

    /// Where the function that was just called, and has not run yet, returns to.
    pub fn return_address(&self) -> usize {
        self.x[LR]
    }

    /// Forgets that return address. It is in a register: nothing to do.
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

// For a page fault it is enough to save what a call may change: the rest of the
// frame is for whatever is left then.
global_asm!(
    "
    .macro scratch instruction
    .set    at, {x}
    .irp pair, \"x0, x1\", \"x2, x3\", \"x4, x5\", \"x6, x7\", \"x8, x9\", \"x10, x11\", \"x12, x13\", \"x14, x15\", \"x16, x17\", \"x18, x19\"
    \\instruction\\()p \\pair, [sp, #at]
    .set    at, at + 16
    .endr
    \\instruction\\()r x30, [sp, #{x} + 30 * 8]
    .endm

    .section .text.trap, \"ax\"
    .balign 2048
trap_vectors:
    .irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    .balign 128
    // A stack that has overflowed cannot hold the frame: compare first.
    msr     tpidrro_el0, x0
    mrs     x0, tpidr_el1
    ldr     x0, [x0, #:lo12:__PERCPU_STACK_LIMIT]
    cmp     sp, x0
    b.lo    stack_overflow
    mrs     x0, tpidrro_el0
    sub     sp, sp, #{frame_size}
    scratch st
    mov     x1, #\\vector
    .ifeq   \\vector - {synchronous}
    b       fault
    .else
    b       trap
    .endif
    .endr

fault:
    mrs     x0, esr_el1
    mrs     x1, far_el1
    bl      {resolve}
    tbnz    w0, #0, back
    mov     x1, #{synchronous}
trap:
    add     x2, sp, #{frame_size}
trap_at:
    .irp pair, \"x20, x21\", \"x22, x23\", \"x24, x25\", \"x26, x27\", \"x28, x29\"
    stp     \\pair, [sp, #at]
    .set    at, at + 16
    .endr
    str     x2, [sp, #{sp_offset}]
    mrs     x2, elr_el1
    mrs     x3, spsr_el1
    stp     x2, x3, [sp]
    mov     x0, sp
    mrs     x2, esr_el1
    mrs     x3, far_el1
    bl      {handler}
    ldp     x0, x1, [sp]
    msr     elr_el1, x0
    msr     spsr_el1, x1
back:
    scratch ld
    add     sp, sp, #{frame_size}
    eret

stack_overflow:
    mov     x0, sp
    msr     sp_el0, x0
    mrs     x0, tpidr_el1
    ldr     x0, [x0, #:lo12:__PERCPU_EMERGENCY_STACK]
    sub     sp, x0, #{frame_size}
    mrs     x0, tpidrro_el0
    scratch st
    mrs     x2, sp_el0
    mov     x1, #{overflow}
    b       trap_at
    .purgem scratch

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
    frame_size = const FRAME_SIZE,
    x = const offset_of!(TrapFrame, x),
    sp_offset = const offset_of!(TrapFrame, x) + SP * size_of::<usize>(),
    synchronous = const SYNCHRONOUS,
    overflow = const OVERFLOW,
    resolve = sym on_fault,
    handler = sym on_trap,
);

unsafe extern "C" {
    fn trap_vectors();
    fn capture_registers(frame: *mut TrapFrame);
}

/// Points this hart's trap vector at the kernel's.
pub fn init_trap() {
    VBAR_EL1.set(trap_vectors as *const () as u64);
    barrier::isb(barrier::SY);
}

/// The caller's own registers.
#[inline(always)]
pub fn capture() -> TrapFrame {
    let mut frame = TrapFrame::default();
    // SAFETY: it writes every register to the frame, and nothing else.
    unsafe { capture_registers(&mut frame) };
    frame
}

/// The vectors of what the kernel itself can cause, on its own stack ("Exception
/// vectors").
const SYNCHRONOUS: usize = 4;
const IRQ: usize = 5;
const FIQ: usize = 6;
const SERROR: usize = 7;
/// And one that the hardware does not have: the stack pointer has left the stack.
const OVERFLOW: usize = 16;

/// Whether the trap was a page fault, and what was interrupted can go on.
extern "C" fn on_fault(esr: usize, far: usize) -> bool {
    access(esr).is_some_and(|access| resolve(far, access))
}

extern "C" fn on_trap(frame: &mut TrapFrame, vector: usize, esr: usize, far: usize) {
    match vector {
        SYNCHRONOUS => on_synchronous(frame, esr, far),
        // The interrupt controller knows which.
        IRQ => on_irq(0),
        FIQ => on_exception(frame, format_args!("fast interrupt")),
        OVERFLOW => on_stack_overflow(frame, frame.x[SP]),
        SERROR => on_exception(frame, format_args!("system error (esr {esr:#x})")),
        _ => on_exception(
            frame,
            format_args!("trap {vector} from elsewhere than the kernel (esr {esr:#x})"),
        ),
    }
}

/// Exception classes of what may be a page fault ("ESR_EL1, Exception Syndrome
/// Register").
const INSTRUCTION_ABORT: usize = 0x21;
const DATA_ABORT: usize = 0x25;

fn on_synchronous(frame: &mut TrapFrame, esr: usize, far: usize) {
    if let Some(access) = access(esr) {
        return on_page_fault(frame, far, access);
    }
    let addr = far.into();
    let refused = wanted(esr).filter(|_| is_external(esr));
    if refused.is_some_and(|access| fix_up(frame, &PageFault { addr, access })) {
        return;
    }
    match esr >> 26 & 0x3f {
        class @ (INSTRUCTION_ABORT | DATA_ABORT) => on_exception(
            frame,
            format_args!("{} at {far:#x} (esr {esr:#x})", name(class)),
        ),
        class => on_exception(frame, format_args!("{} (esr {esr:#x})", name(class))),
    }
}

/// What a page fault's access wanted to do; `None` for anything else.
fn access(esr: usize) -> Option<Access> {
    wanted(esr).filter(|_| is_page_fault(esr))
}

/// What an abort's access wanted to do; `None` for any other exception.
fn wanted(esr: usize) -> Option<Access> {
    /// Of a data abort: the access was a write.
    const WNR: usize = 1 << 6;

    match esr >> 26 & 0x3f {
        INSTRUCTION_ABORT => Some(Access::EXECUTE),
        DATA_ABORT if esr & WNR != 0 => Some(Access::WRITE),
        DATA_ABORT => Some(Access::READ),
        _ => None,
    }
}

/// Whether an abort's fault status code is that of a synchronous external abort: no
/// physical memory has answered the access, or a table's on the walk for it.
fn is_external(esr: usize) -> bool {
    matches!(esr & 0x3f, 0x10 | 0x14..=0x17)
}

/// Whether an abort's fault status code, whose lowest two bits are the level,
/// is that of a translation fault, an access flag fault, or a permission fault.
fn is_page_fault(esr: usize) -> bool {
    matches!(esr >> 2 & 0xf, 1..=3)
}

#[inline(never)]
fn name(class: usize) -> &'static str {
    match class {
        0x00 => "illegal instruction",
        0x07 => "floating point instruction",
        0x0e => "illegal execution state",
        0x15..=0x17 => "call of another exception level",
        0x18 => "system register access",
        INSTRUCTION_ABORT => "instruction abort",
        0x22 => "instruction address misaligned",
        DATA_ABORT => "data abort",
        0x26 => "stack pointer misaligned",
        0x31 => "hardware breakpoint",
        0x33 => "single step",
        0x35 => "watchpoint",
        0x3c => "breakpoint",
        _ => "unknown",
    }
}
