//! The way into user mode and back.
//!
//! While a user program runs, the register `SAVE2` has the address of its [`UserContext`]. The trap
//! vector comes here if `PRMD.PPLV` says that the trap comes from user mode.
//!
//! ```text
//!   run_user ──────────────► user program
//!      ▲                        │ trap
//!      │                    user_trap      saves the registers that a call may change
//!      │          ┌─────────────┼──────────────┐
//!      │      system call   page fault    anything else
//!      │          │             │              │
//!      │      on_call       on_fault       on_trap        back to the program, or
//!      │          └─────────────┴──────────────┘
//!      └── leave: saves the other registers, and returns from run_user
//! ```

use core::arch::global_asm;
use core::mem::offset_of;

use crate::access::{Access, PageFault};
use crate::arch::csr::{self, ECFG, ERA, EUEN};
use crate::arch::{REFUSED_FETCH, TrapFrame, flush_tlb_page};
use crate::trap::handle_user_page_fault;
use crate::trap_entry::{access, is_canonical};
use crate::uspace::{Exception, ExceptionKind, ReturnReason, UserContext};

/// The code of a system call ("Table of Exceptions").
const CALL: usize = 11;
/// The bytes of the instruction `syscall`. The program continues behind it.
const CALL_SIZE: usize = 4;
/// The code of an access to an address that no page can have. Subcode 0 is a fetch.
const ADDRESS_ERROR: usize = 8;
/// The code of an access to a page of the kernel. The hardware does not tell reads from writes.
const PRIVILEGE: usize = 7;

/// The bytes of `run_user`'s frame on the stack: `ra`, `fp`, `s0` to `s8`, and the context's address.
const KERNEL_FRAME: usize = 96;
const CONTEXT: usize = 88;

global_asm!(
    "
    .equ    PRMD, 0x1
    .equ    ESTAT, 0x5
    .equ    ERA, 0x6
    .equ    BADV, 0x7
    .equ    SAVE0, 0x30
    .equ    SAVE2, 0x32

    .section .text.trap, \"ax\"
    .global run_user, user_trap
run_user: // a0: the context. Interrupts are off.
    addi.d  $sp, $sp, -{kernel_frame}
    st.d    $ra, $sp, 0
    .irp n, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    st.d    $r\\n, $sp, (\\n - 21) * 8
    .endr
    st.d    $a0, $sp, {context}
    st.d    $sp, $a0, {kernel_sp}
    st.d    $r21, $a0, {hart_data}
    .irp n, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    ld.d    $r\\n, $a0, \\n * 8
    .endr
    move    $t0, $a0

continue_user: // t0: the context. Interrupts are off.
    ld.d    $t1, $t0, {pc}
    ld.d    $t2, $t0, {status}
    csrwr   $t1, ERA
    csrwr   $t2, PRMD
continue_same: // ERA and PRMD are those of the program.
    move    $t1, $t0
    csrwr   $t1, SAVE2
    .irp n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17, 18, 19, 20, 21
    ld.d    $r\\n, $t0, \\n * 8
    .endr
    ld.d    $t0, $t0, 12 * 8
    ertn

user_trap: // SAVE0: t0
    csrrd   $t0, SAVE2
    .irp n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17, 18, 19, 20, 21
    st.d    $r\\n, $t0, \\n * 8
    .endr
    csrrd   $t1, SAVE0
    st.d    $t1, $t0, 12 * 8
    ld.d    $r21, $t0, {hart_data}
    ld.d    $sp, $t0, {kernel_sp}
    move    $a0, $t0
    csrrd   $a1, ESTAT
    bstrpick.d $t1, $a1, 21, 16
    ori     $t2, $zero, {call}
    bne     $t1, $t2, 1f

    csrrd   $t1, ERA
    csrrd   $t2, PRMD
    addi.d  $t1, $t1, {call_size}
    st.d    $t1, $t0, {pc}
    st.d    $t2, $t0, {status}
    ld.d    $t1, $t0, {on_call}
    jirl    $ra, $t1, 0
    b       2f

1:  csrrd   $a2, BADV
    bl      {on_fault}
    ld.d    $t0, $sp, {context}
    bnez    $a0, continue_same
    csrrd   $t1, ERA
    csrrd   $t2, PRMD
    st.d    $t1, $t0, {pc}
    st.d    $t2, $t0, {status}
    move    $a0, $t0
    csrrd   $a1, ESTAT
    csrrd   $a2, BADV
    bl      {on_trap}
2:  ld.d    $t0, $sp, {context}
    bnez    $a0, continue_user

    // Leave: back to the caller of run_user.
    .irp n, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    st.d    $r\\n, $t0, \\n * 8
    .endr
    ld.d    $ra, $sp, 0
    .irp n, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    ld.d    $r\\n, $sp, (\\n - 21) * 8
    .endr
    addi.d  $sp, $sp, {kernel_frame}
    ret
    ",
    kernel_frame = const KERNEL_FRAME,
    context = const CONTEXT,
    call = const CALL,
    call_size = const CALL_SIZE,
    kernel_sp = const offset_of!(UserContext, kernel_sp),
    hart_data = const offset_of!(UserContext, hart_data),
    pc = const TrapFrame::PC,
    status = const TrapFrame::STATUS,
    on_call = const offset_of!(UserContext, on_call),
    on_fault = sym on_fault,
    on_trap = sym on_trap,
);

