//! The way into user mode and back.
//!
//! While a user program runs, `SP_EL1` is the address of its [`UserContext`]. A trap stores there the
//! registers that a call may change, and then finds the kernel's stack there.
//!
//! ```text
//!   run_user ──────────────► user program
//!      ▲                        │ trap
//!      │                    user_trap
//!      │          ┌─────────────┼──────────────┐
//!      │      system call   page fault    anything else
//!      │          │             │              │
//!      │      on_call       on_fault       on_trap        back to the program, or
//!      │          └─────────────┴──────────────┘
//!      └── leave: saves the other registers, and returns from run_user
//! ```

use core::arch::{asm, global_asm};
use core::mem::offset_of;

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{CNTKCTL_EL1, CPACR_EL1, Writeable};

use crate::access::PageFault;
use crate::arch::TrapFrame;
use crate::trap::handle_user_page_fault;
use crate::trap_entry::{FIRST_OF_USER, access};
use crate::uspace::{Exception, ExceptionKind, ReturnReason, UserContext};

/// The exception class of a system call ("ESR_EL1, Exception Syndrome Register").
const CALL: usize = 0x15;

/// The vectors of a synchronous exception and of an interrupt.
const SYNCHRONOUS: usize = FIRST_OF_USER;
const IRQ: usize = FIRST_OF_USER + 1;

/// The bytes of `run_user`'s frame on the stack: `x19` to `x30`, and the context's address.
const KERNEL_FRAME: usize = 112;
const CONTEXT: usize = 96;

global_asm!(
    "
    .macro preserved op, base, first
    .set    at, \\first
    .irp pair, \"x20, x21\", \"x22, x23\", \"x24, x25\", \"x26, x27\", \"x28, x29\"
    \\op\\()p \\pair, [\\base, #at]
    .set    at, at + 16
    .endr
    .endm

    .section .text.trap, \"ax\"
    .global run_user, user_trap
run_user: // x0: the context. Interrupts are off.
    sub     sp, sp, #{kernel_frame}
    preserved st, sp, 0
    stp     x19, x30, [sp, #80]
    str     x0, [sp, #{context}]
    mov     x1, sp
    str     x1, [x0, #{kernel_sp}]
    preserved ld, x0, {x} + 20 * 8

continue_user: // x0: the context. Interrupts are off.
    ldp     x1, x2, [x0]
    msr     elr_el1, x1
    msr     spsr_el1, x2
continue_same: // elr_el1 and spsr_el1 are those of the program.
    ldr     x1, [x0, #{sp_offset}]
    msr     sp_el0, x1
    // A trap of the kernel has left a register's value there.
    msr     tpidrro_el0, xzr
    mov     sp, x0
    .set    at, {x}
    .irp pair, \"x0, x1\", \"x2, x3\", \"x4, x5\", \"x6, x7\", \"x8, x9\", \"x10, x11\", \"x12, x13\", \"x14, x15\", \"x16, x17\", \"x18, x19\"
    ldp     \\pair, [sp, #at]
    .set    at, at + 16
    .endr
    ldr     x30, [sp, #{x} + 30 * 8]
    eret

user_trap: // x1: vector. The registers that a call may change are in the context, at sp.
    mrs     x0, sp_el0
    str     x0, [sp, #{sp_offset}]
    mov     x0, sp
    ldr     x2, [sp, #{kernel_sp}]
    mov     sp, x2
    cmp     x1, #{synchronous}
    b.ne    1f
    mrs     x1, esr_el1
    lsr     x2, x1, #26
    cmp     x2, #{call}
    b.eq    user_call
    mrs     x2, far_el1
    bl      {on_fault}
    mov     x1, x0
    ldr     x0, [sp, #{context}]
    tbnz    w1, #0, continue_same
    mov     x1, #{synchronous}
1:  mrs     x2, elr_el1
    mrs     x3, spsr_el1
    stp     x2, x3, [x0]
    mrs     x2, esr_el1
    mrs     x3, far_el1
    bl      {on_trap}
    b       2f

user_call: // x0: the context.
    mrs     x2, elr_el1
    mrs     x3, spsr_el1
    stp     x2, x3, [x0]
    ldr     x1, [x0, #{on_call}]
    blr     x1
2:  mov     x1, x0
    ldr     x0, [sp, #{context}]
    tbnz    w1, #0, continue_user

    // Leave: back to the caller of run_user.
    preserved st, x0, {x} + 20 * 8
    preserved ld, sp, 0
    ldp     x19, x30, [sp, #80]
    add     sp, sp, #{kernel_frame}
    ret
    .purgem preserved
    ",
    kernel_frame = const KERNEL_FRAME,
    context = const CONTEXT,
    x = const TrapFrame::X,
    sp_offset = const TrapFrame::SP,
    kernel_sp = const offset_of!(UserContext, kernel_sp),
    synchronous = const SYNCHRONOUS,
    call = const CALL,
    on_call = const offset_of!(UserContext, on_call),
    on_fault = sym on_fault,
    on_trap = sym on_trap,
);

/// Lets programs use SIMD and floating-point registers on this hart, which the kernel does not use.
/// Programs can use no other unit, no timer and no performance counter: a reset leaves open whether
/// they could.
pub fn init() {
    CPACR_EL1.write(CPACR_EL1::FPEN::TrapNothing);
    CNTKCTL_EL1.set(0);
    // SAFETY: the kernel does not use performance counters.
    unsafe { asm!("msr pmuserenr_el0, xzr", options(nomem, nostack)) };
    barrier::isb(barrier::SY);
}

/// Returns whether the trap was a page fault that has been handled.
extern "C" fn on_fault(context: &mut UserContext, esr: usize, far: usize) -> bool {
    access(esr).is_some_and(|access| {
        context.count_fault();
        handle_user_page_fault(far, access)
    })
}

/// Handles any other trap. Returns whether the program goes on.
extern "C" fn on_trap(context: &mut UserContext, vector: usize, esr: usize, far: usize) -> bool {
    match (vector, access(esr)) {
        // The interrupt controller knows the number.
        (IRQ, _) => context.on_interrupt(0),
        (SYNCHRONOUS, Some(access)) => {
            let addr = far.into();
            context.leave(ReturnReason::PageFault(PageFault { addr, access }))
        }
        _ => {
            let number = esr >> 26 & 0x3f;
            let kind = kind(number, esr & 0x3f);
            context.leave(ReturnReason::Exception(Exception { kind, number }))
        }
    }
}

/// Returns what an exception of this class is. The status code tells aborts apart.
fn kind(class: usize, status: usize) -> ExceptionKind {
    const MISALIGNED: usize = 0x21;
    match class {
        0x20 | 0x24 if status == MISALIGNED => ExceptionKind::Misaligned,
        // Unknown, trapped by a system register, or an illegal state.
        0x00 | 0x01 | 0x0e | 0x16..=0x19 => ExceptionKind::IllegalInstruction,
        0x20 | 0x24 => ExceptionKind::BadAddress,
        0x22 | 0x26 => ExceptionKind::Misaligned,
        0x2c => ExceptionKind::Arithmetic,
        0x30 | 0x32 | 0x34 | 0x3c => ExceptionKind::Breakpoint,
        _ => ExceptionKind::Other,
    }
}
