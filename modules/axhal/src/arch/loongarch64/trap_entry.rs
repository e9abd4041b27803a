//! The trap vector: it saves registers, and calls [`trap`](crate::trap).

use core::arch::global_asm;

use crate::access::{Access, PageFault};
use crate::arch::csr::{self, ECFG, EENTRY};
use crate::arch::{REFUSED_FETCH, TrapFrame, past_idle};
use crate::trap::{handle_page_fault, on_exception, on_irq, on_page_fault, on_stack_overflow};

const FRAME_SIZE: usize = size_of::<TrapFrame>();

global_asm!(
    "
    .equ    PRMD, 0x1
    .equ    ESTAT, 0x5
    .equ    ERA, 0x6
    .equ    BADV, 0x7
    .equ    SAVE0, 0x30
    .equ    TLBRERA, 0x8a
    .equ    TLBRSAVE, 0x8b

    .section .text.vectors, \"ax\"
    .balign 4096
    .global trap_vector
trap_vector:
    // Bit 0 of TLBRERA is set for a TLB refill.
    csrwr   $t0, TLBRSAVE
    csrrd   $t0, TLBRERA
    andi    $t0, $t0, 1
    bnez    $t0, refill_tlb
    csrrd   $t0, TLBRSAVE

    // Check the stack pointer first: a stack that has overflowed cannot hold the frame.
    // r21 is the address of this hart's data.
    csrwr   $t0, SAVE0
    .if {has_user_mode}
    csrrd   $t0, PRMD
    andi    $t0, $t0, 3
    bnez    $t0, user_trap
    .endif
    ori     $t0, $zero, %abs_lo12(__PERCPU_STACK_LIMIT)
    ldx.d   $t0, $r21, $t0
    bltu    $sp, $t0, stack_overflow
    csrrd   $t0, SAVE0

    // First save only the registers that a call may change. If on_fault handles the trap,
    // that was enough. Otherwise the rest of the frame is saved.
    addi.d  $sp, $sp, -{frame_size}
    .irp n, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20
    st.d    $r\\n, $sp, \\n * 8
    .endr
    csrrd   $a0, ESTAT
    csrrd   $a1, BADV
    bl      {fault}
    bnez    $a0, 1f

    .irp n, 2, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    st.d    $r\\n, $sp, \\n * 8
    .endr
    addi.d  $t0, $sp, {frame_size}
    st.d    $t0, $sp, 3 * 8
    csrrd   $t0, ERA
    csrrd   $t1, PRMD
    st.d    $t0, $sp, 32 * 8
    st.d    $t1, $sp, 33 * 8

    move    $a0, $sp
    csrrd   $a1, ESTAT
    csrrd   $a2, BADV
    bl      {handler}

    ld.d    $t0, $sp, 32 * 8
    ld.d    $t1, $sp, 33 * 8
    csrwr   $t0, ERA
    csrwr   $t1, PRMD
1:  .irp n, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20
    ld.d    $r\\n, $sp, \\n * 8
    .endr
    addi.d  $sp, $sp, {frame_size}
    ertn

stack_overflow:
    move    $t0, $sp
    ori     $sp, $zero, %abs_lo12(__PERCPU_EMERGENCY_STACK)
    ldx.d   $sp, $r21, $sp
    addi.d  $sp, $sp, -{frame_size}
    .irp n, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    st.d    $r\\n, $sp, \\n * 8
    .endr
    st.d    $t0, $sp, 3 * 8
    move    $a1, $t0
    csrrd   $t0, SAVE0
    st.d    $t0, $sp, 12 * 8
    csrrd   $t0, ERA
    csrrd   $t1, PRMD
    st.d    $t0, $sp, 32 * 8
    st.d    $t1, $sp, 33 * 8
    move    $a0, $sp
    bl      {overflow}
    ",
    has_user_mode = const cfg!(feature = "uspace") as usize,
    frame_size = const FRAME_SIZE,
    fault = sym on_fault,
    handler = sym on_trap,
    overflow = sym overflow,
);

unsafe extern "C" {
    fn trap_vector();
}

