//! The trap vectors: they save registers, and call [`trap`](crate::trap).

use core::arch::global_asm;

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{VBAR_EL1, Writeable};

use crate::access::{Access, PageFault};
use crate::arch::TrapFrame;
use crate::probe::fix_up;
use crate::trap::{handle_page_fault, on_exception, on_irq, on_page_fault, on_stack_overflow};

const FRAME_SIZE: usize = size_of::<TrapFrame>();

// First only the registers that a call may change are saved. If `on_fault` handles the trap,
// that was enough. Otherwise the rest of the frame is saved.
//
// `tpidr_el1` is the address of this hart's data. `tpidrro_el0` and `sp_el0`, which the kernel
// does not use, hold `x0` and `sp` meanwhile.
global_asm!(
    "
    // Stores (st) or loads (ld) the registers that a call may change, and x19, the other half
    // of a pair.
    .macro call_changed op
    .set    at, {x}
    .irp pair, \"x0, x1\", \"x2, x3\", \"x4, x5\", \"x6, x7\", \"x8, x9\", \"x10, x11\", \"x12, x13\", \"x14, x15\", \"x16, x17\", \"x18, x19\"
    \\op\\()p \\pair, [sp, #at]
    .set    at, at + 16
    .endr
    \\op\\()r x30, [sp, #{x} + 30 * 8]
    .endm

    .section .text.trap, \"ax\"
    .balign 2048
trap_vectors:
    .irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    .balign 128
    .if {has_user_mode} && \\vector >= {first_of_user}
    // sp is the address of the program's context.
    call_changed st
    mov     x1, #\\vector
    b       user_trap
    .else
    // Check the stack pointer first: a stack that has overflowed cannot hold the frame.
    msr     tpidrro_el0, x0
    mrs     x0, tpidr_el1
    ldr     x0, [x0, #:lo12:__PERCPU_STACK_LIMIT]
    cmp     sp, x0
    b.lo    stack_overflow
    mrs     x0, tpidrro_el0
    sub     sp, sp, #{frame_size}
    call_changed st
    mov     x1, #\\vector
    .ifeq   \\vector - {synchronous}
    b       fault
    .else
    b       trap
    .endif
    .endif
    .endr

fault:
    mrs     x0, esr_el1
    mrs     x1, far_el1
    bl      {fault}
    tbnz    w0, #0, back
    mov     x1, #{synchronous}
trap:
    add     x2, sp, #{frame_size}
trap_at: // x1: vector, x2: sp of the interrupted code
    .set    at, {x} + 20 * 8
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
    call_changed ld
    add     sp, sp, #{frame_size}
    eret

stack_overflow:
    mov     x0, sp
    msr     sp_el0, x0
    mrs     x0, tpidr_el1
    ldr     x0, [x0, #:lo12:__PERCPU_EMERGENCY_STACK]
    sub     sp, x0, #{frame_size}
    mrs     x0, tpidrro_el0
    call_changed st
    mrs     x2, sp_el0
    mov     x1, #{overflow}
    b       trap_at
    .purgem call_changed
    ",
    frame_size = const FRAME_SIZE,
    x = const TrapFrame::X,
    sp_offset = const TrapFrame::SP,
    synchronous = const SYNCHRONOUS,
    first_of_user = const FIRST_OF_USER,
    has_user_mode = const cfg!(feature = "uspace") as usize,
    overflow = const OVERFLOW,
    fault = sym on_fault,
    handler = sym on_trap,
);

unsafe extern "C" {
    fn trap_vectors();
}

/// Sets this hart's trap vectors.
pub fn init() {
    VBAR_EL1.set(trap_vectors as *const () as u64);
    barrier::isb(barrier::SY);
    #[cfg(feature = "uspace")]
    crate::user_entry::init();
}

/// The vectors of traps from the kernel that use its own stack ("Exception vectors").
const SYNCHRONOUS: usize = 4;
const IRQ: usize = 5;
const FIQ: usize = 6;
const SERROR: usize = 7;
/// The first vector of traps from user mode, which are in the same order. Programs of 32 bits have the
/// last four vectors.
pub(crate) const FIRST_OF_USER: usize = 8;
/// A vector that the hardware does not have: the stack pointer has left the stack.
const OVERFLOW: usize = 16;

/// Returns whether the trap was a page fault that has been handled.
extern "C" fn on_fault(esr: usize, far: usize) -> bool {
    access(esr).is_some_and(|access| handle_page_fault(far, access))
}

extern "C" fn on_trap(frame: &mut TrapFrame, vector: usize, esr: usize, far: usize) {
    match vector {
        SYNCHRONOUS => on_synchronous(frame, esr, far),
        // The interrupt controller knows the number.
        IRQ => on_irq(0),
        FIQ => on_exception(frame, format_args!("fast interrupt")),
        OVERFLOW => on_stack_overflow(frame, frame.sp()),
        SERROR => on_exception(frame, format_args!("system error (esr {esr:#x})")),
        _ => on_exception(
            frame,
            format_args!("trap {vector} from elsewhere than the kernel (esr {esr:#x})"),
        ),
    }
}

/// The exception classes that page faults are in ("ESR_EL1, Exception Syndrome
/// Register").
const INSTRUCTION_ABORT: usize = 0x21;
const DATA_ABORT: usize = 0x25;
/// Those of page faults of user programs.
const USER_INSTRUCTION_ABORT: usize = 0x20;
const USER_DATA_ABORT: usize = 0x24;

fn on_synchronous(frame: &mut TrapFrame, esr: usize, far: usize) {
    if let Some(access) = access(esr) {
        return on_page_fault(frame, far, access);
    }
    let addr = far.into();
    let refused = abort_access(esr).filter(|_| is_external(esr));
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

/// Returns a page fault's access, or `None` for any other exception.
pub(crate) fn access(esr: usize) -> Option<Access> {
    abort_access(esr).filter(|_| is_page_fault(esr))
}

/// Returns an abort's access, or `None` for any other exception.
fn abort_access(esr: usize) -> Option<Access> {
    /// The bit of a data abort's syndrome that is set for a write.
    const WNR: usize = 1 << 6;

    match esr >> 26 & 0x3f {
        INSTRUCTION_ABORT | USER_INSTRUCTION_ABORT => Some(Access::EXECUTE),
        DATA_ABORT | USER_DATA_ABORT if esr & WNR != 0 => Some(Access::WRITE),
        DATA_ABORT | USER_DATA_ABORT => Some(Access::READ),
        _ => None,
    }
}

/// Returns whether an abort's fault status code is that of a synchronous external abort: there
/// is no physical memory at the accessed address, or at that of a page table.
fn is_external(esr: usize) -> bool {
    matches!(esr & 0x3f, 0x10 | 0x14..=0x17)
}

/// Returns whether an abort's fault status code, whose lowest two bits are the level, is that
/// of a translation fault, an access flag fault, or a permission fault.
fn is_page_fault(esr: usize) -> bool {
    matches!(esr >> 2 & 0xf, 1..=3)
}

/// Returns the name of an exception class. It is not inlined, so that the code of common
/// traps stays small.
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
