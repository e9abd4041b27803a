//! The trap vector: it saves registers, and calls [`trap`](crate::trap).
//!
//! A page fault that [`handle_page_fault`] handles must not use floating-point registers, which
//! are kept only for all other traps ([`keep_float`]).

use core::arch::{asm, global_asm};

use crate::access::{Access, PageFault};
use crate::arch::{TrapFrame, keep_float};
use crate::probe::fix_up;
use crate::trap::{handle_page_fault, on_exception, on_irq, on_page_fault, on_stack_overflow};

const FRAME_SIZE: usize = size_of::<TrapFrame>();

global_asm!(
    "
    .section .text.trap, \"ax\"
    .balign 4
trap_vector:
    // Check the stack pointer first: a stack that has overflowed cannot hold the frame.
    // gp is the address of this hart's data.
    csrw    sscratch, t0
    lui     t0, %hi(__PERCPU_STACK_LIMIT)
    add     t0, t0, gp
    ld      t0, %lo(__PERCPU_STACK_LIMIT)(t0)
    bltu    sp, t0, stack_overflow
    csrr    t0, sscratch

    // First save only the registers that a call may change. If on_fault handles the trap,
    // that was enough. Otherwise the rest of the frame is saved.
    addi    sp, sp, -{frame_size}
    .irp n, 1, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17, 28, 29, 30, 31
    sd      x\\n, \\n * 8(sp)
    .endr
    csrr    a0, scause
    csrr    a1, stval
    call    {fault}
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
    ",
    frame_size = const FRAME_SIZE,
    fault = sym on_fault,
    handler = sym on_trap,
    overflow = sym overflow,
);

unsafe extern "C" {
    fn trap_vector();
}

/// Sets this hart's trap vector.
pub fn init() {
    // SAFETY: `trap_vector` is a trap entry, aligned to four bytes, which makes
    // it a direct vector ("Supervisor Trap Vector Base Address Register").
    unsafe { asm!("csrw stvec, {}", in(reg) trap_vector as *const () as usize, options(nostack)) };
}

/// The bit of `scause` that is set for interrupts ("Supervisor Cause Register").
const INTERRUPT: usize = 1 << 63;

/// Returns whether the trap was a page fault that has been handled.
extern "C" fn on_fault(scause: usize, stval: usize) -> bool {
    page_fault_access(scause).is_some_and(|access| handle_page_fault(stval, access))
}

extern "C" fn on_trap(frame: &mut TrapFrame, scause: usize, stval: usize) {
    keep_float(frame, |frame| handle(frame, scause, stval));
}

fn handle(frame: &mut TrapFrame, scause: usize, stval: usize) {
    if scause & INTERRUPT != 0 {
        return on_irq(scause & !INTERRUPT);
    }
    if let Some(access) = page_fault_access(scause) {
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

/// Returns a page fault's access, or `None` for any other trap.
pub(crate) fn page_fault_access(scause: usize) -> Option<Access> {
    match scause {
        12 => Some(Access::EXECUTE),
        13 => Some(Access::READ),
        15 => Some(Access::WRITE),
        _ => None,
    }
}

/// Returns an access that physical memory refused, or `None` for any other trap. Physical
/// memory refuses addresses without memory, and memory that the firmware keeps for itself
/// ("Physical Memory Protection").
fn access_fault(scause: usize) -> Option<Access> {
    match scause {
        1 => Some(Access::EXECUTE),
        5 => Some(Access::READ),
        7 => Some(Access::WRITE),
        _ => None,
    }
}

/// Returns an exception's name. It is not inlined, so that the code of common traps stays
/// small.
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