/// Sets this hart's trap vector, and masks every interrupt. A TLB refill enters at the same
/// code, by a register of its own that the platform's entry code has set.
///
/// There is no vector for machine errors: a hart with an uncorrectable error in memory or
/// cache cannot be trusted with a report, and QEMU has no such errors.
pub fn init() {
    // SAFETY: `trap_vector` is a trap entry, aligned to a page. With `ECFG.VS` at 0 every
    // exception and interrupt goes to its first instruction.
    unsafe {
        csr::write::<ECFG>(0);
        csr::write::<EENTRY>(trap_vector as *const () as usize);
    }
    #[cfg(feature = "uspace")]
    crate::user_entry::init();
}

/// Returns whether the trap was a page fault that has been handled.
///
/// The TLB keeps the entry by which it has refused an access, even one of an absent page. So
/// the entry is flushed: else the TLB would refuse the access again after the page is mapped.
extern "C" fn on_fault(estat: usize, badv: usize) -> bool {
    let Some(access) = access(estat) else {
        return false;
    };
    #[cfg(feature = "paging")]
    crate::arch::flush_tlb_page(badv);
    handle_page_fault(badv, access)
}

/// Handles a trap. `estat` is "Exception Status": a code, a subcode, and the pending
/// interrupts.
extern "C" fn on_trap(frame: &mut TrapFrame, estat: usize, badv: usize) {
    if let Some(access) = access(estat) {
        return on_page_fault(frame, badv, access);
    }
    match (estat >> 16 & 0x3f, estat >> 22 & 0x1ff) {
        (0, _) => on_interrupts(frame, estat),
        (8, subcode) => on_address_error(frame, subcode, badv),
        (code, subcode) => on_exception(
            frame,
            format_args!("{} (ecode {code:#x}.{subcode}, badv {badv:#x})", name(code)),
        ),
    }
}

/// Returns a page fault's access, or `None` for any other trap.
pub(crate) fn access(estat: usize) -> Option<Access> {
    match estat >> 16 & 0x3f {
        // PIL, PNR: the page is invalid for a load, or not readable.
        1 | 5 => Some(Access::READ),
        // PIS, PME: the page is invalid for a store, or not writable.
        2 | 4 => Some(Access::WRITE),
        // PIF, PNX: the page is invalid for a fetch, or not executable.
        3 | 6 => Some(Access::EXECUTE),
        _ => None,
    }
}

/// Handles an access to an address that no page can have. It is a fetch that the refill has
/// refused ([`REFUSED_FETCH`]), or a probe. Any other ends the machine.
///
/// The hardware does not tell reads from writes here. The fix-up of a probe does not need to
/// know.
fn on_address_error(frame: &mut TrapFrame, subcode: usize, badv: usize) {
    let (what, access) = match subcode {
        0 => ("instruction fetch", Access::EXECUTE),
        _ => ("memory access", Access::READ),
    };
    let original = badv ^ REFUSED_FETCH;
    if access == Access::EXECUTE && is_canonical(original) {
        frame.set_pc(original);
        if !handle_page_fault(original, access) {
            on_page_fault(frame, original, access);
        }
        return;
    }
    let addr = badv.into();
    if !crate::probe::fix_up(frame, &PageFault { addr, access }) {
        on_exception(frame, format_args!("address error, {what} at {badv:#x}"))
    }
}

/// Returns whether a page can have this address: it has 48 bits, sign-extended.
pub(crate) fn is_canonical(addr: usize) -> bool {
    matches!(addr as isize >> 47, 0 | -1)
}

/// Returns an exception's name ("Table of Exceptions"). It is not inlined, so that the code
/// of common traps stays small.
#[inline(never)]
fn name(code: usize) -> &'static str {
    match code {
        7 => "page privilege",
        9 => "address not aligned",
        10 => "bound check",
        11 => "system call",
        12 => "breakpoint",
        13 => "illegal instruction",
        14 => "privileged instruction",
        15..=17 => "floating point or vector unit disabled",
        18 => "floating point",
        19 => "watchpoint",
        _ => "unknown",
    }
}

/// Handles all interrupts that are pending (`ESTAT.IS`) and not masked (`ECFG`).
fn on_interrupts(frame: &mut TrapFrame, estat: usize) {
    frame.set_pc(past_idle(frame.pc()));
    let mut pending = estat & csr::read::<ECFG>() & 0x1fff;
    while pending != 0 {
        on_irq(pending.trailing_zeros() as usize);
        pending &= pending - 1;
    }
}

extern "C" fn overflow(frame: &TrapFrame, sp: usize) -> ! {
    on_stack_overflow(frame, sp)
}
