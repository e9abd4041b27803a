//! The way into user mode and back.
//!
//! While a user program runs, `stvec` leads to `user_trap`, and `sscratch` is the address of its
//! [`UserContext`]. While the kernel runs, `stvec` leads to its own trap vector.
//!
//! ```text
//!   run_user ──────────────► user program
//!      ▲                        │ trap
//!      │                    user_trap      saves the registers that a call may change
//!      │                        │
//!      │          ┌─────────────┼──────────────┐
//!      │      system call   page fault    anything else
//!      │          │             │              │
//!      │      on_call       on_fault       on_trap        back to the program, or
//!      │          └─────────────┴──────────────┘
//!      └── leave: saves the other registers, and returns from run_user
//! ```

use core::arch::global_asm;
use core::mem::offset_of;

use crate::access::PageFault;
use crate::arch::TrapFrame;
use crate::trap::handle_user_page_fault;
use crate::trap_entry::page_fault_access;
use crate::uspace::{Exception, ExceptionKind, ReturnReason, UserContext};

/// The system call of a user program, and the bit of `scause` that is set for interrupts
/// ("Supervisor Cause Register").
const CALL: usize = 8;
const INTERRUPT: usize = 1 << 63;

/// The bytes of the instruction `ecall`. The program continues behind it.
const CALL_SIZE: usize = 4;

/// The bytes of `run_user`'s frame on the stack: `ra`, `s0` to `s11`, and the context's address.
const KERNEL_FRAME: usize = 112;
const CONTEXT: usize = 104;

global_asm!(
    "
    .macro call_changed op
    .irp n, 1, 3, 4, 5, 6, 7, 11, 12, 13, 14, 15, 16, 17, 28, 29, 30, 31
    \\op  x\\n, \\n * 8(a0)
    .endr
    .endm
    .macro call_preserved op, base
    .irp n, 8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27
    \\op  x\\n, \\n * 8(\\base)
    .endr
    .endm

    .section .text.trap, \"ax\"
    .global run_user
run_user: // a0: the context. Interrupts are off.
    addi    sp, sp, -{kernel_frame}
    sd      ra, 0(sp)
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
    sd      s\\n, (\\n + 1) * 8(sp)
    .endr
    sd      a0, {context}(sp)
    sd      sp, {kernel_sp}(a0)
    sd      gp, {kernel_gp}(a0)
    call_preserved ld, a0
    j       continue_user

    .balign 4
user_trap:
    csrrw   a0, sscratch, a0
    call_changed sd
    sd      sp, 2 * 8(a0)
    csrr    t0, sscratch
    sd      t0, 10 * 8(a0)
    ld      gp, {kernel_gp}(a0)
    ld      sp, {kernel_sp}(a0)
    lla     t0, trap_vector
    csrw    stvec, t0
    csrr    a1, scause
    li      t0, {call}
    bne     a1, t0, other_trap

    csrr    t0, sepc
    csrr    t1, sstatus
    addi    t0, t0, {call_size}
    sd      t0, {pc}(a0)
    sd      t1, {status}(a0)
    ld      t0, {on_call}(a0)
    jalr    t0
    beqz    a0, leave_user_mode
    ld      a0, {context}(sp)

continue_user: // a0: the context. Interrupts are off.
    ld      t0, {pc}(a0)
    ld      t1, {status}(a0)
    csrw    sepc, t0
    csrw    sstatus, t1
continue_same: // sepc and sstatus are those of the program.
    lla     t0, user_trap
    csrw    stvec, t0
    csrw    sscratch, a0
    ld      sp, 2 * 8(a0)
    call_changed ld
    ld      a0, 10 * 8(a0)
    sret

other_trap: // a0: the context, a1: scause
    csrr    a2, stval
    call    {on_fault}
    mv      a1, a0
    ld      a0, {context}(sp)
    bnez    a1, continue_same
    csrr    t0, sepc
    csrr    t1, sstatus
    sd      t0, {pc}(a0)
    sd      t1, {status}(a0)
    csrr    a1, scause
    csrr    a2, stval
    call    {on_trap}
    mv      a1, a0
    ld      a0, {context}(sp)
    bnez    a1, continue_user

leave_user_mode: // Back to the caller of run_user.
    ld      a0, {context}(sp)
    call_preserved sd, a0
    ld      ra, 0(sp)
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
    ld      s\\n, (\\n + 1) * 8(sp)
    .endr
    addi    sp, sp, {kernel_frame}
    ret
    .purgem call_changed
    .purgem call_preserved
    ",
    kernel_frame = const KERNEL_FRAME,
    context = const CONTEXT,
    call = const CALL,
    call_size = const CALL_SIZE,
    kernel_sp = const offset_of!(UserContext, kernel_sp),
    kernel_gp = const offset_of!(UserContext, hart_data),
    pc = const TrapFrame::PC,
    status = const TrapFrame::STATUS,
    on_call = const offset_of!(UserContext, on_call),
    on_fault = sym on_fault,
    on_trap = sym on_trap,
);

/// Returns whether the trap was a page fault that has been handled.
extern "C" fn on_fault(context: &mut UserContext, scause: usize, stval: usize) -> bool {
    page_fault_access(scause).is_some_and(|access| {
        context.count_fault();
        handle_user_page_fault(stval, access)
    })
}

/// Handles any other trap. Returns whether the program goes on.
extern "C" fn on_trap(context: &mut UserContext, scause: usize, stval: usize) -> bool {
    if scause & INTERRUPT != 0 {
        return context.on_interrupt(scause & !INTERRUPT);
    }
    context.leave(match page_fault_access(scause) {
        Some(access) => ReturnReason::PageFault(PageFault {
            addr: stval.into(),
            access,
        }),
        None => ReturnReason::Exception(Exception {
            kind: kind(scause),
            number: scause,
        }),
    })
}

fn kind(scause: usize) -> ExceptionKind {
    match scause {
        0 | 4 | 6 => ExceptionKind::Misaligned,
        1 | 5 | 7 => ExceptionKind::BadAddress,
        2 => ExceptionKind::IllegalInstruction,
        3 => ExceptionKind::Breakpoint,
        _ => ExceptionKind::Other,
    }
}