/// Lets programs use floating-point registers on this hart. The kernel does not use them.
pub fn init() {
    const FLOAT: usize = 1;
    // SAFETY: every LA464 has the registers, and the kernel does not use them.
    unsafe { csr::write_bits::<EUEN>(FLOAT, FLOAT) };
}

/// Returns whether the trap was a page fault that has been handled. See `on_fault` of the kernel's own
/// traps for the flush.
extern "C" fn on_fault(context: &mut UserContext, estat: usize, badv: usize) -> bool {
    if let Some(access) = access(estat) {
        context.count_fault();
        flush_tlb_page(badv);
        return handle_user_page_fault(badv, access);
    }
    let Some(addr) = refused_fetch(estat, badv) else {
        return false;
    };
    context.count_fault();
    // SAFETY: the program continues at the address that it has jumped to. The refill has replaced it.
    unsafe { csr::write::<ERA>(addr) };
    handle_user_page_fault(addr, Access::EXECUTE)
}

/// Handles any other trap. Returns whether the program goes on.
extern "C" fn on_trap(context: &mut UserContext, estat: usize, badv: usize) -> bool {
    let number = estat >> 16 & 0x3f;
    let fault = |addr: usize, access| {
        let addr = addr.into();
        ReturnReason::PageFault(PageFault { addr, access })
    };
    if number == 0 {
        return on_interrupts(context, estat);
    }
    let reason = match (access(estat), refused_fetch(estat, badv)) {
        (Some(access), _) => fault(badv, access),
        (None, Some(addr)) => fault(addr, Access::EXECUTE),
        (None, None) if number == PRIVILEGE => fault(badv, Access::READ),
        (None, None) => ReturnReason::Exception(Exception {
            kind: kind(number),
            number,
        }),
    };
    context.leave(reason)
}

/// Handles all interrupts that are pending and not masked. Returns whether the program goes on.
fn on_interrupts(context: &mut UserContext, estat: usize) -> bool {
    let mut pending = estat & csr::read::<ECFG>() & 0x1fff;
    let mut goes_on = true;
    while pending != 0 {
        goes_on &= context.on_interrupt(pending.trailing_zeros() as usize);
        pending &= pending - 1;
    }
    goes_on
}

/// Returns the address of a fetch that the refill has refused ([`REFUSED_FETCH`]), or `None` for any
/// other trap. A program that itself jumps to the address with that bit changed continues at the
/// address without, if it may: it gains no right by that.
fn refused_fetch(estat: usize, badv: usize) -> Option<usize> {
    let is_fetch = (estat >> 16 & 0x3f, estat >> 22 & 0x1ff) == (ADDRESS_ERROR, 0);
    let addr = badv ^ REFUSED_FETCH;
    (is_fetch && is_canonical(addr)).then_some(addr)
}

fn kind(code: usize) -> ExceptionKind {
    match code {
        ADDRESS_ERROR => ExceptionKind::BadAddress,
        9 => ExceptionKind::Misaligned,
        12 | 19 => ExceptionKind::Breakpoint,
        13..=17 => ExceptionKind::IllegalInstruction,
        18 => ExceptionKind::Arithmetic,
        _ => ExceptionKind::Other,
    }
}
